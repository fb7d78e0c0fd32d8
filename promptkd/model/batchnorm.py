"""BatchNorm over the whole batch, where each of several processes has a share of it."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _Gather(torch.autograd.Function):
    """Gathers the rows of all processes, in their order; backwards, each row gets the sum of all processes' gradients.

    Example with 2 processes: (4, 8) each -> (8, 8) on both; process 1's rows are rows 4 to 7.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Every process computed with every row, so each has a gradient for it: they add up.
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


class GatheredBatchNorm(nn.BatchNorm1d):
    """BatchNorm1d over the shares of all processes, on any device: (b, D) on each, with equal b -> (b, D).

    Each of N processes normalises the gathered (N * b, D) and returns the b rows of its share. torch's SyncBatchNorm
    sends less data, but runs on GPUs only; a projector's features are small.
    """

    def forward(self, rows: Tensor) -> Tensor:
        if not self.training:
            return super().forward(rows)
        everything = super().forward(_Gather.apply(rows))  # (N * b, D)
        return everything.chunk(dist.get_world_size())[dist.get_rank()]


def synchronize(module: nn.Module) -> None:
    """Makes each BatchNorm in a module work on the whole batch, in place: torch's SyncBatchNorm on GPUs, else ours."""
    if any(value.is_cuda for value in module.parameters()):
        nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return
    for part in module.modules():
        if type(part) is nn.BatchNorm1d:
            # In place, so that the optimiser's parameters and the names in the state dict stay the same.
            part.__class__ = GatheredBatchNorm
