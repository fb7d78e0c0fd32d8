"""What a piece of work takes: seconds, operations, bytes; and what the machine can do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large matrix product."""
    n = 2048 if device.type == "cpu" else 8192
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    return 2 * n**3 / median_seconds(lambda: a @ b, device, 7, 60.0)[0]


def median_seconds(work: Callable[[], Any], device: torch.device, repeats: int, limit: float) -> tuple[float, int]:
    """Median of several runs after a warm-up, and their number; a warm-up beyond the limit is the only run."""
    times: list[float] = []
    for number in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
        if number == 0 and times[0] > limit:
            return times[0], 1
    return statistics.median(times[1:]), repeats


def operations(work: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products, convolutions and attentions of a call."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def kept_bytes(loss: Callable[[], Tensor], known: nn.Module) -> int:
    """Bytes that a forward pass keeps for its backward pass, without weights."""
    weights = {p.untyped_storage().data_ptr() for p in [*known.parameters(), *known.buffers()]}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss()
    total = sum(sizes.values())
    del value
    return total
