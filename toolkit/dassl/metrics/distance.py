"""Distances between two sets of vectors."""

from __future__ import annotations

import torch
from torch.nn import functional

from dassl.utils import check_availability


def compute_distance_matrix(input1: torch.Tensor, input2: torch.Tensor, metric: str = "euclidean") -> torch.Tensor:
    """Distance of each row of the first (M, D) to each of the second (N, D): (M, N).

    Args:
        metric: "euclidean" (squared) or "cosine".

    Raises:
        ValueError: another metric, or shapes that do not fit.
    """
    check_availability(metric, ["euclidean", "cosine"])
    if input1.dim() != 2 or input2.dim() != 2 or input1.shape[1] != input2.shape[1]:
        raise ValueError(f"expected (M, D) and (N, D), got {tuple(input1.shape)} and {tuple(input2.shape)}")
    return (euclidean_squared_distance if metric == "euclidean" else cosine_distance)(input1, input2)


def euclidean_squared_distance(input1: torch.Tensor, input2: torch.Tensor) -> torch.Tensor:
    """Squared Euclidean distance, (M, D), (N, D) -> (M, N), at least 0."""
    squares = input1.square().sum(1, keepdim=True) + input2.square().sum(1)  # (M, N)
    return (squares - 2 * input1 @ input2.t()).clamp_min(0)


def cosine_distance(input1: torch.Tensor, input2: torch.Tensor) -> torch.Tensor:
    """1 - cosine similarity, (M, D), (N, D) -> (M, N), from 0 to 2."""
    return 1 - functional.normalize(input1, dim=1) @ functional.normalize(input2, dim=1).t()
