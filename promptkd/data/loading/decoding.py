"""Training images decoded at a fraction of their size, or kept decoded: two options for a loader that is too slow."""

from __future__ import annotations

import fcntl
import math
import multiprocessing
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from yacs.config import CfgNode

from dassl.utils import read_image
from promptkd.data.images import OwnImages

GIB = 2**30


def check_options(cfg: CfgNode) -> None:
    """Raises ValueError for values of INPUT.DRAFT and DATALOADER's cache that cannot be meant."""
    if cfg.INPUT.DRAFT and cfg.INPUT.DRAFT < 1:
        raise ValueError(f"INPUT.DRAFT {cfg.INPUT.DRAFT}: images would be smaller than INPUT.SIZE, set 1 or more, or 0")
    if cfg.DATALOADER.DECODED_CACHE_GB < 0:
        raise ValueError(f"DATALOADER.DECODED_CACHE_GB {cfg.DATALOADER.DECODED_CACHE_GB}: set 0 (none) or more")
    if cfg.DATALOADER.PREFETCH_FACTOR < 1:
        raise ValueError(f"DATALOADER.PREFETCH_FACTOR {cfg.DATALOADER.PREFETCH_FACTOR}: a worker has 1 batch or more")


def wrapper(cfg: CfgNode, own: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """What DataManager makes items with: `own`, or where an option asks for it what decodes or keeps images here.

    Args:
        cfg: the run's; INPUT.DRAFT and DATALOADER.DECODED_CACHE_GB ask.
        own: a data set's own wrapper, None for Dassl's.
    """
    if not cfg.INPUT.DRAFT and not cfg.DATALOADER.DECODED_CACHE_GB:
        return own
    return partial(DecodedImages, upright=own is not None)


class DecodedImages(OwnImages):
    """Dassl's items, of training images that are decoded at a fraction of their size or kept decoded.

    Test images are always decoded in full, each time.

    Args:
        upright: whether images are read as a user's own are (`read_upright`), or as published.
        cfg, data_source, transform, is_train: see DatasetWrapper.
    """

    def __init__(
        self, cfg: CfgNode, data_source: Any, transform: Any = None, is_train: bool = False, upright: bool = False
    ) -> None:
        super().__init__(cfg, data_source, transform, is_train)
        self.upright = upright
        self.edge = math.ceil(cfg.INPUT.DRAFT * max(cfg.INPUT.SIZE)) if is_train else 0
        self.cache: DecodedCache | None = None
        if is_train and cfg.DATALOADER.DECODED_CACHE_GB:
            folder = cfg.DATALOADER.DECODED_CACHE_DIR or tempfile.gettempdir()
            self.cache = DecodedCache(folder, round(cfg.DATALOADER.DECODED_CACHE_GB * GIB), len(data_source))
            self._number = {item.impath: number for number, item in enumerate(data_source)}

    def read(self, path: str) -> Image.Image:
        if self.cache is None:
            return self.decode(path)
        return self.cache.get(self._number[path], lambda: self.decode(path))

    def decode(self, path: str) -> Image.Image:
        """An image file as RGB; a JPEG at the smallest of its four sizes that INPUT.DRAFT allows.

        Raises:
            OSError: it cannot be read.
        """
        if self.edge and (small := read_draft(path, self.edge, self.upright)) is not None:
            return small
        return super().read(path) if self.upright else read_image(path)


def read_draft(path: str, edge: int, upright: bool = False) -> Image.Image | None:
    """A JPEG as RGB, decoded at 1/2, 1/4 or 1/8 of its size, the smallest with both sides at least `edge` pixels.

    The decoder then leaves out high frequencies of each 8x8 block, which is close to a box filter over the full image.

    Args:
        path: any image file.
        edge: pixels.
        upright: whether the EXIF tag turns it.

    Returns:
        None where it is no JPEG, would not get smaller, or cannot be read.
    """
    try:
        with Image.open(path) as image:
            full = image.size
            if image.format != "JPEG" or image.draft(None, (edge, edge)) is None or image.size == full:
                return None
            return (ImageOps.exif_transpose(image) if upright else image).convert("RGB")
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        return None  # to be read in full, which says what is wrong


class DecodedCache:
    """Pixels of images by number, in one file that all workers of a loader map into memory; bounded, exact.

    The file is reserved on disk at once, so that it cannot fill up later, and goes with the run. While memory lasts the
    system keeps it there; in a folder of /dev/shm it is nowhere else.

    Args:
        folder: where the file is made.
        size: bytes of pixels; images that come when they are taken are decoded each time.
        items: numbers go from 0 to here.

    Raises:
        OSError: no such folder, or not so much room in it.
    """

    def __init__(self, folder: str, size: int, items: int) -> None:
        try:
            descriptor, name = tempfile.mkstemp(".part", "decoded-", Path(folder).expanduser())
        except OSError as error:
            why = f"{folder}: {error.strerror}"
            raise OSError(f"DATALOADER.DECODED_CACHE_DIR {why}; choose a folder that can be written to") from error
        self.path, self.size, self.items = name, size, items
        head = (1 + 3 * items) * 8
        self._remove = weakref.finalize(self, _remove, name, os.getpid())
        try:
            os.posix_fallocate(descriptor, 0, head + size)
        except OSError as error:
            self._remove()
            raise OSError(
                f"DATALOADER.DECODED_CACHE_GB {size / GIB:g}: {folder} has not so much room ({error.strerror}): lower "
                "it, or set DATALOADER.DECODED_CACHE_DIR"
            ) from error
        finally:
            os.close(descriptor)
        self._open()
        if multiprocessing.get_start_method() == "fork":
            self._remove()  # workers inherit it open; without a name it goes with the last process, however that ends

    def _open(self) -> None:
        head = (1 + 3 * self.items) * 8
        self._file = open(self.path, "r+b")
        table = np.memmap(self._file, np.int64, "r+", 0, (1 + 3 * self.items,))
        self._used = table[:1]  # bytes that are taken
        # where its pixels begin (0: not there, -1: being written, else 1 more than that), height, width
        self._places = table[1:].reshape(self.items, 3)
        self._pixels = np.memmap(self._file, np.uint8, "r+", head, (self.size,))

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "size": self.size, "items": self.items}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """For a worker that is not forked: the same file."""
        self.__dict__.update(state)
        self._open()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self._file, fcntl.LOCK_EX)  # between processes, also forked ones
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def get(self, number: int, decode: Callable[[], Image.Image]) -> Image.Image:
        """An image (RGB) from the cache, else from `decode`, after which it is kept where there is room."""
        with self._locked():
            place, height, width = self._places[number].tolist()
        if place > 0:
            pixels = self._pixels[place - 1 : place - 1 + height * width * 3]
            return Image.fromarray(np.array(pixels).reshape(height, width, 3))
        image = decode()
        pixels = np.asarray(image)  # (H, W, 3)
        with self._locked():
            start = int(self._used[0])
            if self._places[number, 0] != 0 or start + pixels.size > self.size:
                return image
            self._used[0] += pixels.size
            self._places[number] = -1, *pixels.shape[:2]
        self._pixels[start : start + pixels.size] = pixels.reshape(-1)
        with self._locked():
            self._places[number, 0] = start + 1
        return image


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # not a forked worker
        Path(path).unlink(missing_ok=True)
