"""RAdam, its plain form and AdamW under upstream's names, as PyTorch's optimisers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class RAdam(torch.optim.RAdam):
    """Rectified Adam (Liu et al., arXiv 1908.03265) whose weight decay is decoupled.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas, eps: as Adam's.
        weight_decay: each step takes lr * weight_decay of a weight away.
        degenerated_to_sgd: the first steps, whose variance cannot be known, go by the momentum alone. PyTorch does so
            always.

    Raises:
        ValueError: `degenerated_to_sgd` False.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        degenerated_to_sgd: bool = True,
    ) -> None:
        if not degenerated_to_sgd:
            raise ValueError("degenerated_to_sgd False is not offered: PyTorch's RAdam takes the first steps always")
        super().__init__(params, lr, betas, eps, weight_decay, decoupled_weight_decay=True)


class PlainRAdam(RAdam):
    """The same; upstream's second form computes the same numbers without a table."""


class AdamW(torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101) with a linear warm-up over steps.

    Args:
        params, lr, betas, eps, weight_decay: as PyTorch's.
        warmup: steps over which the rate grows from 1e-8; 0 for none.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        warmup: int = 0,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)
        self.warmup, self._steps = warmup, 0

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make one step; returns the closure's loss."""
        self._steps += 1
        if self._steps >= self.warmup:
            return super().step(closure)
        rates = [group["lr"] for group in self.param_groups]
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["lr"] = 1e-8 + rate * self._steps / self.warmup
        try:
            return super().step(closure)
        finally:
            for group, rate in zip(self.param_groups, rates, strict=True):
                group["lr"] = rate
