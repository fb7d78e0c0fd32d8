"""File names as text that every program can read, also names that are not UTF-8; and the names again from that text.

Archives made on Windows or old Linux bring such names. Python holds them with "surrogates", which no UTF-8 file, table
or screen takes. In what the project writes and prints, each byte that is not UTF-8 is `\\xNN` instead: the name
caf<e9>.png (Latin-1) is `caf\\xe9.png`. So are the bytes of line ends and other control characters, which would forge
lines of a table or steer a terminal. `original` gives the name back.
"""

from __future__ import annotations

import os
import re

_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Control characters, line ends of Unicode, and those that turn the direction of writing.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def shown(path: str | os.PathLike[str]) -> str:
    """A path as text without surrogates and control characters; `original` is the inverse.

    A usual name stays as it is. (Where a name itself holds a backslash, an x and two hexadecimal digits, that backslash
    is written `\\x5c`.)
    """
    return readable(_CONTROL.sub(_bytes_escaped, _ESCAPE.sub(r"\\x5cx\1", os.fspath(path))))


def readable(text: str) -> str:
    """A text without surrogates, each written as `shown` writes it; for messages, which need no way back."""
    return text if text.isascii() else _SURROGATE.sub(_byte_escaped, text)


def original(text: str) -> str:
    """The path that `shown` wrote as this text, as Python's file functions take it."""
    if "\\x" not in text:
        return text
    pieces = _ESCAPE.split(text)  # text, two digits, text, ...
    content = b"".join(
        bytes.fromhex(piece) if place % 2 else piece.encode("utf-8", "surrogateescape")
        for place, piece in enumerate(pieces)
    )
    return content.decode("utf-8", "surrogateescape")


def is_utf8(text: str) -> bool:
    """Whether a name can be written in UTF-8."""
    return _SURROGATE.search(text) is None


def _bytes_escaped(match: re.Match[str]) -> str:
    """The bytes of a character in UTF-8, each as `\\xNN`."""
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode())


def _byte_escaped(match: re.Match[str]) -> str:
    """A byte as `\\xNN`; a surrogate that stands for no byte as `\\uNNNN`."""
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
