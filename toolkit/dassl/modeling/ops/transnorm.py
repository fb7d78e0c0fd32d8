"""Transferable normalisation (Wang et al., NeurIPS 2019, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class _TransNorm(nn.Module):
    """Normalises the two halves of a batch, source and target, each by itself, with shared weight and bias.

    Channels whose statistics agree between the domains are made larger: by 1 + alpha, alpha proportional to
    1 / (1 + |mean_s / dev_s - mean_t / dev_t|), with mean 1 over the channels.

    Args:
        num_features: channels C.
        eps: added to variances.
        momentum: share of the old in the running statistics, as upstream has it (PyTorch's is the share of the new).
        adaptive_alpha: whether channels are weighted.
    """

    dims: int

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, adaptive_alpha: bool = True
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum, self.adaptive_alpha = num_features, eps, momentum, adaptive_alpha
        for name, start in (("mean", torch.zeros), ("var", torch.ones)):
            for domain in "st":
                self.register_buffer(f"running_{name}_{domain}", start(num_features))
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """A batch, its first half source and its second target, -> the same shape; in evaluation all is target.

        Raises:
            ValueError: an input of another number of dimensions.
        """
        if input.dim() != self.dims:
            raise ValueError(f"expected {self.dims} dimensions, got {input.dim()}")
        if not self.training:
            output = self._normalised(input, *self._running("t"))
            return output * self._scale(self._running("s"), self._running("t"))
        halves = dict(zip("st", input.split(len(input) // 2), strict=True))
        statistics = {domain: self._statistics(half, domain) for domain, half in halves.items()}
        output = torch.cat([self._normalised(half, *statistics[domain]) for domain, half in halves.items()])
        return output * self._scale(statistics["s"], statistics["t"])

    def _running(self, domain: str) -> tuple[Tensor, Tensor]:
        return getattr(self, f"running_mean_{domain}"), getattr(self, f"running_var_{domain}")

    def _statistics(self, half: Tensor, domain: str) -> tuple[Tensor, Tensor]:
        """Mean and variance (C,) of a half, which go into the running ones."""
        by_channel = half.transpose(0, 1).flatten(1)
        statistics = by_channel.mean(1), by_channel.var(1)
        for running, value in zip(self._running(domain), statistics, strict=True):
            running.mul_(self.momentum).add_(value.detach(), alpha=1 - self.momentum)
        return statistics

    def _normalised(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        plain = (x - self._shaped(mean)) / self._shaped(var + self.eps).sqrt()
        return plain * self._shaped(self.weight) + self._shaped(self.bias)

    def _scale(self, source: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor]) -> Tensor:
        """(1, C, 1, ...) factors of the channels."""
        if not self.adaptive_alpha:
            return torch.ones((), device=self.weight.device)
        ratios = [mean / (var + self.eps).sqrt() for mean, var in (source, target)]
        near = 1 / (1 + (ratios[0] - ratios[1]).abs())
        return self._shaped(1 + (self.num_features * near / near.sum()).detach())

    def _shaped(self, x: Tensor) -> Tensor:
        return x.view(1, -1, *[1] * (self.dims - 2))


class TransNorm1d(_TransNorm):
    """For features (B, C)."""

    dims = 2


class TransNorm2d(_TransNorm):
    """For feature maps (B, C, H, W)."""

    dims = 4
