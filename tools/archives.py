"""Archives unpacked without harm: no path leaves the folder, no links, no endless content; never over other files."""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

CHUNK = 1 << 20
MAX_RATIO, MAX_EXTRA = 20, 1 << 30  # an archive may unpack to MAX_RATIO times its size and MAX_EXTRA bytes more
MAX_MEMBERS = 3_000_000


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into a new folder.

    Raises:
        ValueError: neither, damaged, or with a path that leaves the folder, a link or device, or too much content.
    """
    limit = MAX_RATIO * archive.stat().st_size + MAX_EXTRA
    members = _zip_members if zipfile.is_zipfile(archive) else _tar_members
    try:
        for number, (name, content) in enumerate(members(archive)):
            if number >= MAX_MEMBERS:
                raise ValueError(f"{archive.name} has more than {MAX_MEMBERS:,} members")
            target = folder / _inside(name, archive)
            if content is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with content, target.open("xb") as file:  # x: a name that comes twice is refused
                while chunk := content.read(CHUNK):
                    limit -= len(chunk)  # counted, for the sizes that an archive declares may be lies
                    if limit < 0:
                        raise ValueError(f"{archive.name} unpacks to more than {MAX_RATIO} times its size")
                    file.write(chunk)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{archive.name} is damaged or not an archive ({reason})") from error
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise ValueError(f"{archive.name} has {Path(error.filename).name} twice") from error


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            mode = info.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(f"{archive.name} has a link or device: {info.filename}")
            yield info.filename, None if info.is_dir() else file.open(info)


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with tarfile.open(archive) as file:
        for info in file:
            if not (info.isfile() or info.isdir()):
                raise ValueError(f"{archive.name} has a link or device: {info.name}")
            yield info.name, None if info.isdir() else file.extractfile(info)


def _inside(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]:
        raise ValueError(f"{archive.name} has a path that leaves its folder: {name}")
    return path


def merge(source: Path, target: Path) -> int:
    """Move a tree into another; what is there already stays. Returns the number of files moved."""
    target.mkdir(parents=True, exist_ok=True)
    moved = 0
    for entry in sorted(source.iterdir()):
        there = target / entry.name
        if entry.is_dir() and there.is_dir():
            moved += merge(entry, there)
        elif not os.path.lexists(there):
            moved += sum(1 for path in entry.rglob("*") if path.is_file()) if entry.is_dir() else 1
            entry.rename(there)
    return moved
