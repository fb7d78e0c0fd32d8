"""Which files are images: by their suffix, or by their first bytes where the suffix says nothing."""

from __future__ import annotations

import os
import re
import warnings
from functools import cache

from PIL import Image

# Formats that PIL registers, and cannot draw by itself; of EPS it would start Ghostscript, which runs programs.
_NOT_IMAGES = frozenset("BUFR EPS FITS GRIB HDF5 MPEG PDF WMF".split())
_HEAD = 16  # bytes by which a format is known
_SIGNATURES = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF"))
_HEIF = frozenset((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"))
# Suffixes of pictures that PIL cannot read, or only with a plugin.
_UNREAD = frozenset(
    ".heic .heif .hif .avif .jxl .svg .eps .psb .cr2 .cr3 .nef .arw .dng .raf .orf .rw2 .srw .pef".split()
)
# What editors, exiftool and browsers append to the name of a file that they copied or have not finished.
_COPY = re.compile(r"(~|_original|\.(bak|orig|old|tmp|temp|part|partial|crdownload|download|swp|sync))$", re.IGNORECASE)
HEIF_ADVICE = "pip install pillow-heif reads them"


@cache
def image_suffixes() -> frozenset[str]:
    """The suffixes of the formats that PIL reads, in lower case: ".jpg", ".png", ...; MPO is read as JPEG.

    HEIC is among them where pillow-heif is installed, AVIF where that or Pillow itself reads it.
    """
    register_plugins()
    formats = Image.registered_extensions()  # also loads PIL's plugins
    return frozenset(
        suffix for suffix, kind in formats.items() if (kind in Image.OPEN or kind == "MPO") and kind not in _NOT_IMAGES
    )


@cache
def readable_formats() -> tuple[str, ...]:
    """The formats of PIL that an image may have, whatever its suffix: "JPEG", "PNG", ...; those of `image_suffixes`."""
    register_plugins()
    Image.init()
    return tuple(kind for kind in Image.ID if kind not in _NOT_IMAGES)


@cache
def register_plugins() -> None:
    """Lets PIL read HEIC where the package pillow-heif is installed, and be silent on metadata that nobody reads."""
    for message in (
        "Corrupt EXIF data",
        "Truncated File Read",
        "Metadata Warning",
        "Image appears to be a malformed MPO",
    ):
        warnings.filterwarnings("ignore", message=message, module="PIL")
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()


def is_image(name: str) -> bool:
    """Whether a file name has an image's suffix and is not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in image_suffixes()


def format_of(path: str | os.PathLike[str]) -> str:
    """The format of an image by its first bytes: "JPEG", "PNG", "GIF", "WebP", "BMP", "HEIC", "AVIF"; "" for others."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return ""
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[:2] == b"BM" and head[6:10] == bytes(4) and head[14:16] in (b"\x28\x00", b"\x6c\x00", b"\x7c\x00"):
        return "BMP"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        return "AVIF" if brand in (b"avif", b"avis") else "HEIC" if brand in _HEIF else ""
    return ""


def unusual(path: str, name: str) -> tuple[bool, str]:
    """Looks at a regular file whose suffix is no image's.

    Used are images without a suffix, and those whose suffix begins with an image's (".jpg_large", ".jpg!d"), as
    crawlers write them. Images under other suffixes, and copies such as "photo.jpg~", may be another file once more.

    Args:
        path: of the file.
        name: its name.

    Returns:
        Whether it is an image to be used; and, where it is a picture that is not, its kind for a message:
        ".heic", ".jpg~ (JPEG)".
    """
    suffix = os.path.splitext(name)[1].lower()
    if suffix in _UNREAD:
        return False, suffix
    kind = format_of(path)
    if not kind:
        return False, ""
    if kind in ("HEIC", "AVIF") and f".{kind.lower()}" not in image_suffixes():
        return False, f".{kind.lower()}"
    if copied := _COPY.search(name):
        return False, f"{suffix if suffix.endswith(copied[0].lower()) else copied[0].lower()} ({kind})"
    like = re.match(r"\.[a-z0-9]+", suffix)
    if not suffix or (like and like[0] != suffix and like[0] in image_suffixes()):
        return True, ""
    return False, f"{suffix} ({kind})"
