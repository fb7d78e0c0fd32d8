"""Modules that Python, numpy or this machine lack, and old code imports."""

from __future__ import annotations

import ast
import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

from promptkd.host.bridges import Crossing

# Distribution of a module where the names differ.
PIP = {"cv2": "opencv-python", "sklearn": "scikit-learn", "skimage": "scikit-image", "PIL": "pillow", "yaml": "pyyaml",
       "ot": "POT", "Levenshtein": "python-Levenshtein", "attr": "attrs", "git": "GitPython"}  # fmt: skip
# Names of numpy before 1.24 and 2.0 -> where they are now: Python's type, or another name of numpy.
ALIASES: dict[str, Any] = {
    "float": float, "int": int, "bool": bool, "object": object, "str": str, "complex": complex, "long": int,
    "unicode": str, "float_": "float64", "complex_": "complex128", "unicode_": "str_", "string_": "bytes_",
    "Inf": "inf", "Infinity": "inf", "infty": "inf", "PINF": "inf", "NaN": "nan", "product": "prod",
    "cumproduct": "cumprod", "alltrue": "all", "sometrue": "any", "in1d": "isin", "row_stack": "vstack",
}  # fmt: skip


class MissingPackage(ImportError):
    """A package that is not installed was used; its name is `name`."""


def removed_modules(crossing: Crossing) -> None:
    """Modules that are gone (`imp`, `pkg_resources`, `torch._six`), with what old files take from them."""
    sys.meta_path.append(_Removed(crossing))


def numpy_aliases(crossing: Crossing) -> None:
    """numpy's names that are gone (`np.float`, `np.int`, `np.Inf`, ...)."""
    import numpy

    before = numpy.__getattr__

    def find(name: str) -> Any:
        if name not in ALIASES:
            return before(name)
        crossing.note("numpy_aliases", f"np.{name}")
        value = ALIASES[name]
        return getattr(numpy, value) if isinstance(value, str) else value

    setattr(numpy, "__getattr__", find)  # noqa: B010


def missing_packages(crossing: Crossing) -> None:
    """Packages that are imported and not installed: empty ones, and an error that names the package once it is used.

    Where the file is ready for the lack of it (an import in `try`), it is left to that.
    """
    sys.meta_path.append(_Missing(crossing))


class _Removed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes `imp`, `pkg_resources` and `torch._six` where there are none."""

    def __init__(self, crossing: Crossing) -> None:
        self.crossing = crossing

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in ("imp", "pkg_resources", "torch._six"):
            return None
        self.crossing.note("removed_modules", fullname)
        return ModuleSpec(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ == "imp":
            vars(module).update(reload=importlib.reload, load_source=_load_source)
        elif module.__name__ == "torch._six":
            import collections.abc

            vars(module).update(string_classes=(str, bytes), int_classes=int, inf=float("inf"))
            vars(module).update(container_abcs=collections.abc)
        else:
            import packaging.version

            vars(module).update(packaging=packaging, parse_version=packaging.version.parse)


def _load_source(name: str, path: str, *_: Any) -> ModuleType:
    """imp.load_source: the module in a file, under a name."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no file of Python")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Missing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives an empty package for one that the repository imports and that is not installed; asked last."""

    def __init__(self, crossing: Crossing) -> None:
        self.crossing = crossing
        self.names: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top, _, inner = fullname.partition(".")
        if inner:
            return ModuleSpec(fullname, self, is_package=True) if top in self.names else None
        frame = _importer()
        if frame is None or self.crossing.folder not in Path(frame.f_code.co_filename).parents or _is_ready(frame):
            return None
        self.names.add(top)
        self.crossing.note("missing_packages", f"{top} is not installed, and is empty while nothing uses it")
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is in it."""


class _Empty(ModuleType):
    """A package without anything; what is asked of it can be imported and passed on, not used."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Unusable(self.__name__.partition(".")[0])


class _Unusable:
    """What a missing package would have given."""

    def __init__(self, package: str) -> None:
        self._package = package

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise MissingPackage(
            f"{self._package} is not installed: pip install {pip_name(self._package)}", name=self._package
        )

    __call__ = __getitem__ = __iter__ = __enter__ = __mro_entries__ = __len__ = __add__ = __mul__ = _refuse


def pip_name(package: str) -> str:
    """What pip calls a package."""
    return PIP.get(package, package)


def _importer() -> FrameType | None:
    """The frame whose import statement is being carried out."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(("<frozen", __file__)):
        frame = frame.f_back
    return frame


def _is_ready(frame: FrameType) -> bool:
    """Whether the import that a frame carries out stands in a `try` that takes its failure."""
    try:
        tree = ast.parse(Path(frame.f_code.co_filename).read_text(encoding="utf-8", errors="replace"))
    except (OSError, SyntaxError, ValueError):
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and node.body[0].lineno <= frame.f_lineno <= (node.body[-1].end_lineno or 0):
            kinds = [ast.unparse(handler.type) if handler.type else "" for handler in node.handlers]
            if any(not kind or "Error" in kind or "Exception" in kind for kind in kinds):
                return True
    return False
