"""One run, by the field's command line; `python train.py --help` tells the options (promptkd/engine/command.py)."""

from __future__ import annotations

import sys

from promptkd.engine.command import BASE, command_line, configure, main, parser, run

__all__ = ["BASE", "command_line", "configure", "main", "parser", "run"]

if __name__ == "__main__":
    sys.exit(command_line())
