"""Small functions on labels, probabilities and weights; the module's name is upstream's."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sharpen_prob(p: Tensor, temperature: float = 2) -> Tensor:
    """Probabilities (B, C) to a power, normalised again (MixMatch, arXiv 1905.02249, equation 7, with 1/T as power)."""
    return F.normalize(p.pow(temperature), p=1, dim=1)


def reverse_index(data: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """A batch and its labels, last first."""
    return data.flip(0), label.flip(0)


def shuffle_index(data: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """A batch and its labels in one random order."""
    order = torch.randperm(len(data))
    return data[order], label[order]


def create_onehot(label: Tensor, num_classes: int) -> Tensor:
    """Labels (B,) -> (B, num_classes), float."""
    return F.one_hot(label, num_classes).float()


def sigmoid_rampup(current: float, rampup_length: float) -> float:
    """A weight that grows to 1: exp(-5 (1 - t)^2), t from 0 to 1 (Laine and Aila, arXiv 1610.02242, appendix A)."""
    return math.exp(-5.0 * (1.0 - linear_rampup(current, rampup_length)) ** 2)


def linear_rampup(current: float, rampup_length: float) -> float:
    """The share of a ramp that is done, from 0 to 1.

    Raises:
        ValueError: a ramp without length.
    """
    if rampup_length <= 0:
        raise ValueError(f"rampup_length is {rampup_length}; give a number above 0")
    return min(max(current / rampup_length, 0.0), 1.0)


@torch.no_grad()
def ema_model_update(model: nn.Module, ema_model: nn.Module, alpha: float) -> None:
    """Move each parameter of `ema_model` to `alpha` times itself and `1 - alpha` times the model's."""
    for average, current in zip(ema_model.parameters(), model.parameters(), strict=True):
        average.lerp_(current, 1 - alpha)
