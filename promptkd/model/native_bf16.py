"""Whether this CPU is quicker in bfloat16: a product of matrices is timed in it and in float32.

CPUs with AVX512-BF16 or AMX multiply in bfloat16 several times as quickly as in float32; others imitate it and lose.
The measurement decides, not a list of CPUs: what counts is what torch and its libraries make of the one that is here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from time import thread_time

import torch

SWITCH = "PROMPT_CPU_BF16"  # environment: 1 takes bfloat16 and 0 takes float32 without measuring
# Products must gain this much, for casts, norms and softmax gain nothing; ours. Native bfloat16 gains 3 to 4 and more
# (AVX512-BF16), imitated one 0.05 to 0.9.
LEAST_GAIN = 1.5
_WIDTH = 768  # channels of a ViT-B: a product of (rows, 768) and (768, 768)
_ROWS = (32, 512)  # few rows first, so that a CPU that imitates bfloat16 slowly is left with these
_TURNS = 5


def prefers_bf16() -> bool:
    """Whether a run that asks for half precision computes in bfloat16 on this CPU.

    Raises:
        ValueError: PROMPT_CPU_BF16 is neither 0 nor 1.
    """
    given = os.environ.get(SWITCH, "")
    if given not in ("", "0", "1"):
        raise ValueError(f"{SWITCH} is {given!r}: set it to 1 (bfloat16) or 0 (float32), or leave it out (measured)")
    return given == "1" if given else bf16_gain() >= LEAST_GAIN


@cache  # once in a process: all models of a run compute alike
def bf16_gain() -> float:
    """How many times as quickly this CPU multiplies matrices in bfloat16 as in float32; takes about 0.05 s."""
    gain = 1.0
    with _one_thread():
        for rows in _ROWS:
            gain = _gain(rows)
            if gain < 1:
                break
    return gain


def _gain(rows: int) -> float:
    """Seconds in float32 over seconds in bfloat16, the least of several turns after a warm-up each."""
    types = (torch.float32, torch.bfloat16)
    works = [tuple(torch.ones(size, _WIDTH, dtype=dtype) for size in (rows, _WIDTH, rows)) for dtype in types]
    turns = []
    for _ in range(_TURNS + 1):
        taken = []
        for left, right, out in works:
            start = thread_time()  # the time of this thread alone: other programs do not count
            torch.mm(left, right.t(), out=out)
            taken.append(thread_time() - start)
        turns.append(taken)
    full, half = (min(times) for times in zip(*turns[1:], strict=True))
    return full / max(half, 1e-9)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Computes in this thread alone meanwhile, whose own time can be measured."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
