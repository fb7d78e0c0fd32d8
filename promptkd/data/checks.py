"""Checks of a data set before anything is loaded, and where its files are on this disk."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from promptkd.data.splits import Listing


@dataclass(frozen=True)
class Layout:
    """Where a data set was found on this disk."""

    root: Path  # DATASET.ROOT
    folder: Path  # the data set's own folder
    images: Path  # what the split's paths are relative to
    moved: Mapping[str, str] = field(default_factory=dict)  # a split's path, or its first part -> where it is here

    def path(self, relative: str) -> str:
        """Path on this disk of an item of the split."""
        head, slash, rest = relative.partition("/")
        return os.path.join(self.images, self.moved.get(relative) or self.moved.get(head, head) + slash + rest)

    @property
    def resolver(self) -> Callable[[str], str]:
        """`path`, or what does the same for a million files in a second."""
        return self.path if self.moved else f"{self.images}{os.sep}".__add__

    def find(self, *patterns: str) -> Path | None:
        """The first file that fits a pattern: beside the images, in the data set's folder, above it up to the root."""
        above = [folder for folder in self.folder.parents if folder.is_relative_to(self.root)]
        for place in dict.fromkeys((self.images.parent, self.folder, *above, self.images)):
            for pattern in patterns:
                for path in sorted(place.glob(pattern)):
                    return path
        return None

    def file(self, *patterns: str) -> Path:
        """As `find`, for a file that must be there.

        Raises:
            FileNotFoundError: no such file.
        """
        if path := self.find(*patterns):
            return path
        raise FileNotFoundError(
            f"{' or '.join(patterns)} is not in {self.folder}; python tools/data.py check says where to get it"
        )


def check_listing(
    name: str,
    listing: Listing,
    optional_parts: Sequence[str] = (),
    test_gaps_allowed: bool = False,
    same_names_allowed: bool = False,
) -> None:
    """Check a split before anything is loaded.

    Args:
        name: of the data set, for the messages.
        listing: the split.
        optional_parts: parts of the split that may be empty.
        test_gaps_allowed: whether classes without test images are worth a line only.
        same_names_allowed: whether equal class names are worth a line only.

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
            shown = ", ".join(repr(names[label]) for label in absent[:10])
            text = f"{name}: {len(absent)} of {len(names)} classes have no {part} images: {shown}"
            if part == "train" or not test_gaps_allowed:
                raise ValueError(text)
            print(text)
    check_classnames(name, [names[label] for label in range(len(names))], same_names_allowed)


def check_classnames(name: str, classnames: Sequence[str], same_names_allowed: bool = False) -> None:
    """Check class names.

    Raises:
        ValueError: fewer than two, an empty name, or names that CLIP cannot tell apart.
    """
    if len(classnames) < 2:
        raise ValueError(f"{name}: {len(classnames)} class ({', '.join(classnames)}); a classifier needs two at least")
    if "" in map(str.strip, classnames):
        raise ValueError(f"{name}: class {[c.strip() for c in classnames].index('')} has an empty name")
    if same := same_names(classnames):
        shown = "; ".join(" = ".join(map(repr, group)) for group in same[:5])
        if not same_names_allowed:
            raise ValueError(f"{name}: class names that CLIP cannot tell apart: {shown}; give each class its own name")
        print(f"{name}: class names that CLIP cannot tell apart, as published: {shown}")


def same_names(classnames: Sequence[str]) -> list[list[str]]:
    """Groups of class names that CLIP cannot tell apart."""
    groups: dict[str, list[str]] = defaultdict(list)
    for classname in classnames:
        groups[clip_name(classname)].append(classname)
    return [group for group in groups.values() if len(group) > 1]


def clip_name(classname: str) -> str:
    """What CLIP sees of a class name: case, "_", space, invisible characters and an accent's encoding do not count."""
    return " ".join(unicodedata.normalize("NFC", without_invisible(classname)).replace("_", " ").casefold().split())


def without_invisible(text: str) -> str:
    """Without characters that do not show, such as a zero-width space; joiners, which change how letters look, stay."""
    return "".join(char for char in text if unicodedata.category(char) != "Cf" or char == "\u200d")


def missing_files(layout: Layout, listing: Listing) -> list[str]:
    """Paths of the split that are not on disk. One directory listing a folder, not one look-up an image."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for items in listing:
        for file, _, _ in items:
            folder, _, name = file.rpartition("/")
            wanted[folder].add(name)
    missing = []
    for folder, names in wanted.items():
        try:
            present = set(os.listdir(layout.path(folder)))
        except (FileNotFoundError, NotADirectoryError):
            present = set()
        missing += [f"{folder}/{name}".lstrip("/") for name in sorted(names - present)]
    # Looked up one by one as well: a file system may ignore case or compose accents differently.
    return [file for file in missing if not os.path.isfile(layout.path(file))]


def refuse_two_classes(name: str, layout: Layout, listing: Listing) -> None:
    """Links may lead to one file from many places, but not to two labels for it.

    Raises:
        ValueError: a file that two classes have, with both its paths.
    """
    real_folder = cache(os.path.realpath)
    owners: dict[str, tuple[str, int, str]] = {}
    for items in listing:
        for file, label, classname in items:
            folder, _, base = (path := layout.path(file)).rpartition(os.sep)
            real = os.path.realpath(path) if os.path.islink(path) else os.path.join(real_folder(folder), base)
            other, other_label, other_name = owners.setdefault(real, (file, label, classname))
            if other_label != label:
                raise ValueError(
                    f"{name}: {other} (class {other_name!r}) and {file} (class {classname!r}) are the same file, "
                    f"{real}, by a link; remove one of the two"
                )


def sizes_text(sizes: tuple[int, ...]) -> str:
    """ "13,500 train / 5,400 val / 8,100 test"."""
    return " / ".join(f"{size:,} {part}" for size, part in zip(sizes, Listing._fields, strict=True))
