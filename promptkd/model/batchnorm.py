"""BatchNorm whose statistics are those of the whole batch where several processes have a share of it each."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _Gather(torch.autograd.Function):
    """Rows of all processes in their order; backwards a row gets the sum of the gradients that each has for it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


class GatheredBatchNorm(nn.BatchNorm1d):
    """BatchNorm1d over the batches of all processes, on any device: (b, D) each, equal b -> (b, D).

    Each process normalises the gathered (N * b, D) and keeps its own rows. torch's SyncBatchNorm sends less, and runs
    on GPUs only; a projector's features are small.
    """

    def forward(self, rows: Tensor) -> Tensor:
        if not self.training:
            return super().forward(rows)
        everything = super().forward(_Gather.apply(rows))  # (N * b, D)
        return everything.chunk(dist.get_world_size())[dist.get_rank()]


def synchronize(module: nn.Module) -> None:
    """Makes each BatchNorm in a module, in place, one of the whole batch: torch's own on GPUs, else the above."""
    if any(value.is_cuda for value in module.parameters()):
        nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return
    for part in module.modules():
        if type(part) is nn.BatchNorm1d:
            # In place, so that the optimiser's parameters and the names in the state dict stay what they are.
            part.__class__ = GatheredBatchNorm
