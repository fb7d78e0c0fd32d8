"""Reading the file of a checkpoint, and checks of what it holds before anything of it is used."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def read_with_torch(fpath: str) -> Any:
    """Read a file of `torch.save` to the CPU, tensors and plain values alone.

    Raises:
        ValueError: the file holds other things, or is damaged.
    """
    try:
        return torch.load(fpath, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f'"{fpath}" is no checkpoint of this package: damaged, or it holds Python objects besides tensors, as those'
            " that upstream Dassl saves do"
        ) from error
    except (RuntimeError, EOFError) as error:
        raise ValueError(f'"{fpath}" is damaged ({str(error).splitlines()[0]})') from error


_reader: list[Callable[[str], Any]] = [read_with_torch]


def set_reader(read: Callable[[str], Any]) -> None:
    """Let another function read the files of checkpoints: one that is stricter with files from elsewhere.

    Args:
        read: path -> content; raises ValueError for a file that it refuses.
    """
    _reader[0] = read


def read_content(fpath: str) -> Any:
    """Read a file by the function that was set, else by PyTorch's own."""
    return _reader[0](fpath)


def check_fields(content: Any, fpath: str) -> dict[str, Any]:
    """Return the content of a checkpoint's file, where each field that is there is of its kind.

    Raises:
        ValueError: it is no mapping of names, its weights are no finite tensors, or its epoch, optimizer or scheduler
            is something else; the message names the file and the field.
    """
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ValueError(f'"{fpath}" is no checkpoint: it holds no fields with names')
    weights = content.get("state_dict", {})
    if not isinstance(weights, Mapping):
        raise ValueError(f'"{fpath}": state_dict is a {type(weights).__name__}, no names with tensors')
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ValueError(f'"{fpath}": {str(name)[:80]!r} of its state_dict is no tensor')
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f'"{fpath}": {name[:80]!r} of its state_dict has numbers that are not finite')
    epoch = content.get("epoch", 0)
    if type(epoch) is not int or not 0 <= epoch < 10**6:
        raise ValueError(f'"{fpath}": epoch is {str(epoch)[:80]!r}, not the number of finished ones')
    for field in ("optimizer", "scheduler"):
        if not isinstance(content.get(field), dict | None):
            raise ValueError(f'"{fpath}": {field} is a {type(content[field]).__name__}, no state')
    return content


def load_state(target: Optimizer | LRScheduler, state: dict[str, Any], field: str, fpath: str) -> None:
    """Give an optimizer or a schedule its stored state.

    Raises:
        ValueError: it is of another optimizer or schedule; the message names the file and the field.
    """
    ours = target.state_dict()
    kinds: dict[str, Any] = {key: object if value is None else type(value) for key, value in ours.items()}
    kinds |= {key: (int, float) for key, value in ours.items() if isinstance(value, int | float)}
    odd = [key for key, kind in kinds.items() if not isinstance(state.get(key, ours[key]), kind)]
    if odd or state.keys() - ours.keys():
        key = (odd or sorted(map(str, state.keys() - ours.keys())))[0]
        raise ValueError(f'"{fpath}": {field}.{key[:80]} is none of this run\'s')
    try:
        target.load_state_dict(state)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        raise ValueError(f'"{fpath}": {field} does not fit this run ({str(error).splitlines()[0][:200]})') from error
