"""What a piece of work takes: seconds, operations, bytes; and what the machine can do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

Clock = Callable[[], float]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}  # of --clock
SIDE = {"cpu": 2048, "gpu": 8192}  # of the square matrices whose product gives the machine's rate


@dataclass(frozen=True)
class Times:
    """Seconds of some works that took turns, and the machine's rate meanwhile.

    Attributes:
        seconds: the median of each work.
        repeats: how many runs it is the median of.
        rates: type -> floating-point operations per second of a large matrix product in it.
    """

    seconds: dict[str, float]
    repeats: dict[str, int]
    rates: dict[torch.dtype, float]

    @property
    def rate(self) -> float:
        """That of the first type."""
        return next(iter(self.rates.values()))


def take_turns(
    works: Mapping[str, Callable[[], Any]],
    device: torch.device,
    repeats: int,
    limit: float,
    *dtypes: torch.dtype,
    clock: Clock = time.perf_counter,
) -> Times:
    """Times some works in turn, after a warm-up each, and matrix products of `dtypes` beside them.

    They take turns so that a machine that is slower for a while is so for all of them: their ratios stay. The warm-up
    of a work that takes longer than `limit` seconds is its only run. `clock` may be time.process_time.
    """
    n = SIDE["cpu" if device.type == "cpu" else "gpu"]
    pairs = {dtype: tuple(torch.randn(n, n, device=device, dtype=dtype) for _ in range(2)) for dtype in dtypes}
    rates: dict[torch.dtype, list[float]] = {dtype: [] for dtype in dtypes}

    def multiply() -> None:
        for dtype, (a, b) in pairs.items():
            rates[dtype] += [2 * n**3 / seconds_of(partial(torch.mm, a, b), device, clock) for _ in range(3)]

    runs: dict[str, list[float]] = {}
    for name, work in works.items():
        first = seconds_of(work, device, clock)
        runs[name] = [first] if first > limit else []
    waiting = [name for name in works if not runs[name]]
    for a, b in pairs.values():
        seconds_of(partial(torch.mm, a, b), device, clock)
    for _ in range(max(repeats, 1)):
        for name in waiting:
            multiply()
            runs[name].append(seconds_of(works[name], device, clock))
        multiply()
    seconds = {name: statistics.median(times) for name, times in runs.items()}
    lengths = {name: len(times) for name, times in runs.items()}
    return Times(seconds, lengths, {dtype: statistics.median(found) for dtype, found in rates.items()})


def seconds_of(work: Callable[[], Any], device: torch.device, clock: Clock = time.perf_counter) -> float:
    """Seconds of one call, with what it leaves to the device."""
    start = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


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
