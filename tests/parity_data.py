"""Replays the data-set part of a golden set (`splits.json`) with our code; tests/parity.py prints the lines.

Nothing is taken from a golden set but its records: the image tree is rebuilt from the split file with empty files, so
that nothing is written into the set, and class names, seeds and shots are those of the records.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dassl.data.datasets import Datum
from promptkd.data.benchmark import BenchmarkDataset
from promptkd.data.splits import Item, Listing, random_split, read_split, split_by_folder, subsample_classes

Line = tuple[str, bool, str]


def replay_splits(golden_dir: Path) -> list[Line]:
    """Replay `fewshot`, `dataset` and `random_split`; returns (name, ok, detail) for each record.

    How the records map to our code:
        CoOp <group> <shots>: `train_x`, `test` and `classnames` of a data set with that SUBSAMPLE_CLASSES.
        PromptKD (all groups): train_x is `chosen.train`, which covers every class; in base2novel the recorded val and
            test lists are the base and the new test images, which are class groups of our one test list (new labels
            numbered from 0); in cross both are all test images.
        val of CoOp is not compared: that repository puts the test list there. The real val list is in `fewshot`.
    """
    golden = json.loads((golden_dir / "splits.json").read_text(encoding="utf-8"))
    split_file = min((golden_dir / "data").glob("*/split_zhou_*.json"))
    lines = []
    with tempfile.TemporaryDirectory() as root:
        replica = _replica(split_file, Path(root))
        for name, record in golden["fewshot"].items():
            shots, seed = (int("".join(filter(str.isdigit, part))) for part in name.split("_"))
            data = _construct(replica, root, shots, seed)
            got = {"train": _items(data, data.chosen.train), "val": _items(data, data.chosen.val)}
            lines.append(_line(f"fewshot/{name}", got, record))
        for name, record in golden["dataset"].items():
            lines.append(_line(f"dataset/{name}", *_exposed(replica, root, record)))
    for name, record in golden["random_split"].items():
        lines.append(_line(f"random_split/{name}", *_random(record, name == "sorted_listdir")))
    return lines


def _replica(split_file: Path, root: Path) -> type[BenchmarkDataset]:
    """A tree like the golden one with empty images, and the data set class that reads it."""
    folder = root / split_file.parent.name
    images = next((path.name for path in split_file.parent.iterdir() if path.is_dir()), "images")
    for items in read_split(split_file):
        for file, _, _ in items:
            (folder / images / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / images / file).touch()
    (folder / split_file.name).write_bytes(split_file.read_bytes())
    attributes = {"dataset_dir": folder.name, "image_dirs": (images,), "split_file": split_file.name}
    return type("Golden", (BenchmarkDataset,), attributes)


def _construct(
    kind: type[BenchmarkDataset], root: str, shots: int, seed: int, subsample: str = "all"
) -> BenchmarkDataset:
    options = {"ROOT": root, "NUM_SHOTS": shots, "SUBSAMPLE_CLASSES": subsample}
    return kind(SimpleNamespace(DATASET=_Options(options), SEED=seed))


class _Options(dict):
    """The two ways in which a CfgNode is read."""

    __getattr__ = dict.__getitem__


def _items(data: BenchmarkDataset, datums: list[Datum]) -> list[Item]:
    return [(Path(d.impath).relative_to(data.layout.images).as_posix(), d.label, d.classname) for d in datums]


def _exposed(kind: type[BenchmarkDataset], root: str, record: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    trainer, shots, seed, subsample, *modal = record["args"]
    # PromptKD's trainer builds its data over all classes, whatever SUBSAMPLE_CLASSES says
    data = _construct(kind, root, shots, seed, "all" if trainer == "PromptKD" else subsample)
    got = {"classnames": data.classnames, "num_classes": data.num_classes}
    got["lab2cname"] = {str(label): name for label, name in data.lab2cname.items()}
    if trainer != "PromptKD":
        lists = {"train_x": data.train_x, "test": data.test}
    elif modal == ["base2novel"]:
        parts = {part: subsample_classes(data.full.test, subsample=part)[0] for part in ("base", "new")}
        lists = {"train_x": data.chosen.train, "val": parts["base"], "test": parts["new"]}
    else:
        lists = {"train_x": data.chosen.train, "val": data.full.test, "test": data.full.test}
    got |= {name: _items(data, datums) for name, datums in lists.items()}
    return got, {name: record[name] for name in got}


def _random(record: dict[str, Any], sorted_tree: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The split built without a split file: from a tree where listings were sorted, else from the recorded order."""
    expected, order = record["split_json_written"], record["listdir_order"]
    names = {file.split("/")[0]: name for items in expected.values() for file, _, name in items}
    if sorted_tree:
        with tempfile.TemporaryDirectory() as root:
            for folder, files in order.items():
                (Path(root) / folder).mkdir(parents=True)
                for file in files:
                    (Path(root) / folder / file).touch()
            listing = split_by_folder(Path(root), names, seed=record["seed"])
    else:
        folders = sorted(order)
        files = {label: [f"{folder}/{file}" for file in order[folder]] for label, folder in enumerate(folders)}
        listing = random_split(files, dict(enumerate(names[folder] for folder in folders)), record["seed"])
    got = {part: getattr(listing, part) for part in Listing._fields}
    return got, {part: expected[part] for part in got}


def _line(name: str, got: dict[str, Any], expected: dict[str, Any]) -> Line:
    def plain(value: Any) -> Any:
        return json.loads(json.dumps(value))

    wrong = [key for key in got if plain(got[key]) != plain(expected[key])]
    if not wrong:
        sizes = ", ".join(f"{key} {len(value)}" for key, value in got.items() if isinstance(value, list))
        return name, True, f"equal ({sizes})"
    ours, theirs = plain(got[wrong[0]]), plain(expected[wrong[0]])
    if not isinstance(ours, list):
        return name, False, f"{wrong[0]} differs: {ours!r}, expected {theirs!r}"
    first = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), "at the end")
    return name, False, f"{', '.join(wrong)} differ; {wrong[0]} {len(ours)} of {len(theirs)}, first difference {first}"
