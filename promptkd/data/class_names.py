"""Class names of a user's images: a file that maps class folders to names, or a plain list of names."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from promptkd.data.checks import without_invisible
from promptkd.data.reading import read_json, read_lines
from promptkd.home import expanded

log = logging.getLogger(__name__)

NUMBERED = r"(?P<number>\d+)(\s*[.,;:)]\s*|\s+)(?P<name>\D.*)"  # "0 cat", "1. dog"


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
        raise ValueError(f"DATASET.{key} {named} is both {places[0]} and {places[1]}: give the whole path of one")
    if places:
        return places[0]
    raise FileNotFoundError(f"DATASET.{key} {named} is neither in {root} nor in {Path.cwd()}")


def find_classnames(root: Path, named: str) -> Path | None:
    """The file of DATASET.CLASSNAMES where that is set, else classnames.json or classnames.txt in ROOT, else None."""
    if named:
        return named_path(root, named, "CLASSNAMES")
    return next((path for path in (root / "classnames.json", root / "classnames.txt") if path.is_file()), None)


def name_classes(folders: Iterable[str], path: Path | None) -> list[str]:
    """The class name of each class folder: from a file of names, or the folder's name where there is no file.

    Raises:
        ValueError: a folder has no name or two, or a line of the file begins with no folder while folders lack a name.
    """
    folders = list(folders)
    if path is None:
        return folders
    names: dict[str, str] = {}
    if path.suffix.lower() == ".json":
        names = read_json(path)
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise ValueError(f'{path} is not a map of class folders to names, {{"folder": "name", ...}}')
    else:
        for folder, name in (_folder_and_name(line, folders) for line in read_lines(path)):
            if names.setdefault(folder, name) != name:
                raise ValueError(f"{path} names {folder!r} both {names[folder]!r} and {name!r}; leave one")
    if absent := [folder for folder in folders if folder not in names]:
        raise ValueError(
            f"{path} does not name {len(absent)} of {len(folders)} class folders: {', '.join(absent[:10])}; "
            "a line is the folder, a space or tab, and the name"
        )
    return [names[folder].strip() for folder in folders]


def _folder_and_name(line: str, folders: Iterable[str]) -> tuple[str, str]:
    """Splits a line into folder and name: the longest folder at its start counts, as folders may have spaces."""
    starts = [folder for folder in folders if line == folder or line.startswith((f"{folder} ", f"{folder}\t"))]
    folder = max(starts, key=len, default=line)
    return folder, line[len(folder) :].strip() or folder


def read_class_list(path: Path) -> list[str]:
    """Reads class names: one a line, or a JSON list.

    Additions of other programs are removed where all lines have them, with a message: quotes, wnids ("n01440764
    tench"), numbers from 0 or 1 ("0 cat"). The year in a name such as "2012 Audi TTS" stays.

    Raises:
        ValueError: the file is no list of names.
    """
    if path.suffix.lower() == ".json":
        names = read_json(path)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f'{path} is not a list of class names, ["cat", "dog", ...]')
        return [_visible(name) for name in names]
    lines = [_visible(line) for line in read_lines(path)]
    if len(lines) == 1 and re.search("[,;\t]", lines[0]):
        raise ValueError(f"{path} has one line, {lines[0][:60]!r}; put each class name on a line of its own")
    if all(re.match(r"n\d{8}\s+\S", line) for line in lines):
        return [line.split(maxsplit=1)[1] for line in lines]
    for what, pattern in (("quotes", r"([\"'])(?P<name>.*\S.*)\1,?"), ("numbers", NUMBERED)):
        matches = [match for line in lines if (match := re.fullmatch(pattern, line))]
        if not lines or len(matches) < len(lines):
            continue
        if what == "numbers" and not _consecutive(match["number"] for match in matches):
            continue
        lines = [match["name"].strip() for match in matches]
        log.info("%s: %s around the class names are left out: %s, ...", path.name, what, ", ".join(lines[:3]))
    return lines


def _visible(name: str) -> str:
    """A name without spaces and invisible characters (zero-width space, byte order mark) at its ends."""
    return without_invisible(name).strip()


def _consecutive(numbers: Iterable[str]) -> bool:
    """Whether these are the numbers from 0 or 1 on, each once, in any order."""
    ordered = sorted(map(int, numbers))
    return ordered[0] in (0, 1) and ordered == list(range(ordered[0], ordered[0] + len(ordered)))
