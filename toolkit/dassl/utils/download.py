"""Downloads and archives."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from typing import IO

from tqdm import tqdm

from .tools import atomic_write, mkdir_if_missing

# (name, is a directory, is a plain file, opens it)
_Member = tuple[str, bool, bool, Callable[[], IO[bytes]]]


def download_url(url: str, dst: str) -> None:
    """Download a file, with progress where there is a terminal; nothing is left at `dst` if it breaks off.

    Raises:
        OSError: no connection, an HTTP error, or fewer bytes than were promised.
    """
    print(f'Downloading "{url}" to "{dst}"')
    with atomic_write(dst) as temporary, open(temporary, "wb") as file:
        try:
            with urllib.request.urlopen(url) as response:
                total = int(response.headers.get("Content-Length") or 0)
                quiet = not sys.stderr.isatty()
                with tqdm(total=total or None, unit="B", unit_scale=True, disable=quiet) as progress:
                    while block := response.read(1 << 16):
                        file.write(block)
                        progress.update(len(block))
        except OSError as error:
            raise OSError(f'cannot download "{url}": {error}; fetch it by hand and put it at "{dst}"') from error
        if total and file.tell() != total:
            raise OSError(f'"{url}" broke off after {file.tell()} of {total} bytes; try again')


def extract_archive(fpath: str, directory: str) -> None:
    """Extract a .zip, .tar, .tar.gz or .tgz; `directory` gets complete files or none.

    Raises:
        ValueError: another kind of file, or an archive with a link or with a path outside of the directory.
        OSError: a damaged archive.
    """
    mkdir_if_missing(directory)
    with tempfile.TemporaryDirectory(prefix=".extract-", dir=directory) as temporary:
        try:
            with contextlib.closing(_members(fpath)) as members:
                for member in members:
                    _extract_member(member, temporary, fpath)
        except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
            raise OSError(f'"{fpath}" is damaged ({error}); delete it and download it again') from error
        _merge(temporary, directory)


def _members(fpath: str) -> Iterator[_Member]:
    if fpath.endswith(".zip"):
        with zipfile.ZipFile(fpath) as archive:
            for info in archive.infolist():
                link = stat.S_ISLNK(info.external_attr >> 16)
                yield info.filename, info.is_dir(), not link, lambda info=info: archive.open(info)  # type: ignore[misc]
    elif fpath.endswith((".tar", ".tar.gz", ".tgz")):
        with tarfile.open(fpath) as tar:
            for entry in tar:
                # extractfile gives None for links and devices only, and those are refused before
                yield entry.name, entry.isdir(), entry.isfile(), lambda entry=entry: tar.extractfile(entry)  # type: ignore[misc]
    else:
        raise ValueError(f'cannot extract "{fpath}": not a .zip, .tar, .tar.gz or .tgz file')


def _extract_member(member: _Member, directory: str, fpath: str) -> None:
    name, is_dir, is_file, opener = member
    root = os.path.realpath(directory)
    target = os.path.realpath(os.path.join(root, name))
    if target != root and not target.startswith(root + os.sep):
        raise ValueError(f'"{fpath}" holds "{name}", which lies outside of its folder; nothing was extracted')
    if is_dir:
        mkdir_if_missing(target)
    elif is_file:
        mkdir_if_missing(os.path.dirname(target))
        with opener() as source, open(target, "wb") as file:
            shutil.copyfileobj(source, file)
    else:
        raise ValueError(f'"{fpath}" holds "{name}", a link or device; nothing was extracted')


def _merge(source: str, target: str) -> None:
    for name in os.listdir(source):
        old, new = os.path.join(source, name), os.path.join(target, name)
        if os.path.isdir(old) and os.path.isdir(new):
            _merge(old, new)
        else:
            os.replace(old, new)
