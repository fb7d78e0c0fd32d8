"""Two options for a loader that is too slow: images decoded at a fraction of their size, and images kept decoded."""

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
from PIL import Image
from yacs.config import CfgNode

from promptkd.data.images import check_shape, turned
from promptkd.data.loading.user_images import PublishedImages, UserImages

GIB = 2**30


def check_options(cfg: CfgNode) -> None:
    """Raises ValueError for impossible values of INPUT.DRAFT, DATALOADER's cache and DATALOADER.PREFETCH_FACTOR."""
    if cfg.INPUT.DRAFT and cfg.INPUT.DRAFT < 1:
        raise ValueError(f"INPUT.DRAFT {cfg.INPUT.DRAFT}: images would be smaller than INPUT.SIZE, set 1 or more, or 0")
    if cfg.DATALOADER.DECODED_CACHE_GB < 0:
        raise ValueError(f"DATALOADER.DECODED_CACHE_GB {cfg.DATALOADER.DECODED_CACHE_GB}: set 0 (none) or more")
    if cfg.DATALOADER.PREFETCH_FACTOR < 1:
        raise ValueError(f"DATALOADER.PREFETCH_FACTOR {cfg.DATALOADER.PREFETCH_FACTOR}: a worker has 1 batch or more")


def wrapper(cfg: CfgNode, image_wrapper: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """The class of a loader's items, for DataManager: DecodedImages where an option needs it, else `image_wrapper`.

    Args:
        cfg: the run's; INPUT.DRAFT and DATALOADER.DECODED_CACHE_GB are the options.
        image_wrapper: the data set's class of items (PublishedImages, UserImages), None for Dassl's.
    """
    if not cfg.INPUT.DRAFT and not cfg.DATALOADER.DECODED_CACHE_GB:
        return image_wrapper
    upright = isinstance(image_wrapper, type) and issubclass(image_wrapper, UserImages)
    return partial(DecodedImages, upright=upright)


class DecodedImages(UserImages):
    """Dassl's items, whose training images are decoded at a fraction of their size, or kept decoded, or both.

    Test images are always decoded in full, each time.

    Args:
        cfg, data_source, transform, is_train: see DatasetWrapper.
        upright: whether images are read as a user's (by `read_upright`, which turns them by their EXIF tag), or as
            published (by `read_published`).
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
        """An image as RGB: from the cache where there is one, else from its file."""
        if self.cache is None:
            return self.decode(path)
        return self.cache.get(self._number[path], lambda: self.decode(path))

    def decode(self, path: str) -> Image.Image:
        """Decodes an image file as RGB; a JPEG at the smallest of its four sizes that INPUT.DRAFT allows.

        Raises:
            OSError: it cannot be read.
        """
        if self.edge and (small := read_draft(path, self.edge, self.upright)) is not None:
            return small
        return super().read(path) if self.upright else PublishedImages.read(self, path)


def read_draft(path: str, edge: int, upright: bool = False) -> Image.Image | None:
    """Decodes a JPEG as RGB at 1/2, 1/4 or 1/8 of its size: the smallest with both sides at least `edge` pixels.

    The decoder then leaves out high frequencies of each 8x8 block, which is close to a box filter over the full image.
    Example: a JPEG of 2000 x 1800 with `edge` 224 is decoded at 250 x 225 (1/8).

    Args:
        path: of any image file.
        edge: smallest side, in pixels.
        upright: whether the image is turned by its EXIF tag.

    Returns:
        The image, or None where the file is no JPEG, would not get smaller, or cannot be read.
    """
    try:
        with Image.open(path) as image:
            check_shape(image)
            full = image.size
            if image.format != "JPEG" or image.draft(None, (edge, edge)) is None or image.size == full:
                return None
            return (turned(image) if upright else image).convert("RGB")
    except Exception:  # of many kinds; reading the file in full leaves out its metadata, or names the fault
        return None


class DecodedCache:
    """A cache of decoded images: one file of pixels that all workers of a loader map into memory.

    The file begins with a table of int64, then come the pixels. Example with 2 images, of which image 1 (40 x 60
    pixels, 7,200 bytes) came first and image 0 is not cached yet:

        bytes used | image 0: place, height, width | image 1: place, height, width | pixels
        7200       | 0      0       0              | 1      40      60             | 7,200 bytes of image 1, free space

    The place on disk is reserved at once, so that the disk cannot be full later; the file is deleted at the end of the
    run. The system holds it in memory as long as there is room; in a folder of /dev/shm it is in memory only.

    Args:
        folder: of the file.
        size: bytes of pixels; once they are used, further images are decoded each time.
        items: number of images.

    Raises:
        OSError: there is no such folder, or not enough room in it.
    """

    def __init__(self, folder: str, size: int, items: int) -> None:
        try:
            descriptor, name = tempfile.mkstemp(".part", "decoded-", Path(folder).expanduser())
        except OSError as error:
            raise OSError(
                f"DATALOADER.DECODED_CACHE_DIR {folder}: {error.strerror}; choose a folder that can be written to"
            ) from error
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
            # Workers inherit the open file; without a name the system deletes it once no process has it open.
            self._remove()

    def _open(self) -> None:
        """Maps the file into memory: the table, and the pixels behind it."""
        head = (1 + 3 * self.items) * 8
        self._file = open(self.path, "r+b")
        table = np.memmap(self._file, np.int64, "r+", 0, (1 + 3 * self.items,))
        self._used = table[:1]  # bytes of pixels that are used
        # A row an image: place, height, width. Place 0: not cached; -1: a worker is writing it; n + 1: it begins at n.
        self._places = table[1:].reshape(self.items, 3)
        self._pixels = np.memmap(self._file, np.uint8, "r+", head, (self.size,))

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "size": self.size, "items": self.items}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Opens the same file in a worker that is not forked."""
        self.__dict__.update(state)
        self._open()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds the file's lock, so that one worker at a time reads or changes the table."""
        fcntl.lockf(self._file, fcntl.LOCK_EX)  # between processes, also forked ones
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def get(self, number: int, decode: Callable[[], Image.Image]) -> Image.Image:
        """An image (RGB) from the cache, else from `decode`, whose result is cached where there is room.

        Args:
            number: of the image, from 0.
            decode: gives the image.
        """
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
                return image  # another worker was faster, or there is no room left
            # The room is taken under the lock; the pixels are then written without it, side by side with other workers.
            self._used[0] += pixels.size
            self._places[number] = -1, *pixels.shape[:2]
        self._pixels[start : start + pixels.size] = pixels.reshape(-1)
        with self._locked():
            self._places[number, 0] = start + 1
        return image


def _remove(path: str, owner: int) -> None:
    """Deletes a cache's file, in the process that made it alone: not in a forked worker that ends."""
    if os.getpid() == owner:
        Path(path).unlink(missing_ok=True)
