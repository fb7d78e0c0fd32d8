"""Where a repository's modules come from: its copy, before anything of the same name, and what is done with them."""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

OURS = ("dassl", "promptkd")  # names that stay ours, whatever a repository has
_followers: list[Callable[[ModuleType], None]] = []


def after_import(follow: Callable[[ModuleType], None]) -> None:
    """Has a function called with each module of the repository, once it was executed."""
    _followers.append(follow)


class RepositoryFinder(importlib.abc.MetaPathFinder):
    """Finds a repository's modules before those of any other place, folders without an `__init__.py` included.

    Without it, `trainers/` and `datasets/` of a repository that keeps no `__init__.py` there would be ours, or another
    package's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in OURS:
            return None
        if path is None:
            spec = self._top(fullname, target)
        elif any(self.folder in (Path(place), *Path(place).parents) for place in path):
            spec = PathFinder.find_spec(fullname, list(path), target)
        else:
            return None
        return _followed(spec)

    def _top(self, name: str, target: ModuleType | None) -> ModuleSpec | None:
        place = self.folder / name
        if (place / "__init__.py").is_file() or place.with_suffix(".py").is_file():
            return PathFinder.find_spec(name, [str(self.folder)], target)
        if place.is_dir() and name not in sys.stdlib_module_names and any(islice(place.rglob("*.py"), 1)):
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(place)]
            return spec
        return None


def _followed(spec: ModuleSpec | None) -> ModuleSpec | None:
    """A spec whose module is shown to the functions of `after_import`."""
    if spec is None or spec.loader is None or not hasattr(spec.loader, "exec_module"):
        return spec
    loader: Any = spec.loader
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        for follow in _followers:
            follow(module)

    loader.exec_module = exec_module
    return spec
