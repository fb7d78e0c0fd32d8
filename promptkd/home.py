"""Where the project's folders are: beside this package in a checkout, inside it where it is installed."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
INSTALLED = (PACKAGE / "configs").is_dir()  # a wheel holds the checkout's folders inside the package
ROOT = PACKAGE if INSTALLED else PACKAGE.parent  # what holds configs/, clip/, datasets/ and trainers/
IMPORTED_FROM = PACKAGE.parent  # the entry of sys.path that `import promptkd` needs
RUNS_PER_GPU = "PROMPT_RUNS_PER_GPU"  # environment: how many runs were started on this one's GPU, itself included


def expanded(path: str) -> str:
    """A path whose ~ (or ~name) in front is the home folder; any other path as it is.

    Raises:
        ValueError: there is no such home folder.
    """
    whole = os.path.expanduser(path)
    if path.startswith("~") and whole == path:
        raise ValueError(
            f"{path}: there is no home folder {path.split('/')[0]}; write ./{path} for a file of that name"
        )
    return whole


def working_folder(variable: str, name: str) -> str:
    """The folder of data or output: what an environment variable names, else `name` beside the configurations.

    An installed package writes nothing beside itself: there it is `name` in the current folder.

    Raises:
        ValueError: it begins with ~, and there is no such home folder.
    """
    return expanded(os.environ.get(variable) or str((Path.cwd() if INSTALLED else ROOT) / name))


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
