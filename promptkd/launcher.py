"""What a process that torchrun started does once torchrun itself was killed: it ends, and holds no lock and no GPU."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time

log = logging.getLogger(__name__)

PATIENCE = 10.0  # seconds in which a launcher that lives answers
_watched = False
_OURS_ALONE = "TORCHELASTIC_USE_AGENT_STORE"  # "True": the launcher has the store, so it answers before we are started


def check() -> None:
    """Raises ConnectionError where the launcher is gone before its processes have joined: they would wait for long."""
    if os.environ.get(_OURS_ALONE) != "True":
        return
    place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(place, timeout=PATIENCE).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise ConnectionError(
                    f"torchrun does not answer at {place[0]}:{place[1]} ({error.strerror or error}): was it killed? "
                    "The same command goes on from the last finished epoch"
                ) from error
        time.sleep(0.2)


def end_with_it() -> None:
    """Ends this process at once when the process that started it has gone, as after kill -9 of torchrun.

    What is written then is whole or not there, as after any kill.
    """
    global _watched
    if not _watched:
        _watched = True
        threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    log.error("torchrun is gone: this process ends. The same command goes on from the last finished epoch")
    os._exit(1)
