"""Files, seeds and the environment."""

from __future__ import annotations

import contextlib
import difflib
import importlib.metadata
import json
import os
import platform
import random
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image


def mkdir_if_missing(dirname: str) -> None:
    """Make a directory and its parents; an existing one, or "", is fine."""
    if dirname:
        os.makedirs(dirname, exist_ok=True)


def check_isfile(fpath: str) -> bool:
    """Return whether the file is there; warn where it is not."""
    found = os.path.isfile(fpath)
    if not found:
        warnings.warn(f'no file at "{fpath}"', stacklevel=2)
    return found


@contextlib.contextmanager
def atomic_write(fpath: str | os.PathLike[str]) -> Iterator[str]:
    """Yield a temporary path in the same folder; it becomes `fpath` if the block ends well, and is removed if not.

    Raises:
        OSError: the folder cannot be written.
    """
    fpath = os.fspath(fpath)
    folder, name = os.path.split(fpath)
    mkdir_if_missing(folder)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, fpath)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def read_json(fpath: str) -> Any:
    """Read a JSON file."""
    with open(fpath, encoding="utf-8") as file:
        return json.load(file)


def write_json(obj: Any, fpath: str) -> None:
    """Write a JSON file, atomically; makes its folder."""
    with atomic_write(fpath) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(obj, file, indent=4, separators=(",", ": "))


def read_image(path: str) -> Image.Image:
    """Read an image file as RGB.

    Raises:
        FileNotFoundError: no such file.
        OSError: not a readable image; the message names the file.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f'no image at "{path}"; check DATASET.ROOT and the split file')
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = str(error).split("\n")[0]
        raise OSError(
            f'cannot read the image "{path}" ({reason}); replace the file, or take it out of the data set'
        ) from error


def listdir_nohidden(path: str, sort: bool = False) -> list[str]:
    """List a directory without the names that begin with a dot."""
    items = [name for name in os.listdir(path) if not name.startswith(".")]
    return sorted(items) if sort else items


def tolist_if_not(x: Any) -> list[Any]:
    """Return `x` if it is a list, [x] if not."""
    return x if isinstance(x, list) else [x]


def get_most_similar_str_to_a_from_b(a: str, b: Iterable[str]) -> str:
    """Return the string of `b` closest to `a` (letter case aside), or "" where none is close."""
    lowered = {name.lower(): name for name in b}
    close = difflib.get_close_matches(a.lower(), lowered, n=1, cutoff=0.5)
    return lowered[close[0]] if close else ""


def set_random_seed(seed: int) -> None:
    """Seed random, NumPy and PyTorch on all devices; 0 is a seed, a negative one leaves all as it is.

    Raises:
        ValueError: above 2**32 - 1, which NumPy cannot take.
    """
    if seed < 0:
        return
    if seed >= 2**32:
        raise ValueError(f"seed {seed} is too large; choose one from 0 to {2**32 - 1}")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)  # CUDA and other devices, too


def collect_env_info() -> str:
    """Return versions of what a run depends on, and its machine, one a line."""
    lines = [f"Python: {platform.python_version()} ({platform.platform()})"]
    for name in ("dassl", "torch", "torchvision", "open_clip_torch", "numpy", "Pillow"):
        try:
            lines.append(f"{name}: {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{name}: not installed")
    lines.append(f"CPU: {os.cpu_count()} cores, {torch.get_num_threads()} PyTorch threads")
    if torch.cuda.is_available():
        lines.append(f"CUDA: {torch.version.cuda}, cuDNN: {torch.backends.cudnn.version()}")
        lines += [f"GPU {i}: {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    else:
        lines.append("CUDA: not available")
    return "\n".join(lines)
