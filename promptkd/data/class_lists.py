"""Lists of class names in the forms of other programs: text, YAML, JSON and CSV, as detectors and label tools write."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from promptkd.data.checks import without_invisible
from promptkd.data.reading import read_json, read_lines, read_table, read_yaml

log = logging.getLogger(__name__)

TAKEN = (
    "taken are a text file with a name a line; a CSV file with a column name or class; a JSON or YAML file with a list "
    'of names, or names by number {"0": "cat", ...}, both also below "names", or COCO\'s "categories"'
)
LIST_KEYS = ("names", "classes", "classnames", "class_names", "labels", "categories", "id2label", "label2id")
NAME_COLUMNS = ("name", "classname", "class_name", "class name", "display_name", "class", "label", "category", "names")
_NUMBER_COLUMNS = ("id", "index", "idx", "number", "class_id", "class_index", "label_id", "label_index", "no", "#", "")
_HEADINGS = ("classname", "class_name", "class name", "classnames", "class_names", "class names")
_MARKUP = (".xml", ".pbtxt", ".prototxt", ".html", ".htm", ".toml", ".ini", ".parquet", ".pkl", ".npy", ".xlsx", ".mat")
_NUMBERED = r"(?P<number>\d+)(\s*[.,;:)]\s*|\s+)(?P<name>\D.*)"  # "0 cat", "1. dog"
_ADDITIONS = (  # of lines: what it is, its form; left out where all lines have it
    ("dashes", r"[-*\u2022]\s+(?P<name>\S.*)"),
    ("commas", r"(?P<name>.*[^,;\s])\s*[,;]"),
    ("quotes", r"([\"'])(?P<name>.*\S.*)\1,?"),
    ("numbers", _NUMBERED),
    # "cat,0" and "cat 0"; in "stage 1", "stage 2" the number tells the names apart, and stays
    ("numbers", r"(?P<name>.*[^,;:=\s])\s*([,;:=]\s*|\s)(?P<number>\d+)"),
)


def read_class_list(path: Path) -> list[str]:
    """Reads class names, in the order of their numbers where they have some.

    A text file has a name a line. Additions of other programs are removed where all lines have them, with a message:
    dashes, commas at the ends, quotes, wnids ("n01440764 tench"), numbers from 0 or 1 ("0 cat"); and so are comments,
    lines that begin with "# " or "// ". The year in "2012 Audi TTS" stays. JSON, YAML and CSV: see TAKEN.

    Raises:
        ValueError: the file is no list of names; the message says which forms are taken.
    """
    suffix = path.suffix.lower()
    if suffix in _MARKUP:
        raise ValueError(f"{path} is no list of class names; {TAKEN}")
    if suffix == ".json":
        return _names_of(read_json(path), path)
    if suffix in (".yaml", ".yml"):
        return _names_of(read_yaml(path), path)
    lines = [_visible(line) for line in read_lines(path)]
    lines = [line for line in lines if line]
    first = lines[0] if lines else ""
    if first.startswith(("{", "[")):
        return _names_of(read_json(path), path)
    if _is_key(first) or first == "---":
        return _names_of(read_yaml(path), path)
    if suffix in (".csv", ".tsv") or _is_heading(first):
        return _names_of_table(path, lines)
    return _names_of_lines(path, lines)


def _names_of(content: Any, path: Path) -> list[str]:
    """The names in the content of a JSON or YAML file: a list, a map by number or to numbers, or either below a key."""
    if isinstance(content, Mapping):
        for key in LIST_KEYS:
            if isinstance(content.get(key), list | Mapping):
                return _names_of(content[key], path)
        return _names_by_number(content, path)
    if not isinstance(content, list) or not content:
        raise ValueError(f"{path} is not a list of class names; {TAKEN}")
    if all(isinstance(entry, Mapping) for entry in content):  # COCO's categories
        return _names_of_rows(content, path)
    if not all(isinstance(name, str) for name in content):
        raise ValueError(f"{path} is not a list of class names: it holds other values, too; {TAKEN}")
    return [_visible(name) for name in content]


def _names_by_number(content: Mapping[Any, Any], path: Path) -> list[str]:
    """The names of {"0": "cat", ...} or {"cat": 0, ...}, in the order of the numbers."""
    pairs = list(content.items())
    if pairs and all(_is_number(number) and isinstance(name, str) for number, name in pairs):
        numbers = {int(number): name for number, name in pairs}
    elif pairs and all(isinstance(name, str) and _is_number(number) for name, number in pairs):
        numbers = {int(number): name for name, number in pairs}
    else:
        raise ValueError(f"{path} is not a list of class names; {TAKEN}")
    if len(numbers) < len(pairs):
        raise ValueError(f"{path} has two classes of one number; give each its own")
    return [_visible(numbers[number]) for number in sorted(numbers)]


def _names_of_rows(rows: Sequence[Mapping[Any, Any]], path: Path) -> list[str]:
    """The names of rows with a name and, maybe, a number, in the order of the numbers."""
    key = next((key for key in NAME_COLUMNS if all(isinstance(row.get(key), str) for row in rows)), None)
    if key is None:
        columns = ", ".join(sorted({str(column) for row in rows for column in row})[:8])
        raise ValueError(f"{path} has no column name or class in each row (it has {columns}); {TAKEN}")
    number = next((one for one in _NUMBER_COLUMNS if all(_is_number(row.get(one)) for row in rows)), None)
    if number is None:
        return [_visible(row[key]) for row in rows]
    if len({int(row[number]) for row in rows}) < len(rows):
        raise ValueError(f"{path} has two classes of one {number or 'number'}; give each its own")
    return [_visible(row[key]) for row in sorted(rows, key=lambda row: int(row[number]))]


def _names_of_table(path: Path, lines: Sequence[str]) -> list[str]:
    """The names of a CSV file: of its column of names, or all its lines where it has one column."""
    if not any(re.search("[,;\t]", line.rstrip(",;\t")) for line in lines):
        headed = lines[0].lower().strip("\"',; ") in NAME_COLUMNS if lines else False
        return _names_of_lines(path, lines[1:] if headed else lines)
    if all(re.fullmatch(_NUMBERED, line) for line in lines):
        return _names_of_lines(path, lines)
    columns, rows = read_table(path)
    if not set(columns) & set(NAME_COLUMNS):
        raise ValueError(f"{path} has no column name or class (its columns are {', '.join(columns)[:120]}); {TAKEN}")
    return _names_of_rows(rows, path)


def _names_of_lines(path: Path, lines: Sequence[str]) -> list[str]:
    """The names of a text's lines, without what other programs add to all of them."""
    lines = _without_comments(path, lines)
    if lines and lines[0].lower() in _HEADINGS:
        log.info("%s: the heading %r is left out", path.name, lines[0])
        lines = lines[1:]
    if len(lines) == 1 and re.search("[,;\t]", lines[0].rstrip(",;\t")):
        raise ValueError(f"{path} has one line, {lines[0][:60]!r}; put each class name on a line of its own")
    if strange := [line for line in lines if re.search(r"^[{}<\[\]]|[{}]$|:$", line)]:
        raise ValueError(f"{path} has a line that is no class name, {strange[0][:60]!r}; {TAKEN}")
    wnids = [re.fullmatch(r"n\d{8}\s*[\s,;:]\s*(\S.*)", line) for line in lines]
    if all(wnids):
        return [match[1] for match in wnids if match]
    for what, pattern in _ADDITIONS:
        matches = [re.fullmatch(pattern, line) for line in lines]
        if what == "commas" and len(lines) > 1 and matches[-1] is None:
            matches[-1] = re.fullmatch(r"(?P<name>.*)", lines[-1])  # the last line of a list often has none
        found = [match for match in matches if match]
        if not lines or len(found) < len(lines):
            continue
        if what == "numbers" and not _consecutive(match["number"] for match in found):
            continue
        if len({match["name"] for match in found}) < len(set(lines)):
            continue  # what would be left out tells them apart
        if what == "numbers":
            found.sort(key=lambda match: int(match["number"]))
        lines = [match["name"].strip() for match in found]
        log.info("%s: %s around the class names are left out: %s, ...", path.name, what, ", ".join(lines[:3]))
    return list(lines)


