"""Images as users have them: found in folders, and read, be they rotated, transparent or 16-bit, in any PIL format."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

log = logging.getLogger(__name__)

# Formats that PIL registers, and cannot draw by itself.
_NOT_IMAGES = frozenset("BUFR EPS FITS GRIB HDF5 MPEG PDF WMF".split())


@cache
def image_suffixes() -> frozenset[str]:
    """The suffixes of the formats that PIL reads, in lower case: ".jpg", ".png", ...; MPO is read as JPEG."""
    formats = Image.registered_extensions()  # also loads PIL's plugins
    return frozenset(
        suffix for suffix, kind in formats.items() if (kind in Image.OPEN or kind == "MPO") and kind not in _NOT_IMAGES
    )


def is_image(name: str) -> bool:
    """Whether a file name has an image's suffix and is not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in image_suffixes()


def list_images(folder: Path) -> list[str]:
    """The names of the image files in a folder, sorted."""
    return sorted(name for name in os.listdir(folder) if is_image(name))


def list_folders(folder: Path) -> list[str]:
    """The names of the subfolders (links to folders included), sorted, without hidden ones."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and _is_folder(entry))


def walk_images(folder: Path) -> list[str]:
    """The POSIX paths of the images in a folder and below it, sorted; a folder reached twice by links counts once.

    A link to a folder above is not followed: it would bring the folder's neighbours into it. Links that lead to no
    file are left out, with a warning.
    """
    seen = {_identity(above) for start in (folder.absolute(), folder.resolve()) for above in start.parents}
    dangling: list[str] = []

    def walk(inside: Path, prefix: str) -> Iterator[str]:
        if (identity := _identity(inside)) in seen:
            return
        seen.add(identity)
        with os.scandir(inside) as entries:
            # Folders before links to folders, so that a link never takes the place of the folder itself.
            ordered = sorted(entries, key=lambda entry: (entry.is_symlink(), entry.name))
        for entry in ordered:
            if _is_folder(entry):
                if not entry.name.startswith("."):
                    yield from walk(inside / entry.name, f"{prefix}{entry.name}/")
            elif is_image(entry.name):
                if entry.is_symlink() and not os.path.isfile(entry.path):
                    dangling.append(prefix + entry.name)
                elif entry.is_file():
                    yield prefix + entry.name

    images = sorted(walk(folder, ""))
    if dangling:
        log.warning("left out %d links in %s that lead to no file, such as %s", len(dangling), folder, dangling[0])
    return images


def _identity(folder: Path) -> tuple[int, int]:
    """A folder's device and number, which are the same by every path and link to it."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; for a link to itself, `entry.is_dir()` would raise an OSError."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def read_upright(path: str) -> Image.Image:
    """Reads an image as RGB, turned upright by its EXIF tag, transparent parts white, 16 bits scaled to 8.

    "Upright" is the way in which all images of users are read: phones store a photograph as the sensor had it, and the
    EXIF tag has the turn. The published data sets are read as published: without the tag, alpha dropped.

    Raises:
        OSError: the file is no readable image; the message names it.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits; convert("RGB") would clip them to white
                values = np.asarray(upright).astype(np.int64)  # (H, W)
                return Image.fromarray((values >> _excess_bits(values)).clip(0, 255).astype(np.uint8)).convert("RGB")
            if upright.mode == "F":
                raise ValueError("floating-point values have no known range; store it with 8 or 16 bits")
            if upright.has_transparency_data:
                layer = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
            return upright.convert("RGB")
    except Exception as error:  # PIL raises many kinds: OSError, SyntaxError, ValueError, DecompressionBombError, ...
        empty = os.path.isfile(path) and os.path.getsize(path) == 0
        reason = str(error).split("\n")[0]
        reason = "the file is empty" if empty else "a folder without images" if os.path.isdir(path) else reason
        raise OSError(f'cannot read the image "{path}" ({reason})') from error


def _excess_bits(values: np.ndarray) -> int:
    """The number of bits beyond 8 in grey values; a file of 16 bits may hold values of 8, 12 or 16 bits, unmarked."""
    highest = int(values.max(initial=0))
    return next((bits - 8 for bits in (8, 12) if highest < 1 << bits), 8)


def image_fault(path: str) -> str | None:
    """The reason why an image cannot be used, or None; decodes all of it, as training would."""
    try:
        if os.path.getsize(path) == 0:
            return "empty file"
        read_upright(path)
    except OSError as error:
        cause = error.__cause__ or error
        return f"{type(cause).__name__}: {cause}".split("\n")[0]
    return None


def bad_images(paths: Iterable[str], threads: int | None = None) -> Iterator[tuple[str, str | None]]:
    """Yields each path with its fault or None, in order; decodes in parallel (PIL decodes without Python's lock).

    Args:
        paths: of image files.
        threads: that decode; None for one a core.
    """
    remaining = iter(paths)
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        while some := list(islice(remaining, 4096)):  # not a million jobs at once
            yield from zip(some, pool.map(image_fault, some), strict=True)
