"""Class names of a user's images by class folder, and the files that an option names; plain lists: class_lists.py."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from promptkd.data.class_lists import NAME_COLUMNS
from promptkd.data.reading import read_json, read_lines, read_table, read_yaml
from promptkd.home import expanded
from promptkd.texts import path_text, plain

FOLDER_COLUMNS = ("folder", "directory", "dir", "wnid", "id", "key", "code")
FILES = tuple(f"classnames.{suffix}" for suffix in ("json", "txt", "yaml", "yml", "csv"))  # in ROOT, the first counts


def named_path(root: Path, named: str, key: str) -> Path:
    """The file or folder in an option: a path from ROOT, or from the current folder.

    Args:
        root: DATASET.ROOT.
        named: the option's value.
        key: the option's name below DATASET, for the message.

    Raises:
        FileNotFoundError: it is in neither.
        ValueError: it is in both, or begins with a ~ that is no home folder.
    """
    file = expanded(named)
    places = [path for path in (root / file, Path(file).absolute()) if path.exists()]
    if len(places) > 1 and not places[0].samefile(places[1]):
        both = f"is both {places[0]} and {places[1]}: give the whole path of one"
        raise ValueError(plain(f"DATASET.{key} {named} {both}"))
    if places:
        return places[0]
    raise FileNotFoundError(plain(f"DATASET.{key} {named} is neither in {root} nor in {Path.cwd()}"))


def find_classnames(root: Path, named: str) -> Path | None:
    """The file of DATASET.CLASSNAMES where that is set, else the first of FILES in ROOT, else None."""
    if named:
        return named_path(root, named, "CLASSNAMES")
    return next((path for path in (root / name for name in FILES) if path.is_file()), None)


def name_classes(folders: Iterable[str], path: Path | None) -> list[str]:
    """The class name of each class folder: from a file of names, or the folder's name where there is no file.

    Raises:
        ValueError: a folder has no name or two, or a line of the file begins with no folder while folders lack a name.
    """
    folders = list(folders)
    if path is None:
        return folders
    by_text = {
        path_text(folder): folder for folder in folders
    }  # names that are not UTF-8 stand in a file as `shown` has them
    names: dict[str, str] = {}
    for text, name in _pairs(path, by_text):
        folder = by_text.get(text, text)
        if names.setdefault(folder, name) != name:
            raise ValueError(f"{path} names {text!r} both {names[folder]!r} and {name!r}; leave one")
    if absent := [path_text(folder) for folder in folders if folder not in names]:
        raise ValueError(
            f"{path} does not name {len(absent)} of {len(folders)} class folders: {', '.join(absent[:10])}; "
            "a line is the folder, a space or tab, and the name"
        )
    return [names[folder].strip() for folder in folders]


def _pairs(path: Path, folders: Iterable[str]) -> list[tuple[str, str]]:
    """The folders and names in a file: a JSON or YAML map, a CSV file of two columns, or lines of folder and name."""
    suffix = path.suffix.lower()
    if suffix in (".json", ".yaml", ".yml"):
        names = read_json(path) if suffix == ".json" else read_yaml(path)
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise ValueError(f'{path} is not a map of class folders to names, {{"folder": "name", ...}}')
        return list(names.items())
    if suffix in (".csv", ".tsv"):
        columns, rows = read_table(path)
        folder = next((column for column in FOLDER_COLUMNS if column in columns), None)
        name = next((column for column in NAME_COLUMNS if column in columns and column != folder), None)
        if folder is None or name is None:
            raise ValueError(f"{path} has no columns folder and name (it has {', '.join(columns)[:120]}); name them so")
        return [(row[folder].strip(), row[name].strip()) for row in rows]
    return [_folder_and_name(line, folders) for line in read_lines(path)]


def _folder_and_name(line: str, folders: Iterable[str]) -> tuple[str, str]:
    """Splits a line into folder and name: the longest folder at its start counts, as folders may have spaces."""
    starts = [folder for folder in folders if line == folder or line.startswith((f"{folder} ", f"{folder}\t"))]
    folder = max(starts, key=len, default=line)
    return folder, line[len(folder) :].strip() or folder
