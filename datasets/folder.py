"""Your own labelled images: `DATASET.NAME Folder DATASET.ROOT DIR`."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import BenchmarkDataset, option
from promptkd.data.checks import Layout, refuse_two_classes
from promptkd.data.class_names import find_classnames, name_classes, named_path
from promptkd.data.file_lists import PARTS, read_files
from promptkd.data.images import OwnImages, is_image, list_folders, walk_images
from promptkd.data.splits import Listing, random_split

OWN_FOLDERS = ("split_fewshot",)  # what we write into ROOT


@DATASET_REGISTRY.register()
class Folder(BenchmarkDataset):
    """Images in a folder per class, or listed in a file.

    Layouts:
        `train/<class>/`, and `val/` and `test/` alike where there are any; folders in a class folder belong to it.
            Without test/ nothing is evaluated: `full.test` is empty.
        `<class>/` in ROOT itself: split 50/20/30 per class.
        DATASET.FILES: a CSV with the columns path, class and split, or a JSON file, either a list of such objects or
            in the form of `split_zhou_*.json`. Without splits: 50/20/30 per class. Paths are relative to ROOT.

    Labels follow the sorted class folders (or the file's classes; the last form has its own labels). They are named as
    `classnames.json`, {"folder": "name"}, or `classnames.txt`, lines of folder and name, in ROOT or in
    DATASET.CLASSNAMES, say; else as the folders.
    """

    optional_parts = ("val", "test")
    test_gaps_allowed = True
    image_wrapper = OwnImages

    def load(self, cfg: Any) -> tuple[Layout, Listing, str]:
        root = root_of(cfg)
        layout = Layout(root, root, root)
        named = find_classnames(root, option(cfg, "CLASSNAMES"))
        if listed := option(cfg, "FILES"):
            parts = read_files(named_path(root, listed, "FILES"), root)
        else:
            parts = class_folders(root)
        if isinstance(parts, Listing):
            self.check(parts)  # before its labels count
            classes = self.names(parts)
            shown = name_classes(classes, named)
            listing = Listing(*([(file, label, shown[label]) for file, label, _ in items] for items in parts))
            source = listed
        else:
            listing, source = self.numbered(layout, parts, named, listed or "folders")
        self.check_files(layout, listing)
        refuse_empty_files(cfg, "Folder", layout, listing)
        refuse_two_classes("Folder", layout, listing)
        return layout, listing, source

    def numbered(
        self, layout: Layout, parts: dict[str, list[tuple[str, str]]], named: Path | None, source: str
    ) -> tuple[Listing, str]:
        """The split of images with their class folders, whose labels follow the sorted folders; and its source."""
        classes = sorted({folder for files in parts.values() for _, folder in files})
        shown = name_classes(classes, named)
        labels = {folder: label for label, folder in enumerate(classes)}
        if "" not in parts:
            return Listing(
                *([(f, labels[c], shown[labels[c]]) for f, c in parts.get(part, [])] for part in PARTS)
            ), source
        files: dict[int, list[str]] = {label: [] for label in range(len(classes))}
        for file, folder in sorted(parts[""]):
            files[labels[folder]].append(file)
        listing = random_split(files, dict(enumerate(shown)))
        return listing, self.keep_built(layout, listing, "no train, val or test part is given")


def root_of(cfg: Any) -> Path:
    """DATASET.ROOT as a folder that is there."""
    root = Path(cfg.DATASET.ROOT).expanduser().absolute()
    if not root.is_dir():
        raise FileNotFoundError(f"DATASET.ROOT {root} is not a folder; set it with --root")
    return root


def class_folders(root: Path) -> dict[str, list[tuple[str, str]]]:
    """Images and class folders of each part; the part "" where the class folders are in the root.

    Raises:
        ValueError: no class folders, or one without images.
    """
    aliases = {alias: part for part, names in PARTS.items() for alias in names}
    found: dict[str, str] = {}  # part -> its folder
    others = []
    for name in list_folders(root):
        part = aliases.get(name.lower(), "")
        if part in found:
            raise ValueError(f"Folder: {root} has both {found[part]} and {name}; put what is {part} into one of them")
        if part:
            found[part] = name
        elif name not in OWN_FOLDERS:
            others.append(name)
    parts = {part: images_by_class(root, f"{found[part]}/") for part in PARTS if part in found}
    if parts and others:
        shown = ", ".join(others[:10]) + (", ..." if len(others) > 10 else "")
        print(f"Folder: classes are the folders in {' and '.join(found.values())}; left out beside them: {shown}")
    if parts and "train" not in parts:
        raise ValueError(f"Folder: {root} has a folder {', '.join(parts)} and no folder train")
    trained = {folder for _, folder in parts.get("train", [])}
    for part, files in parts.items():
        if strange := sorted({folder for _, folder in files} - trained):
            raise ValueError(f"Folder: classes of {part} are not in train: {', '.join(strange[:10])}")
    return parts or {"": images_by_class(root, "")}


def images_by_class(root: Path, part: str) -> list[tuple[str, str]]:
    """(path from the root, class folder) of the images in a part's class folders ("train/", or "" for the root)."""
    folders = [name for name in list_folders(root / part) if part or name not in OWN_FOLDERS]
    if not folders:
        raise ValueError(
            f"Folder: {root / part} has no class folders; for images without labels set DATASET.NAME Unlabeled"
            + (f", and rename {part.rstrip('/')} where that is a class" if part else "")
        )
    if stray := sorted(name for name in os.listdir(root / part) if is_image(name)):
        print(f"Folder: left out {len(stray)} images beside the class folders of {root / part}, such as {stray[0]}")
    files = []
    for folder in folders:
        found = walk_images(root / part / folder)
        if not found:
            kinds = sorted({path.suffix or path.name for path in (root / part / folder).rglob("*") if path.is_file()})
            holds = f"it holds {', '.join(kinds[:5])} files" if kinds else "it is empty"
            raise ValueError(f"Folder: class folder {root / part / folder} has no images ({holds}); fill or remove it")
        files += [(f"{part}{folder}/{file}", folder) for file in found]
    return files


def refuse_empty_files(cfg: Any, name: str, layout: Layout, listing: Listing) -> None:
    """Empty image files show before training; what does not decode shows when it is read, or with SKIP_BAD_IMAGES.

    Raises:
        ValueError: empty files, unless those are to be skipped.
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
