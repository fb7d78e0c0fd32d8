"""The place of a data set on this disk: its folders, the files that are missing, one file under two classes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from promptkd.data.splits import Listing
from promptkd.home import shown_command

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".rar", ".7z")


@dataclass(frozen=True)
class Layout:
    """The folders of a data set on this disk."""

    root: Path  # DATASET.ROOT
    folder: Path  # the data set's own folder
    images: Path  # folder from which the split's paths count
    moved: Mapping[str, str] = field(default_factory=dict)  # path in the split, or its first part -> place on this disk

    def path(self, relative: str) -> str:
        """The path on this disk of a path in the split."""
        head, slash, rest = relative.partition("/")
        return os.path.join(self.images, self.moved.get(relative) or self.moved.get(head, head) + slash + rest)

    @property
    def resolver(self) -> Callable[[str], str]:
        """A function that does the same as `path`; where no file has moved, a million files take it a second."""
        return self.path if self.moved else f"{self.images}{os.sep}".__add__

    def find(self, *patterns: str) -> Path | None:
        """The first file that fits a pattern: beside the images, in the data set's folder, above it up to the root.

        None where no file does.
        """
        above = [folder for folder in self.folder.parents if folder.is_relative_to(self.root)]
        for place in dict.fromkeys((self.images.parent, self.folder, *above, self.images)):
            for pattern in patterns:
                for path in sorted(place.glob(pattern)):
                    return path
        return None

    def file(self, *patterns: str) -> Path:
        """The first file that fits a pattern, in the places of `find`.

        Raises:
            FileNotFoundError: there is none.
        """
        if path := self.find(*patterns):
            return path
        raise FileNotFoundError(
            f"{' or '.join(patterns)} is not in {self.folder}; {shown_command('data')} check says where to get it"
        )


def missing_files(layout: Layout, listing: Listing) -> list[str]:
    """The paths of the split that are not on disk. It lists each folder once, in place of looking up each image."""
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
    """Refuses a file that links bring into two classes: one of its labels would be wrong.

    Raises:
        ValueError: there is such a file; the message has both its paths.
    """
    real_folder = cache(os.path.realpath)
    first_uses: dict[str, tuple[str, int, str]] = {}
    for items in listing:
        for file, label, classname in items:
            folder, _, base = (path := layout.path(file)).rpartition(os.sep)
            real = os.path.realpath(path) if os.path.islink(path) else os.path.join(real_folder(folder), base)
            other, other_label, other_name = first_uses.setdefault(real, (file, label, classname))
            if other_label != label:
                raise ValueError(
                    f"{name}: {other} (class {other_name!r}) and {file} (class {classname!r}) are the same file, "
                    f"{real}, by a link; remove one of the two"
                )


def packed_text(folders: Iterable[Path]) -> str:
    """What to do about archives or Parquet files in the folders where a data set's images are expected; "" for none."""
    for folder in dict.fromkeys(folders):
        for pattern in ("*.parquet", "data/*.parquet"):
            if any(folder.glob(pattern)):
                return (
                    f"{folder} holds Parquet files, a Hugging Face export without the published file names: "
                    f"{shown_command('data')} unpack {folder} --out FOLDER makes class folders of them, for "
                    "DATASET.NAME Folder; for the published split "
                )
        archives = sorted(path.name for kind in ARCHIVES for path in folder.glob(f"*{kind}"))
        if archives:
            return f"unpack {', '.join(archives[:5])} in {folder}, or "
    return ""


def entries_text(root: Path, folders: list[Path]) -> str:
    """The entries of the first of these folders that exists, else of the root, for a message."""
    folder = next((folder for folder in folders if folder.is_dir()), root)
    entries = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    shown = ", ".join(entries[:8]) + (f" and {len(entries) - 8} more" if len(entries) > 8 else "")
    return f"{folder.name if folder != root else 'it'} holds {shown or 'nothing'}"
