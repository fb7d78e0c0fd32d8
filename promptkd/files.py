"""Files that are whole or not there: written beside their place, synced, then put into it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path to write to; what lies there at the end takes the place of `path`, at once and synced.

    After an error the temporary file is removed and `path` stays as it was. Folders above are made. The file's mode is
    what the process's umask says, also where the writer made it readable to its owner alone.

    Raises:
        OSError: no permission, a full disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        os.chmod(partial, 0o666 & ~_umask())
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


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
