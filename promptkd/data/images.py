"""Reading images as people have them: rotated, transparent, 16-bit, in any format that PIL opens; and finding them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from dassl.data.data_manager import DatasetWrapper

# Suffixes that PIL registers, and cannot draw by itself.
_NOT_IMAGES = frozenset("BUFR EPS FITS GRIB HDF5 MPEG PDF WMF".split())


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of the formats that PIL reads, in lower case: ".jpg", ".png", ...; MPO is read as JPEG."""
    formats = Image.registered_extensions()  # also loads PIL's plugins
    return frozenset(
        suffix for suffix, kind in formats.items() if (kind in Image.OPEN or kind == "MPO") and kind not in _NOT_IMAGES
    )


def is_image(name: str) -> bool:
    """Whether a file name is that of an image, hidden files left out."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in image_suffixes()


def list_images(folder: Path) -> list[str]:
    """Names of the image files in a folder, sorted."""
    return sorted(name for name in os.listdir(folder) if is_image(name))


def list_folders(folder: Path) -> list[str]:
    """Names of the subfolders (links to folders included), sorted, hidden ones left out."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and _is_folder(entry))


def walk_images(folder: Path) -> list[str]:
    """POSIX paths of the images in a folder and below it, sorted; a folder reached twice through links counts once.

    A link to a folder above is not followed: it would bring what lies beside the folder into it. Links to files that
    are not there, or to themselves, are left out with a line.
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

    found = sorted(walk(folder, ""))
    if dangling:
        print(f"left out {len(dangling)} links in {folder} that lead to no file, such as {dangling[0]}")
    return found


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """As `entry.is_dir()`, but a link to itself is no folder; that raises an OSError there."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def read_upright(path: str) -> Image.Image:
    """Read an image as RGB, turned upright by its EXIF tag, transparent parts white, 16 bits scaled to 8.

    For a user's own images. (The published data sets are read as published: no tag is looked at, alpha is dropped.)

    Raises:
        OSError: not a readable image; the message names the file.
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
    """Bits beyond 8 of grey values: files of 16 bits hold those of 8-, 12- and 16-bit cameras, and do not say which."""
    highest = int(values.max(initial=0))
    return next((bits - 8 for bits in (8, 12) if highest < 1 << bits), 8)


class OwnImages(DatasetWrapper):
    """Dassl's items (see DatasetWrapper), of images read by `read_upright`."""

    def read(self, path: str) -> Image.Image:
        """An image file as RGB."""
        try:
            return read_upright(path)
        except OSError as error:
            raise OSError(f"{error}; replace it, or leave out all such with DATASET.SKIP_BAD_IMAGES True") from error

    def __getitem__(self, idx: int) -> dict[str, Any]:
        item = self.data_source[idx]
        output = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": idx}
        image = self.read(item.impath)
        transforms = self.transform if isinstance(self.transform, list | tuple) else [self.transform]
        for number, transform in enumerate(transforms, start=1):
            output["img" if number == 1 else f"img{number}"] = self._transform_image(transform, image)
        if self.return_img0:
            output["img0"] = self.to_tensor(image)
        return output


def image_fault(path: str) -> str | None:
    """Why an image cannot be used, or None; decodes all of it, as training would."""
    try:
        if os.path.getsize(path) == 0:
            return "empty file"
        read_upright(path)
    except OSError as error:
        cause = error.__cause__ or error
        return f"{type(cause).__name__}: {cause}".split("\n")[0]
    return None


def bad_images(paths: Iterable[str], threads: int | None = None) -> Iterator[tuple[str, str | None]]:
    """Each path with its fault or None, in order, decoded in parallel (PIL decodes without Python's lock)."""
    remaining = iter(paths)
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        while some := list(islice(remaining, 4096)):  # not a million jobs at once
            yield from zip(some, pool.map(image_fault, some), strict=True)
