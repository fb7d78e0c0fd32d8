"""Names of the parts of a split: train, val and test under the names that archives and lists give them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

PARTS = {  # part -> its plain names, which are parts wherever they stand
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
_WORDS = {  # word in a longer name ("seg_train", "training_set", "val2017", "TrainImages") -> part
    **{word: part for part, words in PARTS.items() for word in words},
    **{"trn": "train", "trainset": "train", "traindata": "train", "dev": "val", "valset": "val"},
    **{"testset": "test", "testdata": "test", "tst": "test", "holdout": "test", "eval": "test", "evaluation": "test"},
}
# Words that say no more than "part": a class is hardly called "train images" or "test set".
_FILLING = frozenset(
    "set sets data dataset image images img imgs picture pictures photo photos split splits part folder dir files "
    "full all final the of for".split()
)


def plain_part(name: str) -> str:
    """The part that a plain name stands for, in any case: "Training" is train; "" for other names."""
    return next((part for part, names in PARTS.items() if name.strip().lower() in names), "")


def part_in(name: str) -> tuple[str, str]:
    """The part that a longer name holds, and what is left of the name.

    Examples: "seg_train" is ("train", "seg"), "test_set" and "val2017" are ("test", "") and ("val", ""), "bullet_train"
    is ("train", "bullet"), "forest" is ("", "forest").
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = [word for word in re.split(r"[^a-zA-Z]+", spaced) if word]
    words = [word.lower() for word in words]
    found = {_WORDS[word] for word in words if word in _WORDS}
    if len(found) != 1:
        return "", name
    rest = [word for word in words if word not in _WORDS and word not in _FILLING]
    return found.pop(), " ".join(rest)


def longer_parts(folders: Mapping[str, Collection[str]]) -> dict[str, str]:
    """The parts among folders whose names hold more than the part: part -> folder.

    They are parts where they hold the same classes, and differ in the word for the part alone: seg_train and seg_test,
    training_set and test_set. A class "bullet_train" beside "test tube" is none.

    Args:
        folders: name of each folder -> names of the folders in it.

    Raises:
        ValueError: two folders are the same part of the same classes.
    """
    by_rest: dict[str, dict[str, list[str]]] = {}
    for name, inside in folders.items():
        part, rest = part_in(name)
        if part and inside:
            by_rest.setdefault(rest, {}).setdefault(part, []).append(name)
    for parts in by_rest.values():
        if "train" not in parts or (len(parts) == 1 and len(folders) > 1):
            continue
        trained = {name for folder in parts["train"] for name in folders[folder]}
        others = [set(folders[folder]) for part, names in parts.items() if part != "train" for folder in names]
        if any(len(inside & trained) * 2 < len(inside) for inside in others):
            continue
        for part, names in parts.items():
            if len(names) > 1:
                raise ValueError(f"{' and '.join(names)} are both {part}; put what is {part} into one of them")
        return {part: names[0] for part, names in parts.items()}
    return {}


def alike(folders: Mapping[str, Collection[str]]) -> list[str]:
    """The names that all folders hold, where they hold nearly the same two or more: such folders are hardly classes.

    Args:
        folders: name of each folder -> names of the folders in it.
    """
    inside = [set(names) for names in folders.values()]
    if len(inside) < 2:
        return []
    common, whole = set.intersection(*inside), set.union(*inside)
    return sorted(common) if len(common) >= 2 and 4 * len(common) >= 3 * len(whole) else []
