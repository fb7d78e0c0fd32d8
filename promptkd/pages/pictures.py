"""Pictures inside a page: small JPEGs as data URIs, of files below the data root alone."""

from __future__ import annotations

import base64
import io
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:  # Pillow is loaded where a picture is made
    from PIL import Image

THUMBNAIL = 88  # pixels
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # no format whose reader starts a program
LARGEST_FILE = 64 * 2**20  # bytes of a picture that is shown
LARGEST_PICTURE = 50_000_000  # its pixels


def thumbnail(root: str, path: str, size: int = THUMBNAIL, quality: int = 75) -> str:
    """A small JPEG as a data URI; "" where it is no image that may be shown and can be read.

    predictions.csv may come from elsewhere, and the page may go elsewhere: what is shown are pictures below the data
    root alone, regular files of a size that fits in memory.

    Args:
        root: the folder of the data sets.
        path: below it; an absolute one, or one that leads out of it, by a link too, is not opened.
        size: of its longer side, in pixels.
        quality: of the JPEG, up to 95.
    """
    from PIL import Image

    try:
        file = _opened_below(root, path)
        with file, Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > LARGEST_PICTURE:
                return ""
            image.draft("RGB", (2 * size, 2 * size))
            small = image.convert("RGBA")
            small.thumbnail((size, size))
    except Exception:  # decoders of damaged files raise what they like, and the page is of more than one picture
        return ""
    white = Image.new("RGBA", small.size, "white")
    white.alpha_composite(small)
    return data_uri(white.convert("RGB"), quality)


def data_uri(picture: Image.Image, quality: int = 75) -> str:
    """An RGB picture as a JPEG inside an address."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _opened_below(root: str, path: str) -> BinaryIO:
    """A regular file below a folder, opened.

    Raises:
        OSError, ValueError: it is none, leads out of the folder, or is too large.
    """
    top = os.path.realpath(os.path.expanduser(root))
    real = os.path.realpath(os.path.join(top, path))
    if os.path.isabs(path) or os.path.commonpath([top, real]) != top:
        raise ValueError("not below the data root")
    # Neither a device nor a pipe without a writer holds up a page: opening does not wait, and then it is looked at.
    descriptor = os.open(real, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    file = os.fdopen(descriptor, "rb")
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_FILE:
        file.close()
        raise ValueError("no regular file, or too large")
    return file
