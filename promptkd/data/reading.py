"""Readers of annotation files (text, JSON, CSV, MATLAB), each of which names a damaged file in one line."""

from __future__ import annotations

import csv
import io
import re
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from promptkd import bounded

_COMPRESSED = 15  # MATLAB's number for a packed part
_UNPACKED = 2**26  # bytes that a small MATLAB file may unpack to
MAX_YAML = 1 << 24
WNID = r"n\d{8}"  # of an ImageNet class


def read_text(path: Path) -> str:
    """Reads a UTF-8 text file, with or without a byte order mark.

    Raises:
        ValueError: the file is not UTF-8, or a web page that was stored in its place.
    """
    text = bounded.read_text(path, bounded.LIST)
    if text.lstrip()[:14].lower().startswith(("<!doctype html", "<html")):
        raise ValueError(f"{path} is a web page (a sign-in, a quota, a removed file); delete it and get the file again")
    return text


def read_lines(path: Path) -> list[str]:
    """Reads the lines of a text file, without the spaces around them and without empty lines."""
    return [stripped for line in read_text(path).splitlines() if (stripped := line.strip())]


def read_fields(path: Path, least: int, number: int | None = None, most: int | None = None) -> list[list[str]]:
    """Reads the words of each line of a text file, without comments (lines that begin with "#").

    Args:
        path: of the file.
        least: number of words that a line must have.
        number: index of the word that has to be a number, if any.
        most: number of words at most; the last one then keeps its spaces.

    Raises:
        ValueError: a line has too few words, or no number in that place.
    """
    fields = []
    for line in read_lines(path):
        if line.startswith("#"):
            continue
        words = line.split(maxsplit=-1 if most is None else most - 1)
        if len(words) < least or (number is not None and not words[number].isdecimal()):
            wanted = f"{least} words or more" + ("" if number is None else f", the {number + 1}. a number")
            raise ValueError(f"{path}: a line has to be {wanted}, not {line[:80]!r}; get the file again")
        fields.append(words)
    return fields


def label_of(labels: Mapping[str, int], name: str, path: Path) -> int:
    """The label of a class in a list of images.

    Args:
        labels: class name -> label.
        name: of the class.
        path: of the list, for the message.

    Raises:
        ValueError: the class is not among those of the data set.
    """
    if name not in labels:
        raise ValueError(f"{path}: {name[:80]!r} is none of the {len(labels)} classes; get it and the class list again")
    return labels[name]


def read_json(path: Path) -> Any:
    """Reads a JSON file, with or without a byte order mark.

    Raises:
        ValueError: the file is not JSON, or an object has a key twice, of which one would be lost.
    """
    try:
        return bounded.parse_json(read_text(path), bounded.named(path), bounded.LIST_VALUES)
    except ValueError as error:
        if " is not JSON (" in str(error):
            raise ValueError(f"{error}; mend it, or delete it and get it again") from error
        raise


def read_json_lines(path: Path) -> list[Any]:
    """Reads a file with a JSON value on each line, as `metadata.jsonl`.

    Raises:
        ValueError: a line is not JSON.
    """
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [bounded.parse_json(line, f"{bounded.named(path)}, line {number}") for number, line in lines if line.strip()]


