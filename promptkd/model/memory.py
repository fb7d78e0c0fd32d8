"""The number of texts that pass through an encoder at a time, chosen by the free memory.

For gradients, the backward pass needs intermediate results of every text. All texts pass at once if these fit into
memory; else they pass in parts, and each part's intermediate results are computed a second time in the backward pass
in place of being kept. Neither changes a number.

Example: CoOp with 1,000 ImageNet classes on ViT-B/16 (text encoder: width 512, 12 blocks), of whose prompts 5 tokens
each are computed for the class alone, in float16: a text keeps about 13 * 5 * 512 * 12 * 2 bytes = 0.8 MB, all of them
0.8 GB. With CoCoOp, a batch of 8 images makes 8,000 texts, 6.4 GB: on a GPU with 8 GB free (half of which may be used)
they pass 1,024 at a time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from promptkd.home import RUNS_PER_GPU

log = logging.getLogger(__name__)

# Numbers that one block keeps for its backward pass, for each token and channel: the inputs of two norms (2), queries,
# keys and values (3), and two tensors of four times the width in the MLP (8). Measured, with all others: 10 to 12.4.
KEPT_PER_CHANNEL = 13
TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 32768}  # without gradients: enough to fill the device
SHARE = 0.5  # part of the free memory for texts; the rest is for images, gradients and work space
SMALLEST = 16  # texts of a part, at least

Part = TypeVar("Part")


def in_parts(encode: Callable[[Part], Tensor], parts: Iterable[Part], again: bool) -> list[Tensor]:
    """The results of the parts.

    Args:
        encode: part -> result.
        parts: of the texts.
        again: whether intermediate results are computed a second time in the backward pass, in place of being kept.
    """
    if not (again and torch.is_grad_enabled()):
        return [encode(part) for part in parts]
    return [checkpoint(encode, part, use_reentrant=False, preserve_rng_state=False) for part in parts]


def texts_at_once(setting: int, texts: int, tokens: float, width: int, layers: int, like: Tensor) -> tuple[int, bool]:
    """The number of texts to encode at a time, and whether to compute intermediate results again for the gradients.

    Args:
        setting: TRAIN.TEXT_CHUNK: N texts at a time; -1 for all at once; 0 to choose by the free memory.
        texts: number of texts; with CoCoOp, number of pairs of image and text.
        tokens: tokens that are computed for one text alone, the mean over the texts.
        width: channels of the text encoder.
        layers: its blocks.
        like: a tensor on the device, of the computation's type.

    Returns:
        Texts at a time, and whether to compute again; the latter is False where gradients are off.
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


@lru_cache(maxsize=64)  # decided once for a number of texts, before the first step fills the memory
def _by_memory(texts: int, bytes_of_text: int, device: torch.device) -> tuple[int, bool]:
    """The result of `texts_at_once` for texts that keep so many bytes each."""
    free = free_memory(device)
    if free is None or texts * bytes_of_text <= SHARE * free:
        return texts, False
    # A part may keep a quarter of the share, so that its gradients fit beside it.
    fitting = int(SHARE * free / 4 / bytes_of_text)
    power_of_two = 1 << max(fitting, 1).bit_length() - 1  # the largest that is not above `fitting`
    at_once = min(texts, max(SMALLEST, power_of_two))
    log.info(
        "Text: %d prompts would keep about %.1f GiB of the %.1f GiB that are free: %d at a time, computed again in the "
        "backward pass (TRAIN.TEXT_CHUNK -1: all at once)",
        texts,
        texts * bytes_of_text / 2**30,
        free / 2**30,
        at_once,
    )
    return at_once, True


def free_memory(device: torch.device) -> int | None:
    """The free memory of a device, in bytes, divided by the runs that share it; None where it is not known."""
    if device.type == "cuda":
        # PyTorch keeps memory that its tensors have left, and uses it again.
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return (torch.cuda.mem_get_info(device)[0] + cached) // int(os.environ.get(RUNS_PER_GPU, 1))
    table = Path("/proc/meminfo")
    if device.type != "cpu" or not table.is_file():
        return None
    entries = (line.split() for line in table.read_text().splitlines())
    free = [int(words[1]) * 1024 for words in entries if words[0] == "MemAvailable:"] + _left_to_container()
    # The processes of a run on one machine share its memory.
    return min(free) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if free else None


def _left_to_container(folder: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """The bytes that a container's limit (cgroup v2) leaves, as a list of one; empty where there is no limit."""
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return []
    return [max(0, int(limit) - int(used))] if limit.isdigit() else []
