"""The tensors of a CLIP's weight file, in any of its forms: without a wrapper's prefix, finite, of real numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from promptkd.bounded import named, shown
from promptkd.model.clip_config import LONGEST_TEXT
from promptkd.tensors import check_finite, read_weights, without_wrapper
from promptkd.texts import clipped

# Beginnings of the names in a CLIP's state dict, without what a wrapper puts in front; and entries that are no weights.
CLIP_NAMES = ("visual.", "logit_scale", "text_projection", "positional_embedding", "token_embedding.", "text.")
NUMBERS = ("input_resolution", "context_length", "vocab_size", "token_ids", "num_batches_tracked")


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors in a weight file: safetensors, TorchScript or a state dict; raises ValueError for another file."""
    state = read_weights(path)
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    if not isinstance(state, dict):
        raise ValueError(f"{named(path)}: state_dict is {shown(state)}, no names with tensors")
    return without_wrapper({key: value for key, value in state.items() if isinstance(value, Tensor)}, CLIP_NAMES)


def check_values(state: Mapping[str, Any], source: str) -> None:
    """Raises ValueError where weights are no finite real numbers, or more texts or tokens than any CLIP has."""
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{named(source)}: {shown(name)} is {shown(value)}, no tensor")
        if name.rpartition(".")[2] in NUMBERS:
            continue
        if not value.is_floating_point() or not value.numel():
            kind = f"{tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
            raise ValueError(f"{named(source)}: {clipped(name)} is {kind}, no real numbers")
        check_finite(value, name, source)
    positions = state.get("positional_embedding")
    if positions is not None and len(positions) > LONGEST_TEXT:
        raise ValueError(f"{named(source)}: texts of {len(positions)} tokens, above {LONGEST_TEXT}")
