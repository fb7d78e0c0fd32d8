"""The parts of a data set (images, split, lists): whether they are on disk, and their download."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY
from promptkd import logs
from promptkd.data.benchmark import BenchmarkDataset
from promptkd.data.download.fetch import fetch
from promptkd.data.download.sources import PARTS, Part
from promptkd.data.layout import missing_files
from promptkd.errors import describe

log = logging.getLogger(__name__)


def is_present(part: Part, kind: type[BenchmarkDataset], root: Path) -> bool:
    """Whether a part of a data set is on disk, or not needed; for the images: whether all those of the split are.

    Raises:
        PermissionError: a folder cannot be read, so that the answer is not known.
    """
    if part.present:
        patterns = (*part.present, *filter(None, [part.unless]))
        folders = [folder for folder in (root, *kind.folders(root)) if os.path.isdir(folder)]
        return any(next(folder.glob(pattern), None) for folder in folders for pattern in patterns)
    try:
        layout = kind.find(root)
    except FileNotFoundError:
        return False
    if kind.listed_from_disk:
        return True
    try:
        with logs.collected():  # that a split is built is no news here
            listing, _ = kind.read(layout)
    except PermissionError:
        raise
    except Exception:  # its lists are missing or damaged: another part
        return True
    return not missing_files(layout, listing)


def advice(part: Part, kind: type[BenchmarkDataset]) -> str:
    """A line about a part: its name, its sources, and the folder each goes to."""
    note = f" ({part.note})" if part.note else ""
    sources = " or ".join(f"{address(source.url)} -> {source.to}" for source in part.sources)
    return f"{part_name(part, kind)}{note}{': ' if sources else ''}{sources}"


def part_name(part: Part, kind: type[BenchmarkDataset]) -> str:
    """A part's name in messages: its file, or "images of EuroSAT"."""
    return part.present[0] if part.present else f"images of {kind.__name__}"


def address(url: str) -> str:
    """A source's address in a form that a browser opens."""
    return url.replace("gdrive:", "https://drive.google.com/file/d/")


def download(name: str, root: Path, keep: bool = False, again: bool = False, domain: str = "") -> list[str]:
    """Downloads the parts of a data set that are missing or not whole, each from the first source that works.

    Args:
        name: the registered name.
        root: the folder that holds the data sets.
        keep: whether archives stay after they are unpacked.
        again: whether parts that look whole are downloaded as well, for files that they lack.
        domain: of a data set with domains: this one alone.

    Returns:
        A line for each part that could not be downloaded.

    Raises:
        ValueError: the data set is not one that is downloaded.
    """
    root, kind = root.expanduser().absolute(), DATASET_REGISTRY.get(name)
    if name not in PARTS:
        raise ValueError(f"{name} is not downloaded; it is bundled, or your own images")
    root.mkdir(parents=True, exist_ok=True)
    parts = [part for part in PARTS[name] if not domain or part.domain in ("", domain)]
    images = parts[0]
    present = is_present(images, kind, root)
    missed = [part for part in parts if not _download_part(part, kind, root, keep, again)]
    if present and not is_present(images, kind, root) and not _download_part(images, kind, root, keep):
        missed.append(images)  # the published split came after them, and lists images that are missing
    with contextlib.suppress(OSError):
        (root / ".downloads").rmdir()  # where no unfinished download is left to go on from
    return [advice(part, kind) for part in missed]


def _download_part(part: Part, kind: type[BenchmarkDataset], root: Path, keep: bool, again: bool = False) -> bool:
    """Downloads a part unless it is present; returns whether it is present now."""
    name = part_name(part, kind)
    if is_present(part, kind, root) and not (again and part.sources):
        state = "there already, or not needed;" if part.unless else "there already,"
        log.info("%s: %s left as it is", name, state)
        return True
    for source in part.sources:
        log.info("%s: from %s", name, address(source.url))
        try:
            log.info("%s: %s files added under %s", name, f"{fetch(source, root, keep):,}", root / source.to)
            return True
        except (OSError, ValueError) as error:
            log.warning("%s: %s", name, describe(error))
    return False
