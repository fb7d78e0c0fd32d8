"""An error as one line, and what to do about it where that is known."""

from __future__ import annotations

import errno
import re

from promptkd import files
from promptkd.texts import one_line, path_text

# Errors of the system whose remedy is the same for every file.
_ANYWHERE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE)
# What an error's text tells of its cause, where the error itself has no number of the system's.
_CAUSES = [
    (
        r"Too many open files|received 0 items of ancdata",
        "raise the limit of open files (ulimit -n 4096), or set DATALOADER.NUM_WORKERS 0",
    ),
    (
        r"Bus error|insufficient shared memory|torch_\S*>?: No space left|(allocate|write to) shared memory|/dev/shm",
        "shared memory is full: make /dev/shm larger (docker run --shm-size 8g), or set DATALOADER.NUM_WORKERS 0",
    ),
    (r"DataLoader worker .* killed by signal: Killed", "memory is full: set a lower DATALOADER.NUM_WORKERS"),
    (r"[Cc]ould not determine home directory", "set the environment variable HOME, or write the folder in full"),
    (r"Cannot allocate memory|can't start new thread", "memory is full: set a lower DATALOADER.NUM_WORKERS"),
]


def describe(error: BaseException) -> str:
    """An error's message on one line, whole, and what to do where that is known.

    Of an error that a loader's worker raised it is what comes after the worker's traceback.
    """
    text = str(error).strip()
    if "Original Traceback" in text:
        text = text.splitlines()[-1].partition(": ")[2] or text.splitlines()[-1]  # "OSError: cannot read ..."
    text = one_line(text) or type(error).__name__
    if isinstance(error, PermissionError) and error.filename:  # of a file that was to be read; `files` says the rest
        return one_line(f"{path_text(str(error.filename))}: {error.strerror}; see its permissions")
    if not isinstance(error, (OSError, ValueError, RuntimeError, ArithmeticError, MemoryError)):
        text = f"{type(error).__name__}: {text}"  # a KeyError's text is a name alone
    remedy = ""
    if isinstance(error, OSError) and error.strerror and error.errno in _ANYWHERE:
        remedy = files.REMEDIES[error.errno]
    for pattern, advice in _CAUSES:
        if re.search(pattern, text):
            remedy = advice
            break
    return f"{text}: {remedy}" if remedy and remedy not in text else text
