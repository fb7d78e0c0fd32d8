"""Standard output, also written to a file."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TextIO

from .tools import mkdir_if_missing


class Logger:
    """A text stream that writes to the console and, where `fpath` is given, to a file."""

    def __init__(self, fpath: str | None = None) -> None:
        # a second logger in one process takes over from the first, whose file is then complete
        self.console: TextIO = sys.stdout.release() if isinstance(sys.stdout, Logger) else sys.stdout
        self.file: TextIO | None = None
        if fpath is not None:
            mkdir_if_missing(os.path.dirname(fpath))
            self.file = open(fpath, "w", encoding="utf-8")

    def __enter__(self) -> Logger:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def encoding(self) -> str:
        """Encoding of the console."""
        return self.console.encoding

    def isatty(self) -> bool:
        """Whether the console is a terminal."""
        return self.console.isatty()

    def fileno(self) -> int:
        """File descriptor of the console."""
        return self.console.fileno()

    def write(self, msg: str) -> int:
        """Write to the console and the file."""
        if self.file is not None:
            self.file.write(msg)
        return self.console.write(msg)

    def flush(self) -> None:
        """Flush the console and the file, so that a killed run keeps its log."""
        self.console.flush()
        if self.file is not None:
            self.file.flush()

    def release(self) -> TextIO:
        """Close the file and return the console; later writes go to the console alone."""
        if self.file is not None:
            self.file.close()
            self.file = None
        return self.console

    def close(self) -> None:
        """Close the file and give standard output back to the console."""
        console = self.release()
        if sys.stdout is self:
            sys.stdout = console


def setup_logger(output: str | None = None) -> None:
    """Tee standard output to a file from here on.

    Args:
        output: a file ending in .txt or .log, or a directory that gets `log.txt`; None does nothing. An earlier log is
            kept: the new one then has the time as a suffix.

    Raises:
        OSError: the file cannot be written.
    """
    if output is None:
        return
    path = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
    if os.path.exists(path):
        path += time.strftime("-%Y-%m-%d-%H-%M-%S")
    base, count = path, 1
    while os.path.exists(path):
        path, count = f"{base}.{count}", count + 1
    sys.stdout = Logger(path)
