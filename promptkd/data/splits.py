"""Lists of images: split files, the published random splits, few-shot draws, class groups.

Everything here is a plain function of lists. An item is `(path, label, class name)` with a POSIX path relative to the
data set's image folder, as in the field's `split_zhou_*.json` files; a `Listing` is the three lists of such a file. No
function touches Python's global random state: each draw uses a new `random.Random(seed)`, which gives the picks of the
published code after `random.seed(seed)`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from promptkd.bounded import shown
from promptkd.data.folders import list_folders, list_images
from promptkd.data.reading import read_json
from promptkd.files import write_json

if TYPE_CHECKING:
    from dassl.data.datasets import Datum

log = logging.getLogger(__name__)

Item = tuple[str, int, str]
SUBSAMPLES = ("all", "base", "new")


class Listing(NamedTuple):
    """The images of a data set, over all its classes; `val` is empty where the data set has no validation images."""

    train: list[Item]
    val: list[Item]
    test: list[Item]


def store_if_possible(value: Any, path: Path, what: str) -> bool:
    """Writes a JSON file that can be made again; a folder that cannot be written to gets a warning, and no error.

    Args:
        value: the file's content.
        path: of the file.
        what: its name in the warning ("The split").

    Returns:
        Whether it is written.
    """
    try:
        write_json(path, value, indent=0)
    except OSError as error:
        log.warning(
            "%s is not stored, %s cannot be written to (%s); it will be made again", what, path.parent, error.strerror
        )
        return False
    return True


def read_split(path: Path) -> Listing:
    """Reads a split file, `{"train": [[path, label, class name], ...], "val": ..., "test": ...}`.

    Raises:
        ValueError: the file is not JSON, a list is missing, or an entry is not (path, label, class name) with a path
            inside the image folder.
    """
    content = read_json(path)
    absent = [name for name in Listing._fields if not isinstance(content, dict) or name not in content]
    if absent:
        raise ValueError(f"{path} has no list {', '.join(absent)}; a split file holds train, val and test")
    return Listing(*(_items(content[name], f"{path}: {name}") for name in Listing._fields))


def _items(entries: Any, where: str) -> list[Item]:
    """The items of a list in a split file; raises ValueError for an entry that is none."""
    if not isinstance(entries, list):
        raise ValueError(f"{where} is {shown(entries)}, not a list of [path, label, class name]")
    items = []
    for number, entry in enumerate(entries):
        try:
            file, label, classname = entry
            file = file.replace("\\", "/")  # files written by the published code on Windows
            if not isinstance(classname, str) or isinstance(label, bool) or label != int(label):
                raise TypeError
            os.fsencode(file)  # a lone surrogate is no byte of any name
        except (TypeError, ValueError, AttributeError, OverflowError):
            raise ValueError(f"{where}[{number}] is {shown(entry)}, not [path, label, class name]") from None
        if "\0" in file or file.startswith("/") or ":" in file.split("/")[0] or ".." in file.split("/"):
            raise ValueError(f"{where}[{number}]: path {shown(file)} leaves the image folder")
        items.append((file, int(label), classname))
    return items


def digest(*lists: Iterable[Item]) -> str:
    """The SHA-256 of lists of items: over paths, labels and class names, in order."""
    sha = hashlib.sha256()
    for items in lists:
        # NUL is in no path and no name, so that no two lists give the same bytes.
        text = "".join(f"{file}\0{label}\0{name}\0" for file, label, name in items)
        sha.update(text.encode("utf-8", "surrogateescape"))
        sha.update(b"\0\0")
    return sha.hexdigest()


def random_split(files: Mapping[int, Sequence[str]], names: Mapping[int, str], seed: int = 1) -> Listing:
    """The published 50/20/30 split of each class: shuffle its files, then cut.

    Args:
        files: the files of each label, in the order in which they are to be shuffled. One random state runs through
            the labels in the mapping's order. (The published code shuffles in the file system's own order, which
            differs between machines; sorted lists give the same split everywhere.)
        names: class name of each label.

    Raises:
        ValueError: a class has too few images for the three parts.
    """
    rng = random.Random(seed)
    split = Listing([], [], [])
    for label, paths in files.items():
        shuffled = list(paths)
        rng.shuffle(shuffled)
        # round() halves to even, as the published code does: 13 images give 6/3/4.
        train, val = round(0.5 * len(shuffled)), round(0.2 * len(shuffled))
        parts = shuffled[:train], shuffled[train : train + val], shuffled[train + val :]
        if not all(parts):
            raise ValueError(
                f"class {names[label]!r} has {len(shuffled)} images, too few for a 50/20/30 split; is it all there?"
            )
        for items, part in zip(split, parts, strict=True):
            items.extend((path, label, names[label]) for path in part)
    return split


def split_by_folder(
    images: Path, renamed: Mapping[str, str] | None = None, ignored: Iterable[str] = (), seed: int = 1
) -> Listing:
    """The 50/20/30 split of a tree with one folder per class; labels follow the sorted folder names."""
    folders = [name for name in list_folders(images) if name not in set(ignored)]
    if not folders:
        raise ValueError(f"{images} has no class folders; is the download whole?")
    files = {
        label: [f"{folder}/{name}" for name in list_images(images / folder)] for label, folder in enumerate(folders)
    }
    return random_split(files, dict(enumerate((renamed or {}).get(name, name) for name in folders)), seed)


def split_trainval(items: Sequence[Item], val_fraction: float = 0.2, seed: int = 1) -> tuple[list[Item], list[Item]]:
    """Cuts a validation part out of an official training list, per class, as published: shuffle, then the first part.

    Returns:
        (train, val); both run class by class, in the order in which the classes first appear.
    """
    rng = random.Random(seed)
    train: list[Item] = []
    val: list[Item] = []
    for group in by_label(items).values():
        shuffled = list(group)
        rng.shuffle(shuffled)
        cut = round(len(shuffled) * val_fraction)
        if cut == 0:
            raise ValueError(
                f"class {group[0][2]!r} has {len(group)} training images, too few to keep "
                f"{val_fraction:.0%} for validation; is the download whole?"
            )
        val.extend(shuffled[:cut])
        train.extend(shuffled[cut:])
    return train, val


def by_label(items: Iterable[Item]) -> dict[int, list[Item]]:
    """Groups items by label; labels in order of first appearance."""
    groups: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        groups[item[1]].append(item)
    return dict(groups)


def draw_few_shot(items: Sequence[Item], shots: int, rng: random.Random) -> list[Item]:
    """Draws `shots` items of each class, without repeats; a class that has fewer keeps all of them."""
    chosen: list[Item] = []
    for group in by_label(items).values():
        chosen.extend(rng.sample(group, shots) if len(group) >= shots else group)
    return chosen


def base_new_labels(n: int) -> tuple[list[int], list[int]]:
    """The labels of the base classes, which are the first ceil(n/2) of n, and those of the new classes, the rest."""
    half = (n + 1) // 2
    return list(range(half)), list(range(half, n))


def class_groups(n: int) -> dict[str, list[int]]:
    """The labels of each class group of n classes: "all", "base", "new"."""
    base, new = base_new_labels(n)
    return {"all": base + new, "base": base, "new": new}


def subsample_classes(*lists: Sequence[Datum], subsample: str = "all") -> list[list[Datum]]:
    """Selects one class group of each list, and numbers its labels from 0.

    Raises:
        ValueError: an unknown group, or "new" of a data set with one class.
    """
    from dassl.data.datasets import Datum  # brings torch, which most uses of this module do without

    if subsample not in SUBSAMPLES:
        raise ValueError(f"DATASET.SUBSAMPLE_CLASSES is {subsample!r}; choose one of {', '.join(SUBSAMPLES)}")
    if subsample == "all":
        return [list(data) for data in lists]
    labels = sorted({datum.label for data in lists for datum in data})
    chosen = [labels[position] for position in class_groups(len(labels))[subsample]]
    if not chosen:
        raise ValueError(f"DATASET.SUBSAMPLE_CLASSES is {subsample!r}, but the data set has only {len(labels)} class")
    number = {label: position for position, label in enumerate(chosen)}
    return [
        [Datum(d.impath, number[d.label], d.domain, d.classname) for d in data if d.label in number] for data in lists
    ]
