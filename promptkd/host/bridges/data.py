"""The data sets of a repository: ours in their place, where both read one layout."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

from promptkd.host.bridges import Crossing

# What a data set of CoOp's form says of itself; one that says more may be read for it by its trainer.
_ATTRIBUTES = {"dataset_dir", "image_dir", "split_path", "split_fewshot_dir", "anno_file", "meta_file", "label_file",
               "lab2cname", "cname2lab", "domains"}  # fmt: skip
_PARTS = {"train_x", "val", "test"}


def data_sets(crossing: Crossing) -> None:
    """Ours in the place of a repository's data set of the same name, where both read the same folders and split file.

    With them come all layouts and few-shot lists of ours, and Emoji. A class of theirs that gives its trainer more
    than train_x, val and test stays. --data ours or theirs decides it.
    """
    from dassl.data.datasets import DATASET_REGISTRY
    from promptkd import guests

    guests.register_datasets()
    ours = dict(DATASET_REGISTRY._objects)
    DATASET_REGISTRY._objects.clear()
    find, names = DATASET_REGISTRY.get, DATASET_REGISTRY.registered_names

    def chosen(name: str) -> Any:
        theirs = DATASET_REGISTRY._objects.get(name)
        mine = ours.get(name)
        if mine is None or crossing.data == "theirs":
            return find(name)
        reason = "" if theirs is None or crossing.data == "ours" else difference(theirs, mine)
        if reason:
            print(f"data: {name} is the repository's own ({reason})", flush=True)
            return theirs
        crossing.note("data_sets", f"{name} is this project's")
        return mine

    def all_names() -> list[str]:
        return [*names(), *(name for name in ours if name not in names())]

    DATASET_REGISTRY.get = chosen  # type: ignore[method-assign]
    DATASET_REGISTRY.registered_names = all_names  # type: ignore[method-assign]


def difference(theirs: type, ours: type) -> str:
    """Why a repository's data set is not read by ours, in a few words; "" where both read one layout."""
    if getattr(theirs, "dataset_dir", None) != getattr(ours, "dataset_dir", ""):
        return "it lies in another folder"
    try:
        source = textwrap.dedent(inspect.getsource(theirs))
        tree = ast.parse(source)
    except (OSError, TypeError, SyntaxError):
        return "its source cannot be read"
    split = getattr(ours, "split_file", "")
    if split and split not in source:
        return f"it reads no {split}"
    more = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    } - _ATTRIBUTES
    if more:
        return f"it has {', '.join(sorted(more))}"
    parts = {
        keyword.arg or "**"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__"
        for keyword in node.keywords
    } - _PARTS
    return f"it gives {', '.join(sorted(parts))}" if parts else ""
