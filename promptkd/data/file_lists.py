"""Files that list images with their classes and, optionally, their splits: DATASET.FILES, or metadata of an export."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptkd.bounded import shown
from promptkd.data.part_names import PARTS, plain_part
from promptkd.data.reading import read_json, read_json_lines, read_table
from promptkd.data.splits import Listing, read_split
from promptkd.home import shown_command
from promptkd.texts import clipped, path_of

COLUMNS = {  # what is read -> names of its column; the first that a file has counts
    "path": (
        *("path", "file_name", "filename", "file", "filepath", "file_path", "image", "image_path", "image_name"),
        *("img", "img_path"),
    ),
    "class": ("class", "label", "class_name", "classname", "category", "label_name", "target", "text"),
    "split": ("split", "set", "subset", "partition"),
}
METADATA = ("metadata.csv", "metadata.jsonl")  # of Hugging Face's image folders, beside the images


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
    if path.suffix.lower() == ".json" and isinstance(read_json(path), dict):
        return _read_labelled(path, root)
    columns, rows = read_rows(path)
    parts: dict[str, list[tuple[str, str]]] = {}
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        where = f"{path.name}, row {number}"
        file, name, split = (_word(row, columns[key], where) for key in COLUMNS)
        if absent := [key for key, word in (("path", file), ("class", name)) if not word]:
            found = clipped(", ".join(map(str, row)))
            raise ValueError(f"{where}: no {' and no '.join(absent)}; the columns are {found}")
        if split and not plain_part(split):
            raise ValueError(f"{where}: split {shown(split.lower())}; choose one of {', '.join(PARTS)}")
        file = _inside(file, root, where)
        if file in seen:
            raise ValueError(f"{where}: {file} is in row {seen[file]} already")
        seen[file] = number
        parts.setdefault(plain_part(split), []).append((file, name))
    if not parts:
        raise ValueError(f"{path} lists no images")
    if "" in parts and len(parts) > 1:
        raise ValueError(f"{path}: {len(parts[''])} rows have no split and others have one; say it for all or for none")
    return parts


def read_rows(path: Path) -> tuple[dict[str, str], Sequence[Mapping[str, Any]]]:
    """The rows of a CSV, JSON or JSON-lines file of images, and its names of the columns path, class and split.

    Raises:
        ValueError: the file is none of these, or has a column twice.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        raise ValueError(parquet_advice(path))
    if suffix in (".json", ".jsonl", ".ndjson"):
        rows: Sequence[Mapping[str, Any]] = _json_rows(
            path, read_json(path) if suffix == ".json" else read_json_lines(path)
        )
        columns = list(dict.fromkeys(key for row in rows for key in row))
    else:
        columns, rows = read_table(path)
    chosen = {key: next((name for name in names if name in columns), key) for key, names in COLUMNS.items()}
    if doubled := [name for name in chosen.values() if columns.count(name) > 1]:
        raise ValueError(f"{path.name} has {len(doubled)} columns twice: {', '.join(doubled)}; leave one of each")
    return chosen, rows


def parquet_advice(path: Path) -> str:
    """What to do about images in Parquet files, as one line."""
    return (
        f"{path} is a Parquet file, as Hugging Face exports images: {shown_command('data')} unpack "
        f"{path.parent} --out FOLDER writes them as FOLDER/<part>/<class>/ (needs: pip install pyarrow), then set the "
        "data set Folder with --root FOLDER"
    )


def find_metadata(folders: Mapping[str, Path]) -> dict[str, Path]:
    """The metadata files of an export in the folder of each part (part "": the root): part -> file."""
    files: dict[str, Path] = {}
    for part, folder in folders.items():
        for name in METADATA:
            if (folder / name).is_file():
                files.setdefault(part, folder / name)
    return files


def read_metadata(files: Mapping[str, Path], root: Path) -> dict[str, list[tuple[str, str]]]:
    """Reads the metadata of an export (columns file_name and label, or text), whose paths count from its own folder.

    Args:
        files: part -> metadata file, see `find_metadata`; of a file in the root the folder of an image, or the column
            split, tells the part.
        root: DATASET.ROOT.

    Returns:
        (path from the root, class) of each part.

    Raises:
        ValueError: see `read_files`.
    """
    result: dict[str, list[tuple[str, str]]] = {}
    for part, file in files.items():
        folder = file.parent
        parts = read_files(file, folder)
        if isinstance(parts, Listing):
            raise ValueError(f"{file} is a split file; name it with DATASET.FILES")
        for listed, items in parts.items():
            for path, name in items:
                place = part or listed or (plain_part(path.partition("/")[0]) if "/" in path else "")
                prefix = folder.relative_to(root).as_posix()
                result.setdefault(place, []).append((path if prefix == "." else f"{prefix}/{path}", name))
    if "" in result and len(result) > 1:
        raise ValueError(f"{next(iter(files.values()))}: {len(result[''])} images are in no part and others are in one")
    return result


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
    if "\\x" in path and os.path.exists(root / path_of(path)):  # a name that is not UTF-8, as predictions.csv has it
        path = path_of(path)
    path = path.replace("\\", "/")
    absolute = os.path.normpath(root / path)
    relative = Path(os.path.relpath(absolute, root)).as_posix()
    if relative.startswith("../") or os.path.isabs(relative):
        raise ValueError(f"{where}: {clipped(path)} is outside DATASET.ROOT {root}")
    return relative