class _TextLoader(yaml.BaseLoader):
    """YAML whose scalars all stay texts, "no" and "1e3" too; a key that is given twice is refused."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            raise ValueError("a key is given twice in one map")
        return mapping


def read_yaml(path: Path) -> Any:
    """Reads a YAML file; all its values are texts, as they are written.

    Raises:
        ValueError: the file is not YAML, has a key twice, or is too large.
    """
    return bounded.read_yaml(path, loader=_TextLoader, most=MAX_YAML)


def read_mat(path: Path, field: str, columns: tuple[str, ...] = ()) -> np.ndarray:
    """Reads a variable of a MATLAB file as a vector.

    Args:
        path: of the file.
        field: name of the variable.
        columns: fields that it must have where it is a vector of structs.

    Raises:
        ValueError: the file is no MATLAB file, or has no such variable or fields.
    """
    from scipy.io import loadmat  # slow to import, and most data sets have no such file

    _check_unpacked(path)
    try:
        values = loadmat(path, squeeze_me=True)[field].ravel()
    except OSError:
        raise
    except KeyError:
        raise ValueError(f"{path} has no variable {field}; it is another file, get it again") from None
    except Exception as error:  # scipy raises many kinds: MatReadError, ValueError, zlib.error, ...
        reason = str(error).split("\n")[0]
        raise ValueError(f"{path} is no MATLAB file that can be read ({reason}); get it again") from error
    if absent := [column for column in columns if column not in (values.dtype.names or ())]:
        raise ValueError(f"{path}: {field} has no {' and no '.join(absent)}; it is another file, get it again")
    return values


def _check_unpacked(path: Path) -> None:
    """Raises ValueError where the packed parts of a MATLAB file unpack to far more than the file holds."""
    content = bounded.read_bytes(path, bounded.LIST)
    order = "<" if content[126:128] == b"IM" else ">"
    left, position = 4 * len(content) + _UNPACKED, 128
    while position + 8 <= len(content):
        kind, length = struct.unpack(f"{order}II", content[position : position + 8])
        if kind == _COMPRESSED:
            unpacker, packed = zlib.decompressobj(), content[position + 8 : position + 8 + length]
            try:
                while packed and left >= 0:
                    left -= len(unpacker.decompress(packed, 2**20))
                    packed = unpacker.unconsumed_tail
            except zlib.error as error:
                raise ValueError(f"{path} is no MATLAB file that can be read ({error}); get it again") from error
        if left < 0:
            raise ValueError(f"{path} unpacks to far more than a list of images has; get it again")
        position += 8 + length


def read_table(path: Path, delimiters: str = ",;\t") -> tuple[list[str], list[dict[str, str]]]:
    """Reads a CSV file, whose first line names the columns.

    Args:
        path: of the file.
        delimiters: characters of which the one that is most frequent in the first line counts.

    Returns:
        The names of the columns in lower case, and the rows.

    Raises:
        ValueError: the file is not CSV, or a row has more or fewer cells than there are columns.
    """
    text = read_text(path)
    header = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(delimiters, key=header.count))
    try:
        lines = [line for line in reader if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    columns = [column.strip().lower() for column in lines[0]] if lines else []
    rows = []
    for number, line in enumerate(lines[1:], start=1):
        while len(line) > len(columns) and not line[-1].strip():  # spreadsheets write cells that hold nothing
            line.pop()
        if len(line) != len(columns):
            raise ValueError(
                f"{path.name}, row {number}: {len(line)} cells and {len(columns)} columns ({', '.join(columns)}); "
                "quote a value that holds the delimiter"
            )
        rows.append(dict(zip(columns, line, strict=True)))
    return columns, rows


def read_wnids(path: Path) -> dict[str, str]:
    """Reads a `classnames.txt`, lines of "n01440764 tench", as wnid -> class name.

    Raises:
        ValueError: a line is no wnid with a name, a wnid has two names, or the file is empty.
    """
    names: dict[str, str] = {}
    for line in read_lines(path):
        wnid, _, name = line.partition(" ")
        if not re.fullmatch(WNID, wnid) or not name.strip():
            raise ValueError(f"{path}: a line is not a wnid and a name: {line[:80]!r}")
        if names.setdefault(wnid, name.strip()) != name.strip():
            raise ValueError(f"{path} names {wnid} both {names[wnid]!r} and {name.strip()!r}; leave one")
    if not names:
        raise ValueError(f"{path} has no line of a wnid and a name; get it again")
    return names


def read_numbered_names(path: Path) -> dict[int, str]:
    """Reads a `cat_to_name.json`, {"1": "pink primrose", ...}, as label (from 0) -> class name.

    Raises:
        ValueError: the file is no such map.
    """
    content = read_json(path)
    items = content.items() if isinstance(content, dict) else ()
    if not items or not all(number.isdecimal() and isinstance(name, str) for number, name in items):
        raise ValueError(f'{path} is not {{"1": "pink primrose", ...}}; get it again')
    return {int(number) - 1: name for number, name in items}
