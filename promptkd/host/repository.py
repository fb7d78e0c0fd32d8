"""What somebody's repository holds: its train.py, its trainers, its recipes, and the commit that it is of."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from promptkd import bounded, texts

MOST_FILES = 20_000  # of a repository
LARGEST_SOURCE = 2**21  # bytes of a file of code or configuration that is read
SOURCES = (".py", ".yaml", ".yml", ".json", ".txt", ".gz")  # what decides how a repository computes
_SKIPPED = re.compile(r"\.git|\.idea|\.vscode|__pycache__|\.ipynb_checkpoints|dassl|Dassl.*|node_modules|.*\.egg-info")
DEPTH = 3  # folders below the one that is given, where train.py is looked for


@dataclass(frozen=True)
class Repository:
    """A repository on disk."""

    root: Path  # its top folder: that of git, or the one that was given
    base: Path  # the folder of its train.py and trainers/, from which it is run
    train: Path | None  # its train.py
    trainers: dict[str, Path]  # class name of each trainer -> the file that registers it
    commit: str | None  # None outside of git
    changed: tuple[str, ...]  # files that differ from the commit

    @property
    def name(self) -> str:
        """`CoOp`; of a folder inside one, `PLOT/plot-coop`."""
        inside = self.base.relative_to(self.root).as_posix()
        return self.root.name if inside == "." else f"{self.root.name}/{inside}"

    @property
    def label(self) -> str:
        """The name and the commit: `CoOp@ff61507`."""
        return f"{self.name}@{self.commit[:7]}{'+' if self.changed else ''}" if self.commit else self.name

    def files(self) -> Iterator[Path]:
        """Every file of the base that belongs to it: no git, no caches, no copy of Dassl."""
        return walk(self.base)

    def digest(self) -> str:
        """A hash of its code and configuration, 16 hexadecimal digits."""
        whole = hashlib.sha256()
        for path in self.files():
            if path.suffix in SOURCES and path.stat().st_size <= LARGEST_SOURCE:
                whole.update(f"{path.relative_to(self.base).as_posix()}\0".encode("utf-8", "surrogateescape"))
                whole.update(hashlib.sha256(path.read_bytes()).digest())
        return whole.hexdigest()[:16]

    def flags(self) -> set[str]:
        """The flags that its train.py takes."""
        return set(re.findall(r"add_argument\(\s*[\"'](--[\w-]+)", source(self.train))) if self.train else set()

    def mentions(self, word: str) -> bool:
        """Whether any of its Python files has this word."""
        return any(word in source(path) for path in self.files() if path.suffix == ".py")

    def check_trainer(self, name: str) -> Path:
        """The file of a trainer.

        Raises:
            ValueError: there is none of that name; the message has the closest one.
        """
        if name in self.trainers:
            return self.trainers[name]
        close = texts.closest(name, self.trainers, 0.4)
        hint = f"; closest: {close}" if close else ""
        names = ", ".join(sorted(self.trainers)) or "no class with @TRAINER_REGISTRY.register()"
        raise ValueError(f"{self.base} has no trainer {bounded.shown(name)}{hint}. It has {names}")

    def recipe(self, trainer: str, given: str) -> Path | None:
        """The configuration file of a trainer; None where the repository keeps none for it and none is given.

        Args:
            trainer: its name.
            given: a file, the name of one of the trainer's recipes, or "" for the only one that it has.

        Raises:
            ValueError: there is no such file, or there are several and none is given.
        """
        folders = [path for path in self.base.glob("configs/trainers/*") if path.is_dir()]
        folder = next((path for path in folders if path.name.lower() == trainer.lower()), None)
        recipes = sorted(folder.glob("*.yaml")) if folder else []
        names = ", ".join(path.stem for path in recipes) or "none"
        if given:
            choices = [self.base / given, Path(given).expanduser(), *(p for p in recipes if given in (p.name, p.stem))]
            for path in choices:
                if path.is_file():
                    return path.absolute()
            raise ValueError(f"--config {bounded.shown(given)} is no file, and no recipe of {trainer}: it has {names}")
        if len(recipes) > 1:
            raise ValueError(f"{trainer} has {len(recipes)} recipes: give --config, one of {names}")
        return recipes[0].absolute() if recipes else None


def find(folder: str | Path) -> Repository:
    """The repository in a folder.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: several train.py, or nothing that trains.
    """
    root = Path(folder).expanduser().absolute()
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: give the folder of a repository")
    train = _train_file(root)
    base = train.parent if train else _base_without(root)
    trainers = dict(_trainers(base))
    if train is None and not trainers:
        raise ValueError(f"{root} has neither a train.py nor a class with @TRAINER_REGISTRY.register()")
    top, commit, changed = _commit(base)
    return Repository(top or root, base, train, trainers, commit, changed)


def walk(base: Path) -> Iterator[Path]:
    """Every regular file below a folder but those of git, caches and copies of Dassl, in order.

    Raises:
        ValueError: there are more than a repository has.
    """
    count = 0
    for folder, folders, names in os.walk(base):
        folders[:] = sorted(name for name in folders if not _SKIPPED.fullmatch(name))
        for name in sorted(names):
            path = Path(folder) / name
            if not path.is_file() or path.suffix == ".pyc":
                continue
            if (count := count + 1) > MOST_FILES:
                raise ValueError(f"{base} has more than {MOST_FILES:,} files: keep data and outputs outside of it")
            yield path


def source(path: Path) -> str:
    """The text of a file of code; "" of one that is too long to be code."""
    if path.stat().st_size > LARGEST_SOURCE:
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def _train_file(root: Path) -> Path | None:
    """The train.py of a repository; None where it has none."""
    if (root / "train.py").is_file():
        return root / "train.py"
    programs = [path for path in _shallow(root) if path.name == "train.py"]
    beside = [path for path in programs if (path.parent / "trainers").is_dir()] or programs
    if len(beside) > 1:
        places = " and ".join(path.relative_to(root).as_posix() for path in beside[:3])
        raise ValueError(f"{root} has {len(beside)} train.py ({places}): give the folder of the one that is meant")
    return beside[0] if beside else None


def _base_without(root: Path) -> Path:
    """The folder of trainers/ in a repository that has no train.py; the repository where there is no such folder."""
    folders = sorted({path.parent for path in _shallow(root) if path.parent.name == "trainers"})
    return folders[0].parent if len(folders) == 1 else root


def _shallow(root: Path) -> Iterator[Path]:
    return (path for path in walk(root) if len(path.relative_to(root).parts) <= DEPTH)


def _trainers(base: Path) -> Iterator[tuple[str, Path]]:
    """(name, file) of each class that a file of the base registers as a trainer."""
    for path in walk(base):
        text = source(path) if path.suffix == ".py" else ""
        if "TRAINER_REGISTRY" not in text:
            continue
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            continue
        for node in ast.walk(tree):
            decorators = node.decorator_list if isinstance(node, ast.ClassDef) else []
            if isinstance(node, ast.ClassDef) and any("TRAINER_REGISTRY" in ast.unparse(one) for one in decorators):
                yield node.name, path


def _commit(folder: Path) -> tuple[Path | None, str | None, tuple[str, ...]]:
    """The top folder of a checkout, its commit, and the changed files in a folder; (None, None, ()) outside of one."""
    git = ["git", "-c", "core.fsmonitor=false", "-c", "safe.directory=*", "-C", str(folder)]
    words = (("rev-parse", "--show-toplevel", "HEAD"), ("status", "--porcelain", "--untracked-files=no", "--", "."))
    try:
        head, status = (
            subprocess.run([*git, *one], capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
            for one in words
        )
        return Path(head[0]), head[1], tuple(line[3:] for line in status)
    except (OSError, subprocess.SubprocessError, IndexError):
        return None, None, ()
