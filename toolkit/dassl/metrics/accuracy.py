"""Top-k accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def compute_accuracy(
    output: torch.Tensor | Sequence[torch.Tensor], target: torch.Tensor, topk: Sequence[int] = (1,)
) -> list[torch.Tensor]:
    """Share of items whose label is among the k largest logits.

    Args:
        output: logits (B, C), or a sequence of which the first item is used.
        target: labels (B,), integers.
        topk: the k's; one above C counts as C.

    Returns:
        For each k a tensor (1,), in percent.
    """
    logits = output[0] if isinstance(output, list | tuple) else output
    largest = min(max(topk), logits.shape[1])
    _, predicted = logits.topk(largest, dim=1)  # (B, k)
    correct = predicted.eq(target.view(-1, 1))  # (B, k)
    return [correct[:, :k].any(dim=1).float().mean(dim=0, keepdim=True) * 100 for k in topk]
