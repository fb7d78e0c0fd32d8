"""Downloads that go on after cut and stalled connections."""

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
from promptkd.files import content_digest

CHUNK = 1 << 20
TIMEOUT = 30.0  # seconds without a byte before a connection counts as stalled
ATTEMPTS = 5  # in a row that bring no byte
READERS: dict[str, Callable[[Path], object]] = {  # pattern of a file name -> a reader that refuses other content
    "split_zhou_*.json": read_split,
    "cat_to_name.json": read_numbered_names,
    "*.json": read_json,
    "imagelabels.mat": lambda path: read_mat(path, "labels"),
    "classnames.txt": read_wnids,
}
PAUSE = 1.0  # seconds before the second attempt; doubled before each further one


def fetch(source: Source, root: Path, keep: bool = False) -> int:
    """Downloads a source and puts its files into place; files on disk stay as they are.

    Args:
        source: address and target.
        root: the folder that holds the data sets.
        keep: whether the archive stays in `.downloads`.

    Returns:
        The number of files that were added.

    Raises:
        OSError: the download failed, or the disk is full; the part that came is kept, to go on from.
        ValueError: the file is another than expected, or a damaged or hostile archive; it is removed.
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
    """Unpacks an archive into its folder, or copies a single file to its place; returns the number of files added.

    Raises:
        ValueError: a damaged or hostile archive, or a file whose content does not fit its name.
    """
    target = root / source.to
    if source.to != "." and target.suffix:
        if target.exists():
            return 0
        for pattern, read in READERS.items():
            if fnmatch(target.name, pattern):
                read(path)
        return put(path, target)
    # Where the target is a link to another disk, the archive is unpacked on that disk.
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
    """Compares the checksums that are known, and refuses an empty file or a web page.

    Raises:
        ValueError: the file is another than expected.
    """
    for kind, expected in (("md5", source.md5), ("sha256", source.sha256)):
        if expected and (actual := content_digest(path, kind)) != expected:
            raise ValueError(f"{source.url} is not the expected file: {kind} {actual}, not {expected}")
    with path.open("rb") as file:
        start = file.read(256).lstrip().lower()
    if not start:
        raise ValueError(f"{source.url} is empty")
    if start.startswith((b"<!doctype html", b"<html")):
        raise ValueError(f"{source.url} is a web page and not the file (a sign-in, a quota or a removed file)")


def _download_drive(url: str, path: Path) -> None:
    """Downloads `gdrive:<id>` with gdown, which goes on from `<path>.part`; raises OSError where that fails."""
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
    """Downloads over HTTP to `path`, which exists only once it is whole.

    Meanwhile the bytes are in `<path>.part`. After a cut or stalled connection the download goes on from them, if the
    server can do that, in this call or a later one; if the file changed on the server it starts anew.

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
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(f"{part.parent}: {error.strerror}; {part.name} is kept, to go on from") from error
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        grown = (part.stat().st_size if part.exists() else 0) > before
        failures = 1 if grown else failures + 1
    raise OSError(f"{url}: no byte in {ATTEMPTS} attempts ({reason}); run it again to go on")


def _attempt(url: str, part: Path, state: Path) -> bool:
    """Downloads over one connection; returns whether the file is whole.

    Args:
        url: of the file.
        part: the file of the bytes so far, which grows.
        state: a file with the server's tag or date of these bytes, by which it knows whether its file changed.
    """
    have = part.stat().st_size if part.exists() else 0
    tag = state.read_text(encoding="utf-8") if state.exists() else ""
    headers = {"User-Agent": "promptkd-data/1"}
    if have and tag:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the server has no byte behind ours: our file is whole, or another one
            size = (error.headers.get("Content-Range") or "").rpartition("/")[2]
            if size == str(have):
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
