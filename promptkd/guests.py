"""The methods, the data sets and the face for foreign files: their names, and how the methods and data sets register.

They are `promptkd.trainers`, `promptkd.datasets` and `promptkd.clip`, in a checkout and in an installed package alike.
In an installed package Python finds them inside this one. In a checkout they lie beside it, and people and published
files know them as `trainers.coop`, `clip.clip`, `datasets.oxford_pets`, too. Both names lead to one module, whichever
is imported first, so nothing is loaded or registered twice.

A plain name is ours where Python itself would find our folder under it, and only there: beside Hugging Face's
`datasets` the plain name is theirs (a regular package goes before ours, which has no `__init__.py`), and OpenAI's
`clip` keeps its name wherever this checkout is not ahead of it on `sys.path`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from promptkd.home import INSTALLED, ROOT

GUESTS = ("trainers", "datasets", "clip")
_PREFIX = "promptkd."


def register() -> None:
    """Imports every method and every data set, which register themselves with Dassl."""
    importlib.import_module("promptkd.trainers")
    register_datasets()


def register_datasets() -> None:
    """Imports every data set: each file of the folder is one, those that have a configuration first.

    A file that was dropped in comes after them, so that the names of its classes are those that are still free.
    """
    configured = {path.stem for path in (ROOT / "configs" / "datasets").glob("*.yaml")}
    names = [module.name for module in pkgutil.iter_modules([str(ROOT / "datasets")])]
    for name in sorted(names, key=lambda name: (name not in configured, name)):
        importlib.import_module(f"promptkd.datasets.{name}")


def import_file(path: str | Path, package: str = "trainers") -> ModuleType:
    """Imports a trainer or a data set that was written for upstream from anywhere, as if it lay in `package`.

    A `clip/` beside the file is what `import clip` means for it, and for it alone. A class with one of our names is
    registered as `<file>.<Name>`.

    Args:
        path: the file.
        package: "trainers" or "datasets": what its relative imports are of.

    Raises:
        FileNotFoundError: no such file.
    """
    path = Path(path).expanduser().absolute()
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: give a file of Python")
    importlib.import_module(f"{_PREFIX}{package}")
    name = f"{_PREFIX}{package}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or name in sys.modules:
        raise ImportError(f"{path}: {'no file of Python' if spec is None else f'there is a {name} already'}")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        with clip_beside(path.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


_beside: dict[Path, dict[str, ModuleType]] = {}  # folder -> the modules of the clip/ in it


@contextlib.contextmanager
def clip_beside(folder: Path) -> Iterator[None]:
    """Lets `clip` be the one in a folder meanwhile, where there is one; everybody else's stays what it is."""
    if not (folder / "clip").is_dir() or (folder / "clip").resolve() == (ROOT / "clip").resolve():
        yield
        return
    others = _taken_out()
    sys.modules.update(_beside.get(folder, {}))
    finder = _ClipOf(folder)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _beside[folder] = _taken_out()
        sys.modules.update(others)


def _taken_out() -> dict[str, ModuleType]:
    """The modules of `clip`, which are no longer known."""
    names = [name for name in sys.modules if name == "clip" or name.startswith("clip.")]
    return {name: sys.modules.pop(name) for name in names}


class _ClipOf(importlib.abc.MetaPathFinder):
    """Finds `clip` in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "clip":
            return None
        return PathFinder.find_spec(fullname, [str(self.folder)] if path is None else list(path), target)


def install_names() -> None:
    """Lets `promptkd.trainers` and `trainers` (and so on) lead to one module; does nothing in an installed package."""
    if not INSTALLED and not any(isinstance(finder, _TwoNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TwoNames())


class _TwoNames(importlib.abc.MetaPathFinder):
    """Finds a guest's modules under both of their names.

    One of the two is the module's `__name__`: the one with `promptkd.`, but the plain one where the guest was imported
    before this package was, as in `python -c "from clip import clip"`. The other name is an alias.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        plain = fullname.removeprefix(_PREFIX)
        guest = plain.partition(".")[0]
        if guest not in GUESTS or not _exists(plain) or (fullname == plain and not _is_ours(plain, path)):
            return None  # Python goes on looking, and its message names what was asked for
        name = plain if _was_first(guest) else f"{_PREFIX}{plain}"
        if fullname != name:
            return importlib.util.spec_from_loader(fullname, _Alias(name))
        place = _place(plain)
        if place.is_dir() and not (place / "__init__.py").is_file():
            spec = ModuleSpec(fullname, None, is_package=True)  # our folder alone, no other one of that name
            spec.submodule_search_locations = [str(place)]
            return spec
        file = PathFinder.find_spec(fullname, [str(place.parent)], target)
        if file is not None and file.loader is not None and (place.parent / "clip").is_dir() and guest != "clip":
            _with_clip_beside(file, place.parent)
        return file


def _with_clip_beside(spec: ModuleSpec, folder: Path) -> None:
    """Has a module executed while `clip` is the one beside its file."""
    loader: Any = spec.loader
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        with clip_beside(folder):
            execute(module)

    loader.exec_module = exec_module


class _Alias(importlib.abc.Loader):
    """Loads a module under a second name: it is imported under its first one, and the same object is given."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the import system has put the alias's in its place


def _place(plain: str) -> Path:
    """`datasets.oxford_pets` -> the path of that module in this checkout, without .py."""
    return ROOT / plain.replace(".", "/")


def _exists(plain: str) -> bool:
    """Whether this checkout has a module of that name."""
    place = _place(plain)
    return plain in GUESTS or place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def _is_ours(plain: str, path: Iterable[str] | None) -> bool:
    """Whether a plain name leads to this checkout: Python's own search decides.

    Args:
        plain: as `datasets` or `datasets.oxford_pets`.
        path: the parent package's `__path__`; None of a top-level name.
    """
    if path is None:
        spec = PathFinder.find_spec(plain)
        return spec is not None and _holds(spec.submodule_search_locations, plain)
    # What another package of the name lacks is ours: `datasets.oxford_pets` beside Hugging Face's `datasets`.
    return _holds(path, plain.rpartition(".")[0]) or PathFinder.find_spec(plain, list(path)) is None


def _was_first(guest: str) -> bool:
    """Whether our guest was imported by its plain name before this package was there to give it the other."""
    module = sys.modules.get(guest)
    return getattr(module, "__name__", None) == guest and _holds(getattr(module, "__path__", None), guest)


def _holds(locations: Iterable[str] | None, plain: str) -> bool:
    """Whether one of a package's folders is this checkout's."""
    return any(Path(location).resolve() == _place(plain) for location in locations or ())
