"""An image out of bytes that a stranger sent: compared with a limit before it is decoded, and of a common format."""

from __future__ import annotations

import contextlib
import io
from functools import cache

from PIL import Image

from promptkd.deploy.serving.limits import RefusalError
from promptkd.texts import clipped

# Others (TIFF, PSD, fonts, films ...) have decoders that few people look at.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "HEIF", "AVIF")
# A progressive JPEG comes in about ten scans, each of which goes over all of the image: a file of a few megabytes may
# hold a hundred thousand, hours of work.
SCANS = 100
_SCAN = b"\xff\xda"


def decoded(content: bytes, most_pixels: int) -> Image.Image:
    """The image in a file's content as RGB, upright, transparent parts white.

    Args:
        content: of the file.
        most_pixels: width x height, at most.

    Raises:
        RefusalError: 413, too many pixels or scans; 415, no image of one of the formats; 422, one that is damaged.
    """
    from promptkd.data.pixels import without_metadata

    if content.startswith(b"\xff\xd8") and content.count(_SCAN) > SCANS:
        raise RefusalError(413, "pixels", f"a JPEG of over {SCANS} scans: store it anew")
    try:
        return _decoded(content, most_pixels)
    except RefusalError:
        raise
    except Image.DecompressionBombError as error:
        raise RefusalError(413, "pixels", clipped(error)) from None
    except Exception as error:  # PIL raises many kinds: OSError, SyntaxError, ValueError, struct.error, ...
        for exif in (True, False):  # what stands beside the pixels may be what is damaged
            if (bare := without_metadata(content, exif)) is not None:
                with contextlib.suppress(Exception):
                    return _decoded(bare, most_pixels)
        if isinstance(error, Image.UnidentifiedImageError):
            raise RefusalError(415, "format", f"no image of a format that is read: {', '.join(formats())}") from None
        reason = clipped(error) or type(error).__name__
        raise RefusalError(422, "image", f"the image cannot be decoded ({reason})") from None


@cache
def formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow reads, with the plugins that are installed."""
    from promptkd.data.formats import register_plugins

    register_plugins()
    Image.init()
    return tuple(kind for kind in FORMATS if kind in Image.OPEN)


def _decoded(content: bytes, most_pixels: int) -> Image.Image:
    from promptkd.data.images import check_shape, upright

    with Image.open(io.BytesIO(content), formats=formats()) as image:
        if image.width * image.height > most_pixels:
            size = f"{image.width} x {image.height} pixels"
            raise RefusalError(413, "pixels", f"the image has {size}: at most {most_pixels:,} are decoded")
        try:
            check_shape(image)
        except ValueError as error:
            raise RefusalError(413, "pixels", str(error)) from None
        return upright(image)
