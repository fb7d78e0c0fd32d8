"""Downloads that survive cut and stalled connections."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

from tqdm import tqdm

from promptkd.data.download.archives import merge, put, unpack
from promptkd.data.download.sources import Source
from promptkd.data.reading import read_json, read_mat, read_numbered_names, read_wnids
from promptkd.data.splits import read_split

CHUNK = 1 << 20
TIMEOUT = 30.0  # seconds without a byte before a connection counts as stalled
ATTEMPTS = 5  # in a row that bring no byte
READERS: dict[str, Callable[[Path], object]] = {  # what a file of such a name has to pass before it is put into place
    "split_zhou_*.json": read_split,
    "cat_to_name.json": read_numbered_names,
    "*.json": read_json,
    "imagelabels.mat": lambda path: read_mat(path, "labels"),
    "classnames.txt": read_wnids,
}
PAUSE = 1.0  # seconds before the second attempt; doubled before each further one


def fetch(source: Source, root: Path, keep: bool = False) -> int:
    """Download a source and put it into place; files that are there already stay as they are.

    Returns:
        the number of files that were added.

    Raises:
        OSError: the download failed, or the disk is full; what was downloaded stays, to go on from.
        ValueError: the file is not what was expected, or an archive that is damaged or hostile; it is removed.
    """
    store = root / ".downloads"
    store.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^\w.-]", "_", source.url.rpartition("/")[2]) or "download"
    path = store / f"{hashlib.sha256(source.url.encode()).hexdigest()[:8]}_{name}"
    if not path.exists():
        _download_drive(source.url, path) if source.url.startswith("gdrive:") else download(source.url, path)
    try:
        check(path, source)
        added = place(path, source, root)
    except ValueError:
        path.unlink()
        raise
    if not keep:
        path.unlink()
    return added


def place(path: Path, source: Source, root: Path) -> int:
    """Unpack an archive into its folder, or move a single file to its name; returns the number of files added.

    Raises:
        ValueError: an archive that is damaged or hostile, or a file that does not hold what its name says.
    """
    target = root / source.to
    if source.to != "." and target.suffix:
        if target.exists():
            return 0
        for pattern, read in READERS.items():
            if fnmatch(target.name, pattern):
                read(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        return put(path, target)
    # Where the target is a link to another disk, that one has the room.
    with tempfile.TemporaryDirectory(dir=target if target.is_dir() else root, prefix=".unpack-") as temporary:
        unpacked = Path(temporary) / "content"
        unpack(path, unpacked)
        if source.inner:
            inner = unpacked / source.inner
            if not inner.is_file():
                raise ValueError(f"{path.name} holds no {source.inner}")
            unpacked = Path(temporary) / "inner"
            unpack(inner, unpacked)
        return merge(unpacked, target)


def check(path: Path, source: Source) -> None:
    """Compare checksums where they are known, and refuse nothing or a web page in place of a file.

    Raises:
        ValueError: another file than expected.
    """
    for kind, expected in (("md5", source.md5), ("sha256", source.sha256)):
        if expected and (found := _hash(path, kind)) != expected:
            raise ValueError(f"{source.url} is not the expected file: {kind} {found}, not {expected}")
    with path.open("rb") as file:
        start = file.read(256).lstrip().lower()
    if not start:
        raise ValueError(f"{source.url} is empty")
    if start.startswith((b"<!doctype html", b"<html")):
        raise ValueError(f"{source.url} is a web page and not the file (a sign-in, a quota or a removed file)")


def _hash(path: Path, kind: str) -> str:
    sha = hashlib.new(kind)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha.update(chunk)
    return sha.hexdigest()


def _download_drive(url: str, path: Path) -> None:
    try:
        import gdown
    except ImportError as error:
        raise OSError("downloads from Google Drive need gdown: pip install gdown") from error
    part = path.with_name(f"{path.name}.part")
    try:
        done = gdown.download(id=url.removeprefix("gdrive:"), output=str(part), resume=True)
    except Exception as error:  # gdown has exceptions of its own beside those of requests
        raise OSError(f"Google Drive: {str(error).strip().splitlines()[0]}") from error
    if done is None:
        raise OSError(f"Google Drive gave no file for {url}")
    os.replace(part, path)


def download(url: str, path: Path) -> None:
    """Download over HTTP to `path`, which exists only when all of it is there.

    What came is kept in `<path>.part`. A cut or stalled connection goes on from there, where the server can, in this
    call and in a later one; a file that changed on the server in between starts anew.

    Raises:
        OSError: the server refuses, cannot be reached, or brings no byte in ATTEMPTS attempts; or the disk is full.
    """
    part, state = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.state")
    failures, reason = 0, ""
    while failures < ATTEMPTS:
        if failures:
            time.sleep(PAUSE * 2 ** (failures - 1))
        before = part.stat().st_size if part.exists() else 0
        try:
            if _attempt(url, part, state):
                os.replace(part, path)
                state.unlink(missing_ok=True)
                return
            reason = "the connection was cut"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise OSError(f"{url}: the server says {error.code} {error.reason}") from error
            reason = f"the server says {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(f"{part.parent}: {error.strerror}; {part.name} is kept, to go on from") from error
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        grown = (part.stat().st_size if part.exists() else 0) > before
        failures = 1 if grown else failures + 1
    raise OSError(f"{url}: no byte in {ATTEMPTS} attempts ({reason}); run it again to go on")


def _attempt(url: str, part: Path, state: Path) -> bool:
    """One connection; True when the file is whole."""
    have = part.stat().st_size if part.exists() else 0
    known = state.read_text(encoding="utf-8") if state.exists() else ""
    headers = {"User-Agent": "promptkd-data/1"}
    if have and known:
        headers |= {"Range": f"bytes={have}-", "If-Range": known}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # there is nothing after what we have: it is whole, or it is not that file
            total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
            if total == str(have):
                return True
            part.unlink(missing_ok=True)
            return False
        raise
    with response:
        goes_on = response.status == 206 and f"bytes {have}-" in (response.headers.get("Content-Range") or "")
        have = have if goes_on else 0
        # A weak tag does not promise the same bytes.
        tag = response.headers.get("ETag") or ""
        state.write_text(tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified") or "")
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        if total and total - have > (free := shutil.disk_usage(part.parent).free):
            raise OSError(errno.ENOSPC, f"{total - have:,} bytes to come and {free:,} free")
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None)
        with part.open("ab" if goes_on else "wb") as file, bar:
            while chunk := response.read1(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    return total is None or part.stat().st_size == total
