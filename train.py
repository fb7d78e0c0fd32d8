"""One run, by the field's command line; `python train.py --help` shows the options (promptkd/engine/command.py)."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # Python has put this folder first already, but not under PYTHONSAFEPATH
    sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # see promptkd.__main__.start

from promptkd.engine.command import BASE, command_line, configure, main, parser, run  # noqa: E402

__all__ = ["BASE", "command_line", "configure", "main", "parser", "run"]

if __name__ == "__main__":
    sys.exit(command_line())
