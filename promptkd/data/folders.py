"""Folders and images in a folder, without what systems and archives leave there; and a line on what is left out."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from promptkd.data.formats import HEIF_ADVICE, is_image, unusual
from promptkd.texts import plain

log = logging.getLogger(__name__)

# Folders that are neither classes nor hold images, in lower case; hidden ones (.git, .Trash-1000) are left out anyway.
JUNK = frozenset(
    (
        *("__macosx", "temporary items", "network trash folder", "thevolumesettingsfolder"),  # macOS, AppleShare
        *("$recycle.bin", "recycler", "recycled", "system volume information", "$extend", "msocache"),  # Windows
        "lost+found",  # Linux
        *("@eadir", "#recycle", "#snapshot", "@tmp", "@sharebin", "@syncthing"),  # Synology
        *("@recycle", "@recently-snapshot", "@__thumb", "~snapshot"),  # QNAP, NetApp
        *("__pycache__", "ipynb_checkpoints"),
    )
)
_REPAIRED = re.compile(r"found\.\d{3}")  # of Windows' disk check


def is_junk(name: str) -> bool:
    """Whether a folder is hidden, or one that systems, archives and storage boxes leave beside or inside data."""
    lower = name.lower()
    return name.startswith(".") or lower in JUNK or _REPAIRED.fullmatch(lower) is not None


@dataclass
class LeftOut:
    """What listings leave out, added up over the folders of a data set for one line each kind.

    Attributes:
        junk: paths of folders that are no data.
        pictures: kinds of pictures that are not read (".heic", ".jpg~ (JPEG)") -> their number.
    """

    junk: set[str] = field(default_factory=set)
    pictures: Counter[str] = field(default_factory=Counter)

    def report(self, name: str = "") -> None:
        """Logs what was left out of a data set of that name, in a line each for pictures and folders."""
        front = f"{name}: " if name else ""
        if self.pictures:
            kinds = ", ".join(f"{number:,} {kind}" for kind, number in self.pictures.most_common(8))
            advice = f"; {HEIF_ADVICE}" if {".heic", ".heif", ".hif", ".avif"} & set(self.pictures) else ""
            total = sum(self.pictures.values())
            log.warning(
                "%sleft out %d files that are pictures and have no image's suffix: %s%s", front, total, kinds, advice
            )
        if self.junk:
            names_of = Counter(os.path.basename(path) for path in self.junk)
            names = ", ".join(f"{folder} ({number})" for folder, number in sorted(names_of.items())[:8])
            log.info("%sleft out folders that hold no data: %s", front, names)


def list_images(folder: Path) -> list[str]:
    """The names of the image files in a folder, sorted."""
    return sorted(name for name in os.listdir(folder) if is_image(name))


def list_folders(folder: Path, left: LeftOut | None = None) -> list[str]:
    """The names of the subfolders (links to folders included), sorted, without hidden and other folders of no data.

    Args:
        folder: to be listed.
        left: gets the names of folders of no data, hidden ones apart.
    """
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _is_folder(entry):
                continue
            if not is_junk(entry.name):
                names.append(entry.name)
            elif left is not None and not entry.name.startswith("."):
                left.junk.add(entry.path)
    return sorted(names)


def walk_images(folder: Path, left: LeftOut | None = None) -> list[str]:
    """The POSIX paths of the images in a folder and below it, sorted; a folder reached twice by links counts once.

    A link to a folder above is not followed: it would bring the folder's neighbours into it. Links that lead to no
    file are left out, and so are folders of no data (`is_junk`) and pictures that cannot be read (`unusual`).

    Args:
        folder: to be listed.
        left: gets what is left out; without it, lines say so.
    """
    seen = {_identity(above) for start in (folder.absolute(), folder.resolve()) for above in start.parents}
    omitted = LeftOut() if left is None else left
    dangling: list[str] = []

    def walk(inside: Path, prefix: str) -> Iterator[str]:
        if (identity := _identity(inside)) in seen:
            return
        seen.add(identity)
        with os.scandir(inside) as entries:
            # Folders before links to folders, so that a link never takes the place of the folder itself.
            ordered = sorted(entries, key=lambda entry: (entry.is_symlink(), entry.name))
        for entry in ordered:
            if _is_folder(entry):
                if not is_junk(entry.name):
                    yield from walk(inside / entry.name, f"{prefix}{entry.name}/")
                elif not entry.name.startswith("."):
                    omitted.junk.add(entry.path)
            elif entry.is_symlink() and not os.path.isfile(entry.path):
                dangling.extend([prefix + entry.name] if is_image(entry.name) else [])
            elif _is_used(entry, omitted):
                yield prefix + entry.name

    images = sorted(walk(folder, ""))
    if dangling:
        log.warning("left out %d links in %s that lead to no file, such as %s", len(dangling), folder, dangling[0])
    if left is None:
        omitted.report()
    return images


def innermost(folder: Path) -> Path:
    """A folder, or the one of its own name in it where that is all that it holds: images/images is such a place."""
    inside = folder / folder.name
    alone = inside.is_dir() and list_folders(folder) == [folder.name] and not list_images(folder)
    return inside if alone else folder


def kinds_in(folder: Path) -> list[str]:
    """The suffixes (or names, where there is none) of all files below a folder, sorted; for a message."""
    kinds: set[str] = set()
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_junk(name)]
        kinds |= {plain(os.path.splitext(name)[1] or name) for name in files}
    return sorted(kinds)


def _is_used(entry: os.DirEntry[str], left: LeftOut) -> bool:
    """Whether an entry that is no folder is an image that is used; notes where a picture is not."""
    if entry.name.startswith(".") or not entry.is_file():
        return False
    if is_image(entry.name):
        return True
    used, kind = unusual(entry.path, entry.name)
    if kind:
        left.pictures[kind] += 1
    return used


def _identity(folder: Path) -> tuple[int, int]:
    """A folder's device and number, which are the same by every path and link to it."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; for a link to itself, `entry.is_dir()` would raise an OSError."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
