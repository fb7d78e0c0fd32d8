"""Cross entropy with smoothed labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(input: Tensor, target: Tensor, label_smooth: float = 0, reduction: str = "mean") -> Tensor:
    """Cross entropy of logits (B, C) and labels (B,), each label's share `label_smooth` spread over all classes.

    Args:
        reduction: "mean", "sum" or "none", which gives (B,).

    Raises:
        ValueError: another reduction.
    """
    return F.cross_entropy(input, target, label_smoothing=label_smooth, reduction=reduction)
