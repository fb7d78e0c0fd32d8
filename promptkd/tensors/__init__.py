"""Tensors of files from elsewhere, without running code from them: safetensors, PyTorch's files, TorchScript archives.

Nothing here calls `torch.load` or `torch.jit.load`: what a file claims (sizes, strides, storages, headers) is compared
with what it holds before memory is taken, and no object of it is built but tensors, numbers, texts and plain containers.
Whatever else it holds becomes None.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptkd.bounded import clipped
from promptkd.tensors.archives import Archive, is_archive
from promptkd.tensors.legacy import read_legacy
from promptkd.tensors.plain import read_safetensors

__all__ = ["read_content", "read_safetensors", "read_weights", "without_wrapper"]
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
        raise FileNotFoundError(f"no file {clipped(path)}")
    try:
        if not is_archive(path):
            return read_legacy(path)
        with Archive(path) as archive:
            if not archive.is_script:
                return archive.content()
            if script:
                return archive.script_state()
        raise ValueError("a TorchScript archive, which holds a model and no checkpoint")
    except OSError:
        raise
    except Exception as error:  # zipfile, zlib and pickle have many kinds of error for a damaged file
        reason = f"{type(error).__name__} {error}" if isinstance(error, (KeyError, AttributeError)) else error
        raise ValueError(f"{clipped(path)} cannot be read safely ({clipped(reason)})") from error


def without_wrapper(state: Mapping[str, Any], known: tuple[str, ...] = ()) -> dict[str, Any]:
    """A state dict without a prefix that all its keys share, where a wrapper gave it.

    Args:
        state: name -> tensor.
        known: beginnings of names by which an unwrapped state dict is recognised: where no key has one of them, and
            without the shared prefix some do, the prefix is a wrapper's, too (`model.` of a trainer).

    Returns:
        A new mapping in the same order.
    """
    plain = {str(key): value for key, value in state.items()}
    candidate = plain
    for _ in range(5):
        if known and any(key.startswith(known) for key in candidate):
            return candidate
        first = {key.partition(".")[0] for key in candidate}
        if len(first) != 1 or not all("." in key for key in candidate):
            return plain
        candidate = {key.partition(".")[2]: value for key, value in candidate.items()}
        if first <= set(WRAPPERS):
            plain = candidate
    return plain
