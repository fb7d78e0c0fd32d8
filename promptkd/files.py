"""Files that are whole or not there: written beside their place, synced, then put into it; what a killed process left.

A file that is read, changed and written again has a lock beside it, so that of two processes neither loses its change.

An error in writing names the folder and what to do.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: two processes at once may lose a change there
    fcntl = None  # type: ignore[assignment]

# What to do about a file that cannot be written.
REMEDIES = {
    errno.ENOSPC: "free space on that disk, or choose a folder on another",
    errno.EDQUOT: "free some of your quota on that disk, or choose a folder on another",
    errno.EFBIG: "raise the limit of a file's size, ulimit -f",
    errno.EROFS: "choose a folder on a disk that is not read-only",
    errno.EACCES: "give write permission there, or choose another folder",
    errno.EPERM: "give write permission there, or choose another folder",
    errno.ENOENT: "the folder was removed meanwhile: start anew, and leave it in place",
    errno.ENOTDIR: "a file is in the place of a folder: remove it, or choose another folder",
    errno.EISDIR: "a folder is in the place of the file: remove it, or choose another folder",
    errno.EMFILE: "raise the limit of open files, ulimit -n",
    errno.ENFILE: "the machine has too many open files: close some",
    errno.ENAMETOOLONG: "choose a folder with a shorter path",
}
_LEFT = re.compile(r"\.(.+)\.(\d+)\.(part|tmp)")  # .<name>.<process>.part, and Dassl's .tmp


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path to write to; what lies there at the end takes the place of `path`, at once and synced.

    After an error the temporary file is removed and `path` stays as it was. Folders above are made. The file's mode is
    what the process's umask says, also where the writer made it readable to its owner alone.

    Raises:
        OSError: no permission, a full disk; the message has the folder and a remedy.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.chmod(partial, 0o666 & ~_umask())
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
    except Exception as error:
        if (failure := failed_writing(path, error)) is None:
            raise
        raise failure from error
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Waits until no other process (or thread) is in such a block of the same lock file, and keeps them out meanwhile.

    The file and the folders above it are made, and stay. On a network file system it is as good as that system's locks.

    Raises:
        OSError: the file cannot be written; the message has the folder and a remedy.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a")  # noqa: SIM115  (closed below, which gives the lock back)
    except OSError as error:
        raise failed_writing(path, error) or error from error
    with file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Gives an empty folder to write to, which at the end becomes `path`: whole, or not there at all.

    Raises:
        FileExistsError: there is something at `path` already.
        OSError: no permission, a full disk; the message has the folder and a remedy.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} is there already: remove it, or give another place")
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.mkdir(parents=True)
        yield partial
        sync_folder(partial)
        os.rename(partial, path)
        sync_folder(path.parent)
    except OSError as error:
        failure = None if error.filename is None else failed_writing(path, error)
        if failure is None:
            raise
        raise failure from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def failed_writing(path: Path, error: Exception) -> OSError | None:
    """The error to raise where a file could not be written, with its folder and a remedy; None for other errors."""
    number = error.errno if isinstance(error, OSError) else None
    if rust := re.search(r"\(os error (\d+)\)", str(error)):  # how safetensors says it
        number = int(rust[1])
    if number is None:
        return None
    reason = (error.strerror if isinstance(error, OSError) else None) or os.strerror(number)
    remedy = f": {REMEDIES[number]}" if number in REMEDIES else ""
    failure = type(OSError(number, ""))(f"cannot write {path.name} in {path.parent} ({reason}){remedy}")
    failure.errno = number
    return failure


def remove_leftovers(folder: str | Path) -> list[Path]:
    """Removes the unfinished files that killed processes left in a folder; returns those that were there.

    The process that writes one has its number in the name: those of live processes stay, but this one's go, since it
    has only just begun, and another had its number before.
    """
    removed = []
    for path in Path(folder).glob(".*.*"):
        left = _LEFT.fullmatch(path.name)
        if left and path.is_file() and (int(left[2]) == os.getpid() or not _lives(int(left[2]))):
            with contextlib.suppress(OSError):
                path.unlink()
                removed.append(path)
    return removed


def _lives(process: int) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(process, 0)  # asks only
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file, whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_json(path: str | Path, value: Any, indent: int | None = 1) -> None:
    """Writes a value as JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=indent) + "\n")


def content_digest(path: str | Path, kind: str = "sha256") -> str:
    """The hash of a file's content, "sha256" or "md5", as hexadecimal digits; read in parts, whatever its size."""
    digest = hashlib.new(kind)
    with Path(path).open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def sync_folder(folder: str | Path) -> None:
    """Makes sure that a folder's entries survive a power cut, where the system can."""
    with contextlib.suppress(OSError):  # some file systems, and Windows, sync no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _umask() -> int:
    """The process's umask, which Linux tells without changing it."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1], 8) for line in file if line.startswith("Umask:"))
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
