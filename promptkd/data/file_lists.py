"""DATASET.FILES: a file that lists images with their classes and, optionally, their splits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptkd.bounded import clipped, shown
from promptkd.data.reading import read_json, read_table
from promptkd.data.splits import Listing, read_split

PARTS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


def read_files(path: Path, root: Path) -> dict[str, list[tuple[str, str]]] | Listing:
    """Reads a DATASET.FILES file: a CSV or JSON file of path, class and split.

    Args:
        path: of the file.
        root: DATASET.ROOT, from which its paths count.

    Returns:
        (path from the root, class) of each part, the part "" where the file names no parts. For a JSON file in the
        form of `split_zhou_*.json`: its split, since it has labels.

    Raises:
        ValueError: a column or value is missing, a path leaves the root or comes twice, an unknown part.
    """
    rows: Sequence[Mapping[str, Any]]
    if path.suffix.lower() == ".json":
        content = read_json(path)
        if isinstance(content, dict):
            return _read_labelled(path, root)
        rows = _json_rows(path, content)
    else:
        columns, rows = read_table(path)
        if doubled := [key for key in ("path", "class", "split") if columns.count(key) > 1]:
            raise ValueError(f"{path.name} has {len(doubled)} columns twice: {', '.join(doubled)}; leave one of each")
    names = {alias: part for part, aliases in PARTS.items() for alias in aliases}
    parts: dict[str, list[tuple[str, str]]] = {}
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        where = f"{path.name}, row {number}"
        file, name, split = (_word(row, key, where) for key in ("path", "class", "split"))
        if absent := [key for key, word in (("path", file), ("class", name)) if not word]:
            raise ValueError(
                f"{where}: no {' and no '.join(absent)}; the columns are {clipped(', '.join(map(str, row)))}"
            )
        if split and split.lower() not in names:
            raise ValueError(f"{where}: split {shown(split.lower())}; choose one of {', '.join(PARTS)}")
        file = _inside(file, root, where)
        if file in seen:
            raise ValueError(f"{where}: {file} is in row {seen[file]} already")
        seen[file] = number
        parts.setdefault(names.get(split.lower(), ""), []).append((file, name))
    if not parts:
        raise ValueError(f"{path} lists no images")
    if "" in parts and len(parts) > 1:
        raise ValueError(f"{path}: {len(parts[''])} rows have no split and others have one; say it for all or for none")
    return parts


def _read_labelled(path: Path, root: Path) -> Listing:
    """Reads a file in the form of `split_zhou_*.json`, whose paths count from the root."""
    lists = [
        [(_inside(file, root, path.name), label, name) for file, label, name in items] for items in read_split(path)
    ]
    files = Counter(file for items in lists for file, _, _ in items)
    if doubled := [file for file, number in files.items() if number > 1]:
        raise ValueError(f"{path}: {len(doubled)} images are in it more than once: {', '.join(doubled[:10])}")
    return Listing(*lists)


def _json_rows(path: Path, content: Any) -> list[Mapping[str, Any]]:
    """The rows of a JSON list, each of which has to be an object."""
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError(f"{path} is neither a list of objects with path, class and split, nor lists train, val, test")
    return content


def _word(row: Mapping[str, Any], key: str, where: str) -> str:
    """A cell as a text; "" where the row does not have it."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise ValueError(f"{where}: {key} is {shown(value)}; it has to be one word or number")
    return "" if value is None else str(value).strip()


def _inside(path: str, root: Path, where: str) -> str:
    """A path of a list as a POSIX path from the root; raises ValueError where it leaves the root."""
    path = path.replace("\\", "/")
    absolute = os.path.normpath(root / path)
    relative = Path(os.path.relpath(absolute, root)).as_posix()
    if relative.startswith("../") or os.path.isabs(relative):
        raise ValueError(f"{where}: {clipped(path)} is outside DATASET.ROOT {root}")
    return relative
