"""Images as users have them, read as RGB: rotated, transparent or 16-bit, in any PIL format, with odd metadata."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from PIL import Image

from promptkd.data.formats import HEIF_ADVICE, format_of, readable_formats
from promptkd.data.pixels import without_metadata
from promptkd.texts import path_text, plain

log = logging.getLogger(__name__)

# A picture of 1 x 60,000 pixels would be resized to 224 x 13 million; one of 1:200, which no camera takes, costs 30 MB.
MAX_RATIO = 200
_TURNS = {  # EXIF's orientation -> what turns an image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_MAX_BYTES = 1 << 28  # of a file that is looked at once more


def read_upright(path: str) -> Image.Image:
    """Reads an image as RGB, turned upright by its EXIF tag, transparent parts white, 16 bits scaled to 8.

    "Upright" is the way in which all images of users are read: phones store a photograph as the sensor had it, and the
    EXIF tag has the turn. The published data sets are read as published: without the tag, alpha dropped
    (`read_published`).

    Raises:
        OSError: the file is no readable image, or one of extreme shape; the message names it.
    """
    return _read(path, upright)


def read_published(path: str) -> Image.Image:
    """Reads an image as RGB as the published code does: not turned, alpha dropped.

    Raises:
        OSError: the file is no readable image, or one of extreme shape; the message names it.
    """
    return _read(path, lambda image: _pixels_alone(image.convert("RGB")))


def check_shape(image: Image.Image) -> None:
    """Raises ValueError for an opened image, not decoded yet, whose one side is over MAX_RATIO times the other."""
    short, long = sorted(image.size)
    if long > MAX_RATIO * max(1, short):
        raise ValueError(
            f"{image.width} x {image.height} pixels: one side is over {MAX_RATIO} times the other, which resizing "
            "would blow up to gigabytes; cut it"
        )


def turned(image: Image.Image) -> Image.Image:
    """An image turned upright by its EXIF tag; as it is where there is none, or one that cannot be read."""
    image.load()  # in a PNG the tag may come after the pixels
    orientation = 1
    with contextlib.suppress(Exception):  # EXIF of any kind of garbage; PIL raises many kinds of errors
        orientation = image.getexif().get(_ORIENTATION, 1)
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def read_content(content: bytes, name: str) -> Image.Image:
    """An image from the bytes of its file, as `read_upright` reads it.

    Args:
        content: of the file.
        name: its name, for messages.

    Raises:
        OSError: it is no readable image, or one of extreme shape; the message names it.
    """
    try:
        try:
            with Image.open(io.BytesIO(content), formats=readable_formats()) as image:
                check_shape(image)
                return upright(image)
        except Image.DecompressionBombError:
            raise
        except Exception:
            if (again := _without_the_rest(content, upright)) is None:
                raise
            return again
    except Exception as error:  # PIL raises many kinds: OSError, SyntaxError, ValueError, DecompressionBombError, ...
        reason = plain(str(error).partition("\n")[0])
        if isinstance(error, Image.UnidentifiedImageError):  # its own words name an object in memory
            reason = "no image that Pillow knows" if content else "the file is empty"
        raise OSError(f'cannot read the image "{path_text(name)}" ({reason})') from error


def _read(path: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Reads an image file; where PIL refuses it, once more without the parts that hold no pixels."""
    try:
        try:
            with Image.open(path, formats=readable_formats()) as image:
                check_shape(image)
                return convert(image)
        except Image.DecompressionBombError:
            raise
        except Exception as error:
            if not os.path.isfile(path) or os.path.getsize(path) > _MAX_BYTES:
                raise
            with open(path, "rb") as file:
                content = file.read()
            if (again := _without_the_rest(content, convert)) is None:
                raise
            log.debug("%s is read without its metadata (%s)", path, error)
            return again
    except Exception as error:  # PIL raises many kinds: OSError, SyntaxError, ValueError, DecompressionBombError, ...
        raise OSError(f'cannot read the image "{path_text(path)}" ({_reason(path, error)})') from error


def _without_the_rest(content: bytes, convert: Callable[[Image.Image], Image.Image]) -> Image.Image | None:
    """An image read from the parts of its file that hold the pixels, or None where they do not give one."""
    for exif in (True, False):
        # The error of the whole file is the one to be shown.
        with contextlib.suppress(Exception):
            bare = without_metadata(content, exif)
            if bare is None:
                return None
            with Image.open(io.BytesIO(bare), formats=readable_formats()) as image:
                check_shape(image)
                return convert(image)
    return None


def upright(image: Image.Image) -> Image.Image:
    """An opened image as RGB: turned, transparent parts white, 16 bits scaled to 8; one that has been is as it was.

    Raises:
        ValueError: floating-point values.
        OSError: pixels that cannot be decoded.
    """
    picture = turned(image)
    if picture.mode.startswith("I"):  # 16 bits; convert("RGB") would clip them to white
        values = np.asarray(picture)  # (H, W), of as many bits as the image has
        return Image.fromarray((values >> _excess_bits(values)).clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        raise ValueError("floating-point values have no known range; store it with 8 or 16 bits")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return _pixels_alone(picture.convert("RGB"))


def _pixels_alone(image: Image.Image) -> Image.Image:
    """An image without what its file had beside the pixels, such as a turn, which would be made a second time."""
    image.info = {}
    return image


def _reason(path: str, error: Exception) -> str:
    """Why a file is not read, in words for its user."""
    if os.path.isdir(path):
        return "a folder without images"
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        return "the file is empty"
    if isinstance(error, Image.UnidentifiedImageError) and (kind := format_of(path)) in ("HEIC", "AVIF"):
        return f"{kind} images need a package: {HEIF_ADVICE}"
    return plain(str(error).split("\n")[0])


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
        return plain(f"{type(cause).__name__}: {cause}".split("\n")[0])
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