def _without_comments(path: Path, lines: Sequence[str]) -> list[str]:
    """Lines without those that begin with "# " or "// ", and without what follows " # " or " // "."""
    bare = [re.sub(r"(^|\s+)(#|//)(\s.*)?$", "", line) for line in lines]
    if bare != list(lines):
        number = sum(one != line for one, line in zip(bare, lines, strict=True))
        log.info("%s: comments (#) are left out of %d lines", path.name, number)
    return [line for line in bare if line]


def _is_key(line: str) -> bool:
    """Whether a line is one of YAML's: "names:", "nc: 3", "names: [cat, dog]"."""
    return re.match(rf"({'|'.join(LIST_KEYS)}|nc|train|val|path)\s*:(\s|$)", line) is not None


def _is_heading(line: str) -> bool:
    """Whether a line is a heading of a table with a column of names, of two columns or more."""
    cells = [cell.strip("\"' ").lower() for cell in re.split("[,;\t]", line)]
    known = set(NAME_COLUMNS) | set(_NUMBER_COLUMNS)
    return len(cells) > 1 and set(cells) <= known and bool(set(cells) & set(NAME_COLUMNS))


def _is_number(value: Any) -> bool:
    """Whether a value of JSON, YAML or CSV is a number from 0 on."""
    return (isinstance(value, int) and not isinstance(value, bool) and value >= 0) or (
        isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value.strip()) is not None
    )


def _visible(name: str) -> str:
    """A name without spaces and invisible characters (zero-width space, byte order mark) at its ends."""
    return without_invisible(name).strip()


def _consecutive(numbers: Iterable[str]) -> bool:
    """Whether these are the numbers from 0 or 1 on, each once, in any order."""
    ordered = sorted(map(int, numbers))
    return ordered[0] in (0, 1) and ordered == list(range(ordered[0], ordered[0] + len(ordered)))
