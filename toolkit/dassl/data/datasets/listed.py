"""Images of class folders and of list files, as items of a domain."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from dassl.utils import listdir_nohidden

from .base_dataset import Datum

LONGEST_LIST = 2**27  # bytes of a list file; DomainNet's longest has 5 MB


def root_of(root: str, folder: str) -> str:
    """The folder of a data set under DATASET.ROOT.

    Raises:
        FileNotFoundError: it is not there.
    """
    path = os.path.join(os.path.abspath(os.path.expanduser(root)), folder)
    if not os.path.isdir(path):
        raise FileNotFoundError(f"no folder {path}; set DATASET.ROOT to the folder that holds {folder}")
    return path


def class_folder_items(folder: str, domain: int = 0, lower: bool = False) -> list[Datum]:
    """The images of a folder of class folders, labels in the order of the names.

    Args:
        lower: whether class names are written in lower case.

    Raises:
        FileNotFoundError: no such folder.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"no folder {folder}")
    items = []
    names = [name for name in listdir_nohidden(folder, sort=True) if os.path.isdir(os.path.join(folder, name))]
    for label, name in enumerate(names):
        paths = [os.path.join(folder, name, image) for image in listdir_nohidden(os.path.join(folder, name), sort=True)]
        items += [Datum(path, label, domain, name.lower() if lower else name) for path in paths]
    return items


def domain_folder_items(folder: str, domains: Sequence[str], lower: bool = False) -> list[Datum]:
    """The images of several domains, each a folder of class folders."""
    folders = enumerate(os.path.join(folder, name) for name in domains)
    return [item for domain, one in folders for item in class_folder_items(one, domain, lower)]


def list_lines(path: str) -> Iterator[tuple[str, int]]:
    """(path, label) of each line `path label` of a list file; paths may hold spaces.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is too long, or a line ends in no whole number, or leads out of its folder.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no list {path}")
    if os.path.getsize(path) > LONGEST_LIST:
        raise ValueError(f"{path} is too long for a list of images")
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        name, _, label = line.strip().rpartition(" ")
        if not line.strip():
            continue
        if not name or not label.isdigit() or os.path.isabs(name) or ".." in name.split("/"):
            raise ValueError(f"{path}, line {number}: write the path of an image, a space and its label")
        yield name, int(label)
