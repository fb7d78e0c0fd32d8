"""A user's labelled images: `DATASET.NAME Folder DATASET.ROOT DIR`."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Any

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import BenchmarkDataset, option
from promptkd.data.checks import check_utf8
from promptkd.data.class_folders import class_folders, has_class_folders, part_places, refuse_parquet
from promptkd.data.class_names import find_classnames, name_classes, named_path
from promptkd.data.file_lists import find_metadata, read_files, read_metadata
from promptkd.data.folders import LeftOut
from promptkd.data.layout import Layout, refuse_two_classes
from promptkd.data.loading.user_images import UserImages
from promptkd.data.part_names import PARTS
from promptkd.data.splits import Listing, random_split

log = logging.getLogger("promptkd.datasets")


@DATASET_REGISTRY.register()
class Folder(BenchmarkDataset):
    """Images in a folder per class, or listed in a file.

    Layouts:
        `train/<class>/`, with `val/` and `test/` alike or without; folders in a class folder belong to it.
            Without test/ nothing is evaluated: `full.test` is empty.
        `<class>/` in ROOT itself: split 50/20/30 per class.
        DATASET.FILES: a CSV with the columns path, class and split, or a JSON file, either a list of such objects or
            in the form of `split_zhou_*.json`. Without splits: 50/20/30 per class. Paths are relative to ROOT.
        `metadata.csv` or `metadata.jsonl` of a Hugging Face export, in ROOT or in the parts' folders, where there are
            no class folders.

    Names of parts: see `parts_of`. Folders and files that systems leave are no data (promptkd/data/folders.py).

    Labels follow the sorted class folders (or the sorted classes of the file; a file of the last form has labels). The
    class names come from `classnames.json`, {"folder": "name"}, or `classnames.txt`, lines of folder and name, in ROOT
    or in DATASET.CLASSNAMES; without such a file the folders' names are the class names.
    """

    optional_parts = ("val", "test")
    test_gaps_allowed = True
    image_wrapper = UserImages
    reads = ("CLASSNAMES", "FILES", "SKIP_BAD_IMAGES")

    def load(self, cfg: Any) -> tuple[Layout, Listing, str]:
        root = root_of(cfg)
        layout = Layout(root, root, root)
        names_file = find_classnames(root, option(cfg, "CLASSNAMES"))
        listed = option(cfg, "FILES")
        left, source = LeftOut(), listed or "folders"
        if listed:
            parts = read_files(named_path(root, listed, "FILES"), root)
        elif has_class_folders(root):
            parts = class_folders(root, left)
        elif metadata := find_metadata(part_places(root)):
            parts, source = read_metadata(metadata, root), " and ".join(path.name for path in metadata.values())
        else:
            refuse_parquet(root)
            parts = class_folders(root, left)
        left.report("Folder")
        if isinstance(parts, Listing):
            self.check(parts)  # its labels are used below
            names = name_classes(self.names(parts), names_file)
            listing = Listing(*([(file, label, names[label]) for file, label, _ in items] for items in parts))
        else:
            listing, source = self.numbered(layout, parts, names_file, source)
        self.check_files(layout, listing)
        refuse_empty_files(cfg, "Folder", layout, listing)
        refuse_two_classes("Folder", layout, listing)
        return layout, listing, source

    def numbered(
        self, layout: Layout, parts: dict[str, list[tuple[str, str]]], names_file: Path | None, source: str
    ) -> tuple[Listing, str]:
        """The split of images in class folders, whose labels follow the sorted folders; and the split's origin.

        Args:
            layout: the folders, for a split that is built and stored.
            parts: (path, class folder) of the images of each part, or of the part "" where they are to be split.
            names_file: of class names, or None.
            source: the origin of the parts.
        """
        classes = sorted({folder for files in parts.values() for _, folder in files})
        names = name_classes(classes, names_file)
        check_utf8("Folder", names)
        if all(name.strip().isdecimal() for name in names):
            log.warning(
                "Folder: the classes are numbers (%s), of which CLIP knows nothing; name them in classnames.txt, lines "
                "of number and name",
                ", ".join(names[:5]),
            )
        labels = {folder: label for label, folder in enumerate(classes)}
        if "" not in parts:
            lists = (
                [(file, labels[folder], names[labels[folder]]) for file, folder in parts.get(part, [])]
                for part in PARTS
            )
            return Listing(*lists), source
        files: dict[int, list[str]] = {label: [] for label in range(len(classes))}
        for file, folder in sorted(parts[""]):
            files[labels[folder]].append(file)
        listing = random_split(files, dict(enumerate(names)))
        return listing, self.store_built(layout, listing, "no train, val or test part is given")


def root_of(cfg: Any) -> Path:
    """DATASET.ROOT as an absolute path; raises FileNotFoundError where it is no folder."""
    root = Path(cfg.DATASET.ROOT).expanduser().absolute()
    if not root.is_dir():
        raise FileNotFoundError(f"DATASET.ROOT {root} is not a folder; set it with --root")
    return root


def refuse_empty_files(cfg: Any, name: str, layout: Layout, listing: Listing) -> None:
    """Refuses empty image files before training. (A file that does not decode stops the run when it is read.)

    Args:
        cfg: the run's; with DATASET.SKIP_BAD_IMAGES nothing is refused here, as bad files are left out later.
        name: of the data set, for the message.
        layout: the data set's folders.
        listing: its split.

    Raises:
        ValueError: some files are empty, or an image is a folder.
    """
    if option(cfg, "SKIP_BAD_IMAGES"):
        return
    empty = []
    for items in listing:
        for file, _, _ in items:
            status = os.stat(layout.path(file))
            if stat.S_ISDIR(status.st_mode):
                raise ValueError(f"{name}: {file} is a folder, not an image; list the images in it")
            if status.st_size == 0:
                empty.append(file)
    if empty:
        raise ValueError(
            f"{name}: {len(empty)} image files are empty: {', '.join(empty[:10])}; remove them, or set "
            "DATASET.SKIP_BAD_IMAGES True"
        )
