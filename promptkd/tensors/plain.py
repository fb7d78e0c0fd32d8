"""Safetensors files, whose header is compared with the file before a tensor is made."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor

from promptkd.bounded import named, parse_json, shown
from promptkd.texts import clipped, is_utf8

_LONGEST_HEADER = 2**24  # bytes
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, and the texts of its header.

    Raises:
        OSError: it cannot be read.
        ValueError: its header is damaged, or does not fit the file; the message names the tensor.
    """
    path = Path(path)
    header, length = _header(path)
    texts = header.pop("__metadata__", {})
    if not isinstance(texts, dict) or not all(isinstance(one, str) for one in texts.values()):
        raise ValueError(f"{named(path)}: the header's __metadata__ is no mapping of texts")
    for name, entry in header.items():
        if fault := _fault(entry, length):
            raise ValueError(f"{named(path)}: tensor {shown(name)} has {fault}")
    try:
        # safetensors maps a file into memory where it can write the path in UTF-8.
        return load_file(path) if is_utf8(str(path)) else load(path.read_bytes()), texts
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError, MemoryError) as error:
        raise ValueError(f"{named(path)} is no safetensors file that can be read ({clipped(error)})") from error


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header, and the number of bytes after it."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {named(path)}")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        claimed = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= claimed <= min(size - 8, _LONGEST_HEADER):
            raise ValueError(f"{named(path)} is no safetensors file: a header of {claimed:,} bytes, in {size:,}")
        content = file.read(claimed)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{named(path)} is no safetensors file: its header is no text") from error
    header = parse_json(text, f"{named(path)}: the header")
    if not isinstance(header, dict):
        raise ValueError(f"{named(path)} is no safetensors file: its header is no mapping")
    return header, size - 8 - claimed


def _fault(entry: Any, length: int) -> str:
    """What is wrong with a tensor's entry in the header; "" for nothing."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        return f"the entry {shown(entry)}, not a dtype, a shape and data_offsets"
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        return f"dtype {shown(dtype)}; these are read: {', '.join(_DTYPES)}"
    if not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2 or len(shape) > 16:
        return f"shape {shown(shape)} and data_offsets {shown(offsets)}"
    begin, end = offsets
    if not begin <= end <= length or math.prod(shape) * _DTYPES[dtype].itemsize != end - begin:
        return f"shape {shown(shape)} of {dtype} in bytes {begin} to {end} of {length}"
    return ""


def _sizes(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in values
    )
