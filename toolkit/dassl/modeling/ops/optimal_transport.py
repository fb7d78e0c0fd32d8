"""Distances of two batches by entropic optimal transport (Cuturi, arXiv 1306.0895; Genevay, arXiv 1706.00292)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class OptimalTransport(nn.Module):
    """The costs between the items of two batches."""

    @staticmethod
    def distance(batch1: Tensor, batch2: Tensor, dist_metric: str = "cosine") -> Tensor:
        """(n, D), (m, D) -> (n, m): 1 - cosine, or the squared Euclidean distance.

        Args:
            dist_metric: "cosine", "euclidean" or "fast_euclidean", which is the same.

        Raises:
            ValueError: another metric.
        """
        if dist_metric == "cosine":
            return 1 - F.normalize(batch1, dim=1) @ F.normalize(batch2, dim=1).t()
        if dist_metric in ("euclidean", "fast_euclidean"):
            return (batch1[..., :, None, :] - batch2[..., None, :, :]).pow(2).sum(-1)
        raise ValueError(f"unknown distance '{dist_metric}'; there are cosine, euclidean and fast_euclidean")


class SinkhornDivergence(OptimalTransport):
    """2 W(x, y) - W(x, x) - W(y, y), W the cost of the plan that Sinkhorn's iterations find.

    Args:
        dist_metric: see `OptimalTransport.distance`.
        eps: weight of the plan's entropy.
        max_iter: iterations at most; they stop where the potentials change by less than `thre` in all.
        bp_to_sinkhorn: whether gradients go through the plan, too, and not through the costs alone.
    """

    thre = 1e-3

    def __init__(
        self, dist_metric: str = "cosine", eps: float = 0.01, max_iter: int = 5, bp_to_sinkhorn: bool = False
    ) -> None:
        super().__init__()
        self.dist_metric, self.eps, self.max_iter, self.bp_to_sinkhorn = dist_metric, eps, max_iter, bp_to_sinkhorn

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(n, D), (m, D) -> a number."""
        return 2 * self.transport_cost(x, y) - self.transport_cost(x, x) - self.transport_cost(y, y)

    def transport_cost(self, x: Tensor, y: Tensor, return_pi: bool = False) -> Any:
        """The cost of the plan; with `return_pi` the plan (n, m), too."""
        costs = self.distance(x, y, self.dist_metric)
        plan = self.sinkhorn_iterate(costs, self.eps, self.max_iter, self.thre)
        cost = ((plan if self.bp_to_sinkhorn else plan.detach()) * costs).sum()
        return (cost, plan) if return_pi else cost

    @staticmethod
    def sinkhorn_iterate(C: Tensor, eps: float, max_iter: int, thre: float) -> Tensor:
        """Costs (n, m) -> the plan (n, m) between uniform weights, in the log domain."""
        n, m = C.shape
        u, v = C.new_zeros(n), C.new_zeros(m)
        for _ in range(max_iter):
            before = u
            u = eps * (-math.log(n) - ((v - C) / eps).logsumexp(1))
            v = eps * (-math.log(m) - ((u[:, None] - C) / eps).logsumexp(0))
            if (u - before).abs().sum() < thre:
                break
        return torch.exp((u[:, None] + v - C) / eps)


class MinibatchEnergyDistance(SinkhornDivergence):
    """Distance of two batches by their halves (Salimans et al., arXiv 1803.05573, equation 5)."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(n, D), (m, D), n and m even, -> a number."""
        halves_x, halves_y = x.chunk(2), y.chunk(2)
        between = torch.stack([self.transport_cost(a, b) for a in halves_x for b in halves_y]).sum()
        return between - 2 * self.transport_cost(*halves_x) - 2 * self.transport_cost(*halves_y)
