"""Where the project's folders are: beside this package in a checkout, inside it where it is installed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
INSTALLED = (PACKAGE / "configs").is_dir()  # a wheel holds the checkout's folders inside the package
ROOT = PACKAGE if INSTALLED else PACKAGE.parent
RUNS_PER_GPU = "PROMPT_RUNS_PER_GPU"  # environment: how many runs were started on this one's GPU, itself included


def shown_command(name: str) -> str:
    """What a person types to start one of this project's commands, from any folder."""
    if INSTALLED:
        return f"promptkd {name}"
    return f"python {shlex.quote(str((ROOT if name == 'train' else ROOT / 'tools') / f'{name}.py'))}"


def command(name: str) -> tuple[str, ...]:
    """The words that start one of this project's commands ("train", "sweep", ...) in a process of its own.

    A file is started, not a module by its name: Python would look for that in the current folder first.
    """
    if name == "train" and not INSTALLED:
        return sys.executable, str(ROOT / "train.py")
    return sys.executable, str(PACKAGE / "__main__.py"), name
