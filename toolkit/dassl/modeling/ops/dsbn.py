"""Batch normalisation with statistics and weights of each domain (Chang et al., arXiv 1906.03950)."""

from __future__ import annotations

from torch import Tensor, nn


class _DomainNorm(nn.Module):
    """One batch normalisation for each domain, of which one is chosen."""

    kind: type[nn.Module]

    def __init__(self, num_features: int, n_domain: int) -> None:
        super().__init__()
        self.bn = nn.ModuleList(self.kind(num_features) for _ in range(n_domain))
        self.n_domain = n_domain
        self.domain_idx = 0

    def select_bn(self, domain_idx: int = 0) -> None:
        """Choose the domain of what comes next.

        Raises:
            ValueError: no such domain.
        """
        if not 0 <= domain_idx < self.n_domain:
            raise ValueError(f"no domain {domain_idx}: there are {self.n_domain}, from 0 on")
        self.domain_idx = domain_idx

    def forward(self, x: Tensor) -> Tensor:
        """Normalised by the chosen domain; the shape stays."""
        return self.bn[self.domain_idx](x)


class DSBN1d(_DomainNorm):
    """For features (B, C)."""

    kind = nn.BatchNorm1d


class DSBN2d(_DomainNorm):
    """For feature maps (B, C, H, W)."""

    kind = nn.BatchNorm2d
