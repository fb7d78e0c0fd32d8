"""The methods and the data sets: found beside this package, registered with Dassl, and each loaded under one name.

They are `promptkd.trainers`, `promptkd.datasets` and `promptkd.clip`, in a checkout and in an installed package alike.
In a checkout they have the names that people and published files know them by, too: `trainers.coop`, `clip.clip`,
`datasets.oxford_pets`. Both names lead to one module, whichever is asked for first, so nothing registers twice.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import pkgutil
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from promptkd.home import INSTALLED, ROOT

GUESTS = ("trainers", "datasets", "clip")
_PREFIX = "promptkd."


def register() -> None:
    """Imports every method and every data set, which register themselves with Dassl."""
    importlib.import_module("promptkd.trainers")
    register_datasets()


def register_datasets() -> None:
    """Imports every data set: each file of the folder is one."""
    package = importlib.import_module("promptkd.datasets")
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        importlib.import_module(f"promptkd.datasets.{module.name}")


def install_names() -> None:
    """Lets `promptkd.trainers` and `trainers` (and so on) lead to one module; an installed package needs it not."""
    if not INSTALLED and not any(isinstance(finder, _TwoNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TwoNames())


class _TwoNames(importlib.abc.MetaPathFinder):
    """Finds a guest's module under both of its names; the one that was imported first is the module's own."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        plain = fullname.removeprefix(_PREFIX)
        guest = plain.partition(".")[0]
        if guest not in GUESTS or not _ours(plain):
            return None
        own = plain if _is_loaded(guest) else f"{_PREFIX}{plain}"
        if fullname != own:
            return importlib.util.spec_from_loader(fullname, _Alias(own))
        place = ROOT / plain.replace(".", "/")
        if place.is_dir() and not (place / "__init__.py").is_file():
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [str(place)]
            return spec
        return PathFinder.find_spec(fullname, [str(place.parent)], target)


class _Alias(importlib.abc.Loader):
    """Gives a module that is there under another name."""

    def __init__(self, own: str) -> None:
        self.own = own
        self.spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.own)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the import system has put the alias's in its place


def _ours(plain: str) -> bool:
    """Whether a name as `datasets.oxford_pets` is a module of this checkout, and nobody else's package of that name."""
    guest, _, rest = plain.partition(".")
    place = ROOT / plain.replace(".", "/")
    if rest:
        return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()
    if guest != "datasets" or (loaded := sys.modules.get(guest)) is None:
        # Hugging Face's package has the name, too: where it is installed, `import datasets` is it
        return guest != "datasets" or _elsewhere(guest) is None
    return getattr(loaded, "__file__", None) is None


def _elsewhere(name: str) -> ModuleSpec | None:
    """A package of that name that is installed, which ours must not hide."""
    found = PathFinder.find_spec(name)
    return found if found is not None and found.origin is not None else None


def _is_loaded(guest: str) -> bool:
    """Whether the guest's own name is the plain one, because it was imported before this package was."""
    module = sys.modules.get(guest)
    paths = [str(path) for path in getattr(module, "__path__", ())]
    return getattr(module, "__name__", None) == guest and str(ROOT / guest) in paths
