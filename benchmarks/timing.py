"""What a piece of work takes: seconds, operations, bytes; and what the machine can do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

SIDE = {"cpu": 2048, "gpu": 8192}  # of the square matrices whose product gives the machine's rate


@dataclass(frozen=True)
class Times:
    """Seconds of some works that took turns, and the machine's rate meanwhile.

    Attributes:
        seconds: the median of each work.
        repeats: how many runs it is the median of.
        rate: floating-point operations per second of a large matrix product.
    """

    seconds: dict[str, float]
    repeats: dict[str, int]
    rate: float


def take_turns(
    works: Mapping[str, Callable[[], Any]], device: torch.device, dtype: torch.dtype, repeats: int, limit: float
) -> Times:
    """Times some works in turn, after a warm-up each, and a matrix product of `dtype` beside them.

    They take turns so that a machine that is slower for a while is so for all of them: their ratios stay. The warm-up
    of a work that takes longer than `limit` seconds is its only run.
    """
    n = SIDE["cpu" if device.type == "cpu" else "gpu"]
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    rates: list[float] = []
    runs: dict[str, list[float]] = {}
    for name, work in works.items():
        first = seconds_of(work, device)
        runs[name] = [first] if first > limit else []
    waiting = [name for name in works if not runs[name]]
    seconds_of(lambda: a @ b, device)
    for _ in range(max(repeats, 1)):
        for name in waiting:
            rates += [2 * n**3 / seconds_of(lambda: a @ b, device) for _ in range(3)]
            runs[name].append(seconds_of(works[name], device))
        rates += [2 * n**3 / seconds_of(lambda: a @ b, device) for _ in range(3)]
    seconds = {name: statistics.median(times) for name, times in runs.items()}
    return Times(seconds, {name: len(times) for name, times in runs.items()}, statistics.median(rates))


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call, with what it leaves to the device."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


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
