"""A copy of somebody's repository to run: what is written there, and what is mapped, changes nothing of theirs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from promptkd.host.repository import walk

LARGEST_COPIED = 2**23  # bytes; a larger file is linked
_TEXTS = (".py", ".yaml", ".yml", ".json", ".txt", ".sh")


@dataclass
class Copy:
    """The copy, and how it differs from the repository."""

    folder: Path
    mapped: list[str] = field(default_factory=list)  # "file:line" in which a path of its authors was replaced
    left: list[str] = field(default_factory=list)  # folders that were left out, as a copy of Dassl


def copy_of(base: Path, scratch: Path, paths: Mapping[str, str]) -> Copy:
    """Copies a repository's files into a new folder under `scratch`.

    Args:
        base: the folder of train.py.
        scratch: an empty folder.
        paths: absolute path -> what takes its place in files of code and configuration.
    """
    copy = Copy(scratch / base.name)
    for path in walk(base):
        target = copy.folder / path.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.stat().st_size > LARGEST_COPIED:
            target.symlink_to(path)
        else:
            shutil.copyfile(path, target)
            if paths and path.suffix in _TEXTS:
                copy.mapped += _map(target, path.relative_to(base).as_posix(), paths)
    copy.folder.mkdir(exist_ok=True)
    copy.left = sorted(p.name for p in base.iterdir() if p.is_dir() and p.name.lower().startswith("dassl"))
    return copy


def _map(file: Path, name: str, paths: Mapping[str, str]) -> list[str]:
    """Replaces paths in a file of text; returns the places."""
    pattern = re.compile("|".join(f"{re.escape(old)}(?![\\w.-])" for old in sorted(paths, key=len, reverse=True)))
    lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines(keepends=True)
    changed = [pattern.sub(lambda match: paths[match[0]], line) for line in lines]
    places = [f"{name}:{at}" for at, (old, new) in enumerate(zip(lines, changed, strict=True), 1) if old != new]
    if places:
        file.write_text("".join(changed), encoding="utf-8", errors="surrogateescape")
    return places
