"""Maximum mean discrepancy of two samples (Gretton et al., JMLR 13, 2012, lemma 6: the unbiased estimate)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIGMAS = (1.0, 5.0, 10.0)  # of the mixture of Gaussian kernels


class MaximumMeanDiscrepancy(nn.Module):
    """The squared discrepancy of two batches (n, D) and (m, D); each has at least two items.

    Args:
        kernel_type: "linear", "poly" (of degree 2, plus 2) or "rbf" (a sum of Gaussians of widths 1, 5 and 10).
        normalize: whether items are brought to unit norm first.

    Raises:
        ValueError: another kernel.
    """

    def __init__(self, kernel_type: str = "rbf", normalize: bool = False) -> None:
        super().__init__()
        if kernel_type not in ("linear", "poly", "rbf"):
            raise ValueError(f"unknown kernel '{kernel_type}'; there are linear, poly and rbf")
        self.kernel_type = kernel_type
        self.normalize = normalize

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the discrepancy, a number."""
        if self.normalize:
            x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
        return self._within(x) + self._within(y) - 2 * self._kernel(x, y).mean()

    def _within(self, x: Tensor) -> Tensor:
        """Mean kernel of the pairs of different items."""
        kernel = self._kernel(x, x)
        return (kernel.sum() - kernel.diagonal().sum()) / (len(x) * (len(x) - 1))

    def _kernel(self, x: Tensor, y: Tensor) -> Tensor:
        """(n, D), (m, D) -> (n, m)."""
        if self.kernel_type == "linear":
            return x @ y.t()
        if self.kernel_type == "poly":
            return (x @ y.t() + 2.0) ** 2
        squared = (x[:, None] - y[None]).pow(2).sum(-1)  # (n, m)
        return torch.stack([torch.exp(-squared / (2 * sigma**2)) for sigma in SIGMAS]).sum(0)
