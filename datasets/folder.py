"""A user's labelled images: `DATASET.NAME Folder DATASET.ROOT DIR`."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Any

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import BenchmarkDataset, option
from promptkd.data.class_names import find_classnames, name_classes, named_path
from promptkd.data.file_lists import PARTS, read_files
from promptkd.data.images import is_image, list_folders, walk_images
from promptkd.data.layout import Layout, refuse_two_classes
from promptkd.data.loading.user_images import UserImages
from promptkd.data.splits import Listing, random_split

log = logging.getLogger("promptkd.datasets")

WRITTEN_FOLDERS = ("split_fewshot",)  # folders that the project writes into ROOT, which are no classes


@DATASET_REGISTRY.register()
class Folder(BenchmarkDataset):
    """Images in a folder per class, or listed in a file.

    Layouts:
        `train/<class>/`, with `val/` and `test/` alike or without; folders in a class folder belong to it.
            Without test/ nothing is evaluated: `full.test` is empty.
        `<class>/` in ROOT itself: split 50/20/30 per class.
        DATASET.FILES: a CSV with the columns path, class and split, or a JSON file, either a list of such objects or
            in the form of `split_zhou_*.json`. Without splits: 50/20/30 per class. Paths are relative to ROOT.

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
        parts = read_files(named_path(root, listed, "FILES"), root) if listed else class_folders(root)
        if isinstance(parts, Listing):
            self.check(parts)  # its labels are used below
            names = name_classes(self.names(parts), names_file)
            listing = Listing(*([(file, label, names[label]) for file, label, _ in items] for items in parts))
            source = listed
        else:
            listing, source = self.numbered(layout, parts, names_file, listed or "folders")
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


def class_folders(root: Path) -> dict[str, list[tuple[str, str]]]:
    """(path from the root, class folder) of the images of each part; the part "" where classes are in the root itself.

    Raises:
        ValueError: there are no class folders, one has no images, one of val or test is not in train, or two folders
            are the same part.
    """
    aliases = {alias: part for part, names in PARTS.items() for alias in names}
    part_folders: dict[str, str] = {}  # part -> its folder
    others = []
    for name in list_folders(root):
        part = aliases.get(name.lower(), "")
        if part in part_folders:
            both = f"{part_folders[part]} and {name}"
            raise ValueError(f"Folder: {root} has both {both}; put what is {part} into one of them")
        if part:
            part_folders[part] = name
        elif name not in WRITTEN_FOLDERS:
            others.append(name)
    parts = {part: images_by_class(root, f"{part_folders[part]}/") for part in PARTS if part in part_folders}
    if parts and others:
        shown = ", ".join(others[:10]) + (", ..." if len(others) > 10 else "")
        used = " and ".join(part_folders.values())
        log.warning("Folder: classes are the folders in %s; left out beside them: %s", used, shown)
    if parts and "train" not in parts:
        raise ValueError(f"Folder: {root} has a folder {', '.join(parts)} and no folder train")
    trained = {folder for _, folder in parts.get("train", [])}
    for part, files in parts.items():
        if strange := sorted({folder for _, folder in files} - trained):
            raise ValueError(f"Folder: classes of {part} are not in train: {', '.join(strange[:10])}")
    return parts or {"": images_by_class(root, "")}


def images_by_class(root: Path, part: str) -> list[tuple[str, str]]:
    """(path from the root, class folder) of the images in a part's class folders ("train/", or "" for the root).

    Raises:
        ValueError: the part has no class folders, or one has no images.
    """
    folders = [name for name in list_folders(root / part) if part or name not in WRITTEN_FOLDERS]
    if not folders:
        raise ValueError(
            f"Folder: {root / part} has no class folders; for images without labels set DATASET.NAME Unlabeled"
            + (f", and rename {part.rstrip('/')} where that is a class" if part else "")
        )
    if stray := sorted(name for name in os.listdir(root / part) if is_image(name)):
        log.warning(
            "Folder: left out %d images beside the class folders of %s, such as %s", len(stray), root / part, stray[0]
        )
    files = []
    for folder in folders:
        images = walk_images(root / part / folder)
        if not images:
            kinds = sorted({path.suffix or path.name for path in (root / part / folder).rglob("*") if path.is_file()})
            holds = f"it holds {', '.join(kinds[:5])} files" if kinds else "it is empty"
            raise ValueError(f"Folder: class folder {root / part / folder} has no images ({holds}); fill or remove it")
        files += [(f"{part}{folder}/{file}", folder) for file in images]
    return files


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
