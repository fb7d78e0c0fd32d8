"""The parts of an image file that hold its pixels, without text, colour profile, EXIF and other parts beside them.

PIL refuses some images for what stands beside the pixels: a text over its limit, a wrong checksum of a comment, a
damaged profile, a last part that is cut off. Viewers show such files. So where PIL fails, the file is read once more
as it would be without those parts. What holds the pixels is copied as it stands: a file whose pixels are cut or damaged
fails this way as well.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PARTS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_JPEG_KEPT = (0xE0, 0xEE)  # JFIF, and Adobe's, which tells how colours are stored
_JPEG_EXIF = 0xE1
_WEBP_PARTS = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")
_WEBP_BESIDE = 0x20 | 0x08 | 0x04  # flags of profile, EXIF and XMP


def without_metadata(content: bytes, exif: bool = False) -> bytes | None:
    """A PNG, JPEG or WebP file without the parts that hold no pixels.

    Args:
        content: of the file.
        exif: whether EXIF, which may turn the image, stays; of a WebP it never does.

    Returns:
        The file's content; None for other formats, and where the parts cannot be told apart.
    """
    if content.startswith(_PNG):
        return _png(content, exif)
    if content.startswith(b"\xff\xd8\xff"):
        return _jpeg(content, exif)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _webp(content)
    return None


def _png(content: bytes, exif: bool) -> bytes | None:
    """A PNG of its pixels' chunks; their checksums are kept, so that damaged pixels are still refused."""
    kept = [_PNG]
    place = len(_PNG)
    while place + 8 <= len(content):
        size = int.from_bytes(content[place : place + 4], "big")
        kind, end = content[place + 4 : place + 8], place + 12 + size
        if end > len(content):
            if kind in _PNG_PARTS[:-1]:
                return None  # the pixels are cut off
            break
        chunk = content[place:end]
        sound = kind == b"eXIf" and zlib.crc32(chunk[4:-4]).to_bytes(4, "big") == chunk[-4:]
        if kind == b"IEND":
            break
        if kind in _PNG_PARTS or (exif and sound):
            kept.append(chunk)
        place = end
    kept.append(b"\0\0\0\0IEND\xaeB`\x82")
    return b"".join(kept)


def _jpeg(content: bytes, exif: bool) -> bytes | None:
    """A JPEG without its application parts and comments, up to the pixels; from there on as it is."""
    kept, place = [content[:2]], 2
    while place + 4 <= len(content):
        if content[place] != 0xFF:
            return None
        marker = content[place + 1]
        if marker == 0xFF:  # filling
            place += 1
            continue
        if marker == 0xDA:  # the pixels
            return b"".join((*kept, content[place:]))
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        beside = 0xE0 <= marker <= 0xEF or marker == 0xFE
        turns = exif and marker == _JPEG_EXIF and content[place + 4 : place + 10] == b"Exif\0\0"
        if not beside or marker in _JPEG_KEPT or turns:
            kept.append(content[place:end])
        place = end
    return None


def _webp(content: bytes) -> bytes | None:
    """A WebP of its pixels' parts, its header's flags set to them."""
    kept = []
    for kind, part in _riff_parts(content):
        if kind == b"VP8X" and len(part) > 8:
            part = part[:8] + bytes([part[8] & ~_WEBP_BESIDE]) + part[9:]
        if kind in _WEBP_PARTS:
            kept.append(part)
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + len(body).to_bytes(4, "little") + body if kept else None


def _riff_parts(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The parts of a RIFF file that are whole: (kind, all bytes of the part)."""
    place = 12
    while place + 8 <= len(content):
        size = int.from_bytes(content[place + 4 : place + 8], "little")
        end = place + 8 + size + size % 2
        if end > len(content) + size % 2:
            return
        yield content[place : place + 4], content[place:end]
        place = end
