"""How many texts pass through an encoder at a time: all, unless what the backward pass keeps would not fit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from promptkd.home import RUNS_PER_GPU

# What one block keeps of a token for its backward pass, in numbers a channel: the inputs of two norms, queries, keys
# and values, and two tensors of four times the width in the MLP. Measured with the rest: 10 to 12.4.
KEPT_PER_CHANNEL = 13
TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 32768}  # where nothing is kept: enough to fill the device
SHARE = 0.5  # of the free memory may be kept for text; the rest is for images, gradients and work space
SMALLEST = 16  # texts a part

Part = TypeVar("Part")


def in_parts(encode: Callable[[Part], Tensor], parts: Iterable[Part], again: bool) -> list[Tensor]:
    """Results of the parts. With `again`, inner results are not kept but computed a second time for the gradients."""
    if not (again and torch.is_grad_enabled()):
        return [encode(part) for part in parts]
    return [checkpoint(encode, part, use_reentrant=False, preserve_rng_state=False) for part in parts]


def texts_at_once(setting: int, texts: int, tokens: float, width: int, layers: int, like: Tensor) -> tuple[int, bool]:
    """How many texts to encode at a time, and whether to compute inner results again instead of keeping them.

    Args:
        setting: TRAIN.TEXT_CHUNK: N texts at a time; -1 for all at once; 0 to choose by the free memory.
        texts: number of texts, for CoCoOp of pairs of image and text.
        tokens: tokens of a text that are computed for it alone, the mean over the texts.
        width, layers: of the text encoder.
        like: a tensor on the device, in the type of the computation.

    Returns:
        Texts at a time, and whether they are computed again; never where no gradients are wanted.
    """
    if setting < 0:
        return texts, False
    if setting:
        return min(setting, texts), setting < texts
    if not torch.is_grad_enabled():
        return min(texts, max(SMALLEST, int(TOKENS_AT_ONCE.get(like.device.type, 4096) / tokens))), False
    device = like.device.type
    itemsize = torch.get_autocast_dtype(device).itemsize if torch.is_autocast_enabled(device) else like.element_size()
    return _by_memory(texts, round(KEPT_PER_CHANNEL * tokens * width * layers * itemsize), like.device)


@lru_cache(maxsize=64)  # decided once for a set of texts, before the steps fill the memory
def _by_memory(texts: int, bytes_of_text: int, device: torch.device) -> tuple[int, bool]:
    free = free_memory(device)
    if free is None or texts * bytes_of_text <= SHARE * free:
        return texts, False
    fitting = int(SHARE * free / 4 / bytes_of_text)  # a part's own share, so that its gradients fit beside it
    at_once = min(texts, max(SMALLEST, 1 << max(fitting, 1).bit_length() - 1))
    print(
        f"Text: {texts} prompts would keep about {texts * bytes_of_text / 2**30:.1f} GiB of the {free / 2**30:.1f} GiB "
        f"that are free: {at_once} at a time, computed again in the backward pass (TRAIN.TEXT_CHUNK -1: all at once)"
    )
    return at_once, True


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on a device; None where that is not known."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return (torch.cuda.mem_get_info(device)[0] + cached) // int(os.environ.get(RUNS_PER_GPU, 1))
    table = Path("/proc/meminfo")
    if device.type != "cpu" or not table.is_file():
        return None
    entries = (line.split() for line in table.read_text().splitlines())
    free = [int(words[1]) * 1024 for words in entries if words[0] == "MemAvailable:"] + _left_to_container()
    # several processes of a run on one machine share it
    return min(free) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if free else None


def _left_to_container(folder: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """What a container's limit (cgroup v2) leaves, in bytes; nothing where there is no limit."""
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return []
    return [max(0, int(limit) - int(used))] if limit.isdigit() else []
