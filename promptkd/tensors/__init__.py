"""Tensors of files from elsewhere, without running code from them: safetensors, PyTorch's files, TorchScript archives.

Nothing here calls `torch.load` or `torch.jit.load`: what a file claims (sizes, strides, storages, headers) is compared
with what it holds before memory is taken, and no object of it is built but tensors, numbers, texts and plain
containers. Whatever else it holds becomes None.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from promptkd.bounded import named
from promptkd.tensors.archives import Archive, is_archive
from promptkd.tensors.legacy import read_legacy
from promptkd.tensors.plain import read_safetensors
from promptkd.texts import clipped

__all__ = [
    "check_finite",
    "check_tensors",
    "is_script",
    "read_content",
    "read_safetensors",
    "read_weights",
    "without_wrapper",
]
_AVERAGES = "n_averaged"  # the count that AveragedModel keeps beside its module
WRAPPERS = ("module", "_orig_mod")  # of DataParallel and torch.compile; no model here has parts of these names


def read_content(path: str | Path) -> Any:
    """The value that `torch.save` stored in a file, in either of its forms.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, claims more than it holds, or is TorchScript.
    """
    return _read(Path(path), script=False)


def read_weights(path: str | Path) -> Any:
    """The content of a weight file: of safetensors and TorchScript name -> tensor, else the value that was stored.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or claims more than it holds.
    """
    if Path(path).suffix == ".safetensors":
        return read_safetensors(path)[0]
    return _read(Path(path), script=True)


def _read(path: Path, script: bool) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no file {named(path)}")
    try:
        if not is_archive(path):
            return read_legacy(path)
        with Archive(path) as archive:
            if not archive.is_script:
                return archive.content()
            if script:
                return archive.script_state()
        raise ValueError("a TorchScript archive, which holds a model and no checkpoint")
    except Exception as error:  # zipfile, zlib and pickle have many kinds of error for a damaged file
        if isinstance(error, OSError) and error.filename is not None:  # not of a place in the file that there is not
            raise
        reason = f"{type(error).__name__} {error}" if isinstance(error, (KeyError, AttributeError)) else error
        raise ValueError(f"{named(path)} is no weight file that can be read safely ({clipped(reason)})") from error


def without_wrapper(state: Mapping[str, Any], known: tuple[str, ...] = ()) -> dict[str, Any]:
    """A state dict without the prefixes that wrappers gave: one that all its keys share, and those of wrapped parts.

    Args:
        state: name -> tensor.
        known: beginnings of names by which an unwrapped state dict is recognised: where no key has one of them, and
            without the shared prefix some do, the prefix is a wrapper's, too (`model.` of a trainer).

    Returns:
        A new mapping in the same order.
    """
    plain = {str(key): value for key, value in state.items() if key != _AVERAGES}
    names = [".".join(part for part in key.split(".") if part not in WRAPPERS) for key in plain]
    if len(set(names)) == len(plain) and all(names):  # a wrapped part: text_encoder.module., visual._orig_mod.
        plain = dict(zip(names, plain.values(), strict=True))
    candidate = plain
    for _ in range(5):
        if known and any(key.startswith(known) for key in candidate):
            return candidate
        first = {key.partition(".")[0] for key in candidate}
        if len(first) != 1 or not all("." in key for key in candidate):
            return plain
        candidate = {key.partition(".")[2]: value for key, value in candidate.items()}
    return plain


def check_tensors(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str | Path) -> None:
    """Compares tensors with those of a model before any is copied into it.

    Args:
        given: name -> tensor.
        wanted: name -> tensor of the model; its values do not matter.
        source: file of the tensors, for messages.

    Raises:
        ValueError: a tensor is missing, too many, of another shape or kind of number, or not finite; the message names
            the first of each kind.
    """
    parts = []
    if missing := [name for name in wanted if name not in given]:
        parts.append(f"{len(missing)} tensors are missing (first {missing[0]})")
    if extra := [name for name in given if name not in wanted]:
        parts.append(f"{len(extra)} are too many (first {extra[0]})")
    if other := [name for name in wanted if name in given and given[name].shape != wanted[name].shape]:
        sizes = tuple(given[other[0]].shape), tuple(wanted[other[0]].shape)
        parts.append(f"{other[0]} is {sizes[0]}, this model wants {sizes[1]}")
    if parts:
        raise ValueError(
            f"{named(source)} does not fit: {clipped('; '.join(parts), 400)}. "
            "Is it of another backbone, prompt depth or context length?"
        )
    for name, value in given.items():
        if value.is_floating_point() != wanted[name].is_floating_point() or value.is_complex():
            kinds = [str(one.dtype).removeprefix("torch.") for one in (value, wanted[name])]
            raise ValueError(f"{named(source)}: {clipped(name)} holds {kinds[0]}, this model wants {kinds[1]}")
        check_finite(value, name, source)


def check_finite(value: Tensor, name: str, source: str | Path) -> None:
    """Raises ValueError where a tensor has a number that is infinite or NaN."""
    if value.is_floating_point() and not value.isfinite().all():
        raise ValueError(f"{named(source)}: {clipped(name)} has numbers that are not finite: did its training diverge?")
