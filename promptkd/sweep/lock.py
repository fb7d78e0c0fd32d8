"""The right to run in a directory: an advisory lock that outlives its launcher and nobody's death leaves behind."""

from __future__ import annotations

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
POLL = 1.0  # seconds between tries of who waits


class Claim:
    """A lock (`flock`) on a file of the directory, inherited by the run's process.

    The kernel drops it when the last process that holds it is gone, so that a run whose launcher was killed keeps it,
    and no other is started beside it. On a network file system it is as good as that system's `flock`.

    Attributes:
        descriptor: to pass to the run's process.
        abandoned: who held it before and died without letting go; "" for nobody.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.abandoned = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {now}\n".encode(), 0)

    @classmethod
    def take(cls, directory: Path) -> Claim | None:
        """The claim, or None where another process has it.

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

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        os.ftruncate(self.descriptor, 0)
        os.close(self.descriptor)


def holder(directory: Path) -> str | None:
    """Who holds the claim on a directory; None where nobody does."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(directory / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return os.read(descriptor, 200).decode(errors="replace").strip()
    finally:
        os.close(descriptor)


def outlived(directory: Path) -> bool:
    """Whether a run on this machine holds the claim whose launcher is gone, so that no other sweep counts it."""
    found = re.fullmatch(r"process (\d+) on (\S+) since .*", holder(directory) or "")
    if not found or found[2] != socket.gethostname():
        return False
    try:
        os.kill(int(found[1]), 0)  # asks only
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's process
        return False
    return False
