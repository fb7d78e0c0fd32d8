"""What a command shows of what the library logs: plain lines on the screen, everything in a run's log.txt.

Library code logs to loggers below "promptkd" (`logging.getLogger(__name__)`; a method or data set to
`logging.getLogger("promptkd.trainers")`, `("promptkd.datasets")`) and decides nothing about where it goes. INFO is
what a person needs to know, DEBUG what may be looked up later, WARNING what should be looked at.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from promptkd.texts import plain

LOGGER = logging.getLogger("promptkd")


class _Screen(logging.Handler):
    """Writes to what `sys.stdout` is at the moment, above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        screen = sys.stdout
        while isinstance(screen, _Prints):
            screen = screen.screen
        text = self.format(record)
        with contextlib.suppress(OSError):  # nobody reads any more, as behind `| head`: the run goes on
            try:
                tqdm.write(text, file=screen)
            except UnicodeEncodeError:
                tqdm.write(text.encode("ascii", "backslashreplace").decode(), file=screen)
            screen.flush()


class _Lines(logging.Formatter):
    """The message, with its level in front where that is a warning or worse.

    Control characters are written out. So are the line ends of what a message names, as a file that has one in its
    name: it must not look like a line of its own. A message whose end is a text of several lines ("%s") keeps them.
    """

    def format(self, record: logging.LogRecord) -> str:
        form = str(record.msg)
        args = record.args
        if isinstance(args, tuple) and any(isinstance(arg, (str, os.PathLike)) for arg in args):
            ends = form == "%s" or form.endswith("\n%s")
            kept = len(args) - 1 if ends else len(args)
            args = tuple(_one(arg) if number < kept else arg for number, arg in enumerate(args))
        text = plain(form % args if args else form, lines=True)
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return f"{record.levelname}: {text}" if record.levelno >= logging.WARNING else text


def _one(value: object) -> object:
    """A text or path without control characters; another value as it is."""
    return plain(value) if isinstance(value, (str, os.PathLike)) else value


class _File(logging.FileHandler):
    """A run's log.txt; where the disk is full the run says so once and goes on without it."""

    failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Called by logging after an error in writing, in place of a traceback for each line."""
        error = sys.exc_info()[1]
        if not isinstance(error, (OSError, ValueError)):
            super().handleError(record)
        elif not self.failed:
            self.failed = True
            LOGGER.warning("%s is not written any more: %s", self.baseFilename, getattr(error, "strerror", "") or error)


def show(level: int = logging.INFO) -> None:
    """Shows what is logged from this level on as plain lines on standard output; a second call changes the level."""
    screen = next((handler for handler in LOGGER.handlers if isinstance(handler, _Screen)), None)
    if screen is None:
        screen = _Screen()
        screen.setFormatter(_Lines())
        LOGGER.addHandler(screen)
    screen.setLevel(level)
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.propagate = False
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what is printed may name a file that is not UTF-8


@contextlib.contextmanager
def to_file(path: str | Path) -> Iterator[None]:
    """Keeps everything that is logged meanwhile in a file, DEBUG included, behind what is there already.

    Raises:
        OSError: it cannot be written to.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    handler = _File(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(_Lines())
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        with contextlib.suppress(OSError):  # what a full disk did not take; it was said
            handler.close()


def new_log(directory: str | Path) -> Path:
    """Where a run's log goes: log.txt, or beside an earlier one with the time behind its name, as Dassl has it."""
    path = Path(directory) / "log.txt"
    return path.with_name(time.strftime("log.txt-%Y-%m-%d-%H-%M-%S")) if path.exists() else path


@contextlib.contextmanager
def collected(level: int = logging.INFO) -> Iterator[list[str]]:
    """Gives a list that everything logged or printed meanwhile goes into, a message each, in place of the screen."""
    messages: list[str] = []
    handlers, before = LOGGER.handlers[:], LOGGER.level
    LOGGER.handlers = [_List(messages, level)]
    LOGGER.setLevel(logging.DEBUG)
    try:
        with captured_prints(level):
            yield messages
    finally:
        LOGGER.handlers = handlers
        LOGGER.setLevel(before)


class _List(logging.Handler):
    """Puts messages into a list."""

    def __init__(self, messages: list[str], level: int) -> None:
        super().__init__(level)
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(plain(record.getMessage()))


@contextlib.contextmanager
def captured_prints(level: int = logging.DEBUG) -> Iterator[None]:
    """Logs what is printed meanwhile, a record a line: Dassl prints, and a run's log.txt is to have it."""
    with contextlib.redirect_stdout(_Prints(level, sys.stdout)):  # type: ignore[type-var]
        yield


class _Prints(io.TextIOBase):
    """A standard output whose lines become log records.

    Args:
        level: of the records.
        screen: the standard output that it stands for.
    """

    def __init__(self, level: int, screen: TextIO) -> None:
        super().__init__()
        self.level, self.screen, self._rest = level, screen, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            LOGGER.log(self.level, "%s", line)
        return len(text)

    def flush(self) -> None:
        self.screen.flush()
