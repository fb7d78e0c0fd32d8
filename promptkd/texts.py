"""Text from files, names and errors, made safe to show: no control characters, nothing cut inside a word."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches

# C0 and C1 controls, line and paragraph separators, marks and overrides of writing direction, lone surrogates (bytes
# of file names that are no UTF-8).
_HIDDEN = "\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
_CONTROL = re.compile(f"[{_HIDDEN}]")
_CONTROL_IN_LINES = re.compile(rf"(?![\n\t])[{_HIDDEN}]")
_FORMULA = re.compile(
    r"'*\s*[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n]"
)  # what a spreadsheet would run, full-width forms too
_LONGEST_WORD = 500  # characters
_LONGEST_NAME = 200  # of which names are compared: the time grows with the square
_JOINERS = "\u200c\u200d"  # letters of some scripts, and emoji, are joined by these


def plain(text: object, lines: bool = False) -> str:
    r"""A text in which control characters are written out, as \x1b, \u202e or \n; a byte that is no UTF-8 as \xe9.

    Args:
        text: of any origin.
        lines: whether line ends and tabs stay as they are, in a text of several lines.
    """
    return (_CONTROL_IN_LINES if lines else _CONTROL).sub(_written_out, str(text))


def _written_out(match: re.Match[str]) -> str:
    character = match[0]
    number = ord(character)
    if character in _JOINERS:
        return character
    if 0xDC80 <= number <= 0xDCFF:  # Python's form of a byte that is no UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(
        character, f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
    )


def one_line(text: object) -> str:
    """A text as one line: white space of any kind becomes a space, and other control characters are written out."""
    return plain(" ".join(str(text).split()))


def clipped(text: object, most: int = 200) -> str:
    """A text on one line of some `most` characters, its invisible characters written out.

    A longer one ends with a whole word and "...", so that no address or hash is cut; a first word that is longer stays
    whole up to 500 characters.
    """
    line = one_line(str(text)[: 4 * most + _LONGEST_WORD])
    if len(line) <= most:
        return line
    kept = line[: most + 1].rpartition(" ")[0] or line.partition(" ")[0][:_LONGEST_WORD]
    return f"{kept} ..." if len(kept) < len(line) else line


def closest(word: object, choices: Iterable[object], least: float = 0.6) -> str:
    """The choice that a word is most like, for a message; "" where none is like it.

    Args:
        word: as it was typed, or as a file has it.
        choices: texts.
        least: likeness of a choice that counts, from 0 to 1.
    """
    close = get_close_matches(str(word)[:_LONGEST_NAME], [str(one) for one in choices], n=1, cutoff=least)
    return close[0] if close else ""


def cell(text: str) -> str:
    """A text for a cell of a CSV file, which no spreadsheet takes for a formula.

    An apostrophe goes before a text that begins with one of = + - @, also behind white space or apostrophes: a
    spreadsheet shows the text behind it. `uncelled` takes it away.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def uncelled(text: str) -> str:
    """The text that `cell` made a cell of."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


_CODE_AND_LINKS = re.compile(r"[\\`\[\]|]")
_ALL_OF_MARKDOWN = re.compile(r"[\\`\[\]|*_{}#+!~$:@]|(?<=www)\.")


def markdown(text: object, strict: bool = False) -> str:
    """A text in which Markdown finds no code, link, picture, HTML or cell.

    Args:
        text: of any origin, on one line.
        strict: whether emphasis, formulas, bare addresses and HTML's names of characters stay plain text, too; its
            source is then harder to read.
    """
    marks = _ALL_OF_MARKDOWN if strict else _CODE_AND_LINKS
    text = plain(text).replace("&", "&amp;") if strict else plain(text)
    return marks.sub(lambda match: "\\" + match[0], text).replace("<", "&lt;")


_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_NOT_IN_PATHS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)  # and none of the joiners and marks that names in some scripts have


def path_text(path: str | os.PathLike[str]) -> str:
    r"""A path as text for files that others read: UTF-8, on one line. `path_of` gives the path back.

    Archives made on Windows or old Linux bring names that are not UTF-8. Each byte that is not, and each byte of a
    control character, is \xNN: the Latin-1 name caf<e9>.png is `caf\xe9.png`. A usual name stays as it is. (Where a
    name itself holds a backslash, an x and two hexadecimal digits, that backslash is `\x5c`.)
    """
    return _NOT_IN_PATHS.sub(_bytes_written_out, _ESCAPE.sub(r"\\x5cx\1", os.fspath(path)))


def path_of(text: str) -> str:
    """The path that `path_text` wrote as this text, as Python's file functions take it."""
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
    return re.search("[\ud800-\udfff]", text) is None


def _bytes_written_out(match: re.Match[str]) -> str:
    # A surrogate that stands for a byte is that byte; others are in no path, and are encoded as they are.
    errors = "surrogateescape" if "\udc80" <= match[0] <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode("utf-8", errors))
