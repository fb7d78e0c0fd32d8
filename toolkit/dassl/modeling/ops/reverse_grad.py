"""Gradient reversal (Ganin and Lempitsky, arXiv 1409.7495, section 3.2)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _ReverseGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, grad_scaling: float) -> Tensor:
        ctx.grad_scaling = grad_scaling
        return input.view_as(input)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -ctx.grad_scaling * grads[0], None


reverse_grad = _ReverseGrad.apply


class ReverseGrad(nn.Module):
    """The identity, whose gradient is multiplied by `-grad_scaling`."""

    def forward(self, x: Tensor, grad_scaling: float = 1.0) -> Tensor:
        """Any shape -> the same.

        Raises:
            ValueError: a negative scale.
        """
        if grad_scaling < 0:
            raise ValueError(f"grad_scaling is {grad_scaling}; the sign is turned here, give 0 or more")
        return reverse_grad(x, grad_scaling)
