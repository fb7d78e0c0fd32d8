"""Unpacking of archives that are not trusted: no path leaves the folder, no links, no endless content."""

from __future__ import annotations

import errno
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from promptkd.files import replacing

CHUNK = 1 << 20
MAX_RATIO, MAX_EXTRA = 20, 1 << 30  # an archive may unpack to MAX_RATIO times its size and MAX_EXTRA bytes more
MAX_MEMBERS = 3_000_000
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError)


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a zip or tar archive into a new folder.

    Raises:
        ValueError: the file is neither, is damaged, or has a path that leaves the folder, a link or device, or too much
            content.
        OSError: the disk is full, or the folder cannot be written to.
    """
    limit, name = _limit(archive), ""
    members = _zip_members if zipfile.is_zipfile(archive) else _tar_members
    try:
        for number, (name, content) in enumerate(members(archive)):
            if number >= MAX_MEMBERS:
                raise ValueError(f"{archive.name} has more than {MAX_MEMBERS:,} members")
            target = folder / _inside(name, archive)
            if content is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            if target == folder:
                raise ValueError(f"{archive.name} has a file without a name")
            target.parent.mkdir(parents=True, exist_ok=True)
            with content, target.open("xb") as file:  # x: a name that comes twice is refused
                while chunk := content.read(CHUNK):
                    limit -= len(chunk)  # counted, for the sizes that an archive declares may be lies
                    if limit < 0:
                        raise ValueError(f"{archive.name} unpacks to more than {MAX_RATIO} times its size")
                    file.write(chunk)
    except DAMAGE as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{archive.name} is damaged or not an archive ({reason})") from error
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise ValueError(f"{archive.name} has {Path(error.filename).name} twice") from error
    except OSError as error:
        if error.errno is None:  # of gzip or bz2; errors of the disk have a number
            raise ValueError(f"{archive.name} is damaged or not an archive ({error})") from error
        if error.errno not in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
            raise
        raise ValueError(f"{archive.name} has a name that this disk cannot hold: {name[:60]!r} ...") from error


def _limit(archive: Path) -> int:
    """The number of bytes that an archive may unpack to."""
    return MAX_RATIO * archive.stat().st_size + MAX_EXTRA


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yields the path and content of each member; None for a folder."""
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            mode = info.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(f"{archive.name} has a link or device: {info.filename}")
            yield info.filename, None if info.filename.endswith("/") else file.open(info)


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yields the path and content of each member; None for a folder."""
    with tarfile.open(archive) as file:
        for info in file:
            if not (info.isfile() or info.isdir()):
                raise ValueError(f"{archive.name} has a link or device: {info.name}")
            yield info.name, None if info.isdir() else file.extractfile(info)
        # The members end before the file does: reading the rest checks the checksum at the end of a compressed file.
        left = _limit(archive)
        while rest := len(file.fileobj.read(CHUNK)):
            left -= rest
            if left < 0:
                raise ValueError(f"{archive.name} unpacks to more than {MAX_RATIO} times its size")


def _inside(name: str, archive: Path) -> PurePosixPath:
    """A member's path; raises ValueError where it leaves the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]:
        raise ValueError(f"{archive.name} has a path that leaves its folder: {name}")
    return path


def merge(source: Path, target: Path) -> int:
    """Moves a tree into another, whose files stay as they are; returns the number of files moved."""
    target.mkdir(parents=True, exist_ok=True)
    moved = 0
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            moved += merge(entry, place)
        elif not os.path.lexists(place):
            moved += _move(entry, place)
    return moved


def _move(entry: Path, place: Path) -> int:
    """Moves a file or folder to a free place, also onto another disk; returns the number of files."""
    moved = sum(1 for path in entry.rglob("*") if path.is_file()) if entry.is_dir() else 1
    try:
        entry.rename(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return merge(entry, place) if entry.is_dir() else put(entry, place)
    return moved


def put(file: Path, place: Path) -> int:
    """Copies a file to a free place, whole or not at all; returns 1, the number of files."""
    with replacing(place) as partial:
        shutil.copyfile(file, partial)
    return 1
