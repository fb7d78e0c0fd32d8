"""What a repository's own copy of Dassl has changed, as far as it can be told from its defaults and its calls."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from promptkd.host.bridges import Crossing


def keys_of_its_dassl(crossing: Crossing) -> None:
    """Keys that the defaults of a repository's Dassl have and ours lack, with its values (HiCroPL's OPTIM.EPS)."""
    from yacs.config import CfgNode

    from dassl import config

    added = dict(entry for file in _defaults(crossing.original) for entry in _assigned(file))
    default = config.get_cfg_default

    def completed() -> CfgNode:
        cfg = default()
        for name, value in added.items():
            *sections, key = name.split(".")
            node = cfg
            for section in sections:
                node = node.setdefault(section, CfgNode())
            if key not in node:
                crossing.note("keys_of_its_dassl", f"{name} {value}")
                node[key] = value
        return cfg

    config.get_cfg_default = completed


def arguments_of_its_dassl(crossing: Crossing) -> None:
    """Further arguments of `test` and of data sets, which copies of Dassl have added, are taken and left alone."""
    from dassl.data.datasets import DatasetBase
    from dassl.engine import SimpleTrainer

    for kind, name in ((SimpleTrainer, "test"), (DatasetBase, "__init__")):
        setattr(kind, name, _tolerant(getattr(kind, name), crossing))


def _tolerant(function: Any, crossing: Crossing) -> Any:
    known = inspect.signature(function).parameters

    @functools.wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        for name in [name for name in options if name not in known]:
            crossing.note("arguments_of_its_dassl", f"{function.__qualname__}({name}=...)")
            options.pop(name)
        return function(*args, **options)

    return called


def _defaults(original: Path) -> Iterator[Path]:
    """The defaults.py of the copies of Dassl in a repository, or beside the folder that is run."""
    beside = (
        [original.parent] if (original.parent / ".git").exists() else []
    )  # a folder of a repository that holds both
    for folder in (original, *beside):
        yield from sorted(
            [*folder.glob("dassl/config/defaults.py"), *folder.glob("[Dd]assl*/dassl/config/defaults.py")]
        )


def _assigned(file: Path) -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of each line `_C.A.B = value` whose value is written out."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8", errors="replace"))
    except (OSError, SyntaxError, ValueError):
        return
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Attribute):
            root, _, name = ast.unparse(node.targets[0]).partition(".")
            if root == "_C":
                try:
                    yield name, ast.literal_eval(node.value)
                except ValueError:  # a node of its own, whose keys come next
                    continue
