"""The right to run in a directory: a lock that a run keeps when its launcher dies, and that its own death releases."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import socket
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: everything but sweeps and scripts works there
    fcntl = None  # type: ignore[assignment]

LOCK = ".sweep.lock"
POLL = 1.0  # seconds between two tries of a process that waits


class DirectoryLock:
    """A lock (`flock`) on a file of the directory, inherited by the run's process.

    The kernel drops it with the last process that holds it: a run keeps it when its launcher is killed, and no other
    run is started beside it. On a network file system it is as good as that system's `flock`.

    Attributes:
        descriptor: of the open file, to pass to the run's process.
        abandoned: the holder before, as the file names it, where that died without a release; "" for nobody.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.abandoned = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        os.ftruncate(descriptor, 0)
        with contextlib.suppress(OSError):  # on a full disk the lock holds, but its holder is not named
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {now}\n".encode(), 0)

    @classmethod
    def take(cls, directory: Path) -> DirectoryLock | None:
        """The lock of a directory, which is made; None where another process holds it.

        Raises:
            OSError: the directory cannot be written to, or the system has no such locks.
        """
        if fcntl is None:
            raise OSError("sweeps and scripts need flock, which this system lacks: use Linux, macOS, or WSL on Windows")
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def __enter__(self) -> DirectoryLock:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            with contextlib.suppress(OSError):  # then the next one takes it that this holder died
                os.ftruncate(self.descriptor, 0)
        finally:
            os.close(self.descriptor)


def holder(directory: Path) -> str | None:
    """The process that holds the lock of a directory (`process 7 on host since ...`); None where nobody does."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(directory / LOCK, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return os.read(descriptor, 200).decode(errors="replace").strip()
    finally:
        os.close(descriptor)


def outlived(directory: Path) -> bool:
    """Whether the lock is held by a run on this machine without its launcher, so that no other sweep counts the run."""
    launcher = re.fullmatch(r"process (\d+) on (\S+) since .*", holder(directory) or "")
    if not launcher or launcher[2] != socket.gethostname():
        return False
    try:
        os.kill(int(launcher[1]), 0)  # asks only
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's process
        return False
    return False
