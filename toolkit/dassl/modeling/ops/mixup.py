"""Mixup (Zhang et al., arXiv 1710.09412, equation 1)."""

from __future__ import annotations

import torch
from torch import Tensor


def mixup(
    x1: Tensor, x2: Tensor, y1: Tensor, y2: Tensor, beta: float, preserve_order: bool = False
) -> tuple[Tensor, Tensor]:
    """Images and soft labels between two batches, at a point drawn for each pair.

    Args:
        x1, x2: images (B, C, H, W).
        y1, y2: their soft labels (B, N).
        beta: both parameters of the Beta distribution of the weight of the first.
        preserve_order: whether the first weighs at least a half.
    """
    weight = torch.distributions.Beta(beta, beta).sample((len(x1),)).to(x1)  # (B,)
    if preserve_order:
        weight = weight.clamp_min(0.5).maximum(1 - weight)
    of_images, of_labels = weight[:, None, None, None], weight[:, None]
    return x2.lerp(x1, of_images), y2.lerp(y1, of_labels.to(y1))
