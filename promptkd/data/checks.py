"""Checks of a split and of class names, before anything is loaded."""

from __future__ import annotations

import logging
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from promptkd.bounded import shown
from promptkd.data.splits import Listing
from promptkd.texts import clipped, is_utf8, path_text

log = logging.getLogger(__name__)


def check_listing(
    name: str,
    listing: Listing,
    optional_parts: Sequence[str] = (),
    test_gaps_allowed: bool = False,
    same_names_allowed: bool = False,
) -> None:
    """Refuses a split that cannot be used.

    Args:
        name: the data set's name, for the messages.
        listing: the split.
        optional_parts: parts of the split that may be empty.
        test_gaps_allowed: whether classes without test images get a warning and no error.
        same_names_allowed: whether equal class names get a line and no error.

    Raises:
        ValueError: an empty split, labels that are not 0..n-1, one label with two names, a class without images in
            train or test, or class names that CLIP cannot tell apart.
    """
    sizes = sizes_text(tuple(len(items) for items in listing))
    for part, items in zip(listing._fields, listing, strict=True):
        if not items and part not in optional_parts:
            raise ValueError(f"{name}: the {part} split is empty ({sizes} images); is the download whole?")
    names: dict[int, str] = {}
    for items in listing:
        for _, label, classname in items:
            if names.setdefault(label, classname) != classname:
                raise ValueError(f"{name}: label {label} is named both {names[label]!r} and {classname!r}")
    if sorted(names) != list(range(len(names))):
        gaps = sorted(set(range(max(names) + 1)) - set(names)) or [min(names)]
        raise ValueError(f"{name}: labels are not 0..{len(names) - 1}; first odd one: {gaps[0]}")
    for part, items in (("train", listing.train), ("test", listing.test)):
        if items and (absent := sorted(set(names) - {label for _, label, _ in items})):
            few = ", ".join(repr(names[label]) for label in absent[:10])
            text = f"{name}: {len(absent)} of {len(names)} classes have no {part} images: {few}"
            if part == "train" or not test_gaps_allowed:
                raise ValueError(text)
            log.warning(text)
    check_classnames(name, [names[label] for label in range(len(names))], same_names_allowed)


def check_classnames(name: str, classnames: Sequence[str], same_names_allowed: bool = False) -> None:
    """Refuses class names that CLIP cannot classify by.

    Raises:
        ValueError: fewer than two, an empty name, one that is not UTF-8, or names that CLIP cannot tell apart.
    """
    check_utf8(name, classnames)
    if len(classnames) < 2:
        raise ValueError(
            f"{name}: {len(classnames)} class ({clipped(', '.join(classnames), 80)}); a classifier needs two at least"
        )
    if "" in map(str.strip, classnames):
        raise ValueError(f"{name}: class {[c.strip() for c in classnames].index('')} has an empty name")
    if same := same_names(classnames):
        several = "; ".join(" = ".join(map(shown, group[:3])) for group in same[:5])
        if not same_names_allowed:
            raise ValueError(
                f"{name}: class names that CLIP cannot tell apart: {several}; give each class its own name"
            )
        log.info("%s: class names that CLIP cannot tell apart, as published: %s", name, several)


def check_utf8(name: str, classnames: Sequence[str]) -> None:
    """Raises ValueError for class names, of folders for instance, that are not UTF-8: CLIP reads text."""
    if strange := [classname for classname in classnames if not is_utf8(classname)]:
        raise ValueError(
            f"{name}: {len(strange)} class names are not UTF-8: {', '.join(map(path_text, strange[:10]))}; rename the "
            "folders, or name them in classnames.txt (a line is the folder as it is written here, a space, its name)"
        )


def same_names(classnames: Sequence[str]) -> list[list[str]]:
    """Groups of class names that CLIP cannot tell apart."""
    groups: dict[str, list[str]] = defaultdict(list)
    for classname in classnames:
        groups[clip_name(classname)].append(classname)
    return [group for group in groups.values() if len(group) > 1]


def clip_name(classname: str) -> str:
    """A class name as CLIP sees it: case, "_", space, invisible characters and an accent's encoding do not count."""
    return " ".join(unicodedata.normalize("NFC", without_invisible(classname)).replace("_", " ").casefold().split())


def without_invisible(text: str) -> str:
    """A text without invisible characters, such as a zero-width space; joiners, which change how letters look, stay."""
    return "".join(char for char in text if unicodedata.category(char) != "Cf" or char == "\u200d")


def sizes_text(sizes: tuple[int, ...]) -> str:
    """Numbers of train, val and test images as a text: "13,500 train / 5,400 val / 8,100 test"."""
    return " / ".join(f"{size:,} {part}" for size, part in zip(sizes, Listing._fields, strict=True))
