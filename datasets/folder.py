"""A user's labelled images: `DATASET.NAME Folder DATASET.ROOT DIR`."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import BenchmarkDataset, option
from promptkd.data.checks import check_utf8
from promptkd.data.class_names import find_classnames, name_classes, named_path
from promptkd.data.file_lists import find_metadata, parquet_advice, read_files, read_metadata
from promptkd.data.folders import LeftOut, innermost, kinds_in, list_folders, list_images, walk_images
from promptkd.data.formats import is_image
from promptkd.data.layout import Layout, refuse_two_classes
from promptkd.data.loading.user_images import UserImages
from promptkd.data.part_names import PARTS, alike, longer_parts, part_in, plain_part
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


def class_folders(root: Path, left: LeftOut | None = None) -> dict[str, list[tuple[str, str]]]:
    """(path from the root, class folder) of the images of each part; the part "" where classes are in the root itself.

    Args:
        root: DATASET.ROOT.
        left: gets what is left out; without it, lines say so.

    Raises:
        ValueError: there are no class folders, one has no images, one of val or test is not in train, or two folders
            are the same part; or the folders look like parts of a split under names that are not known.
    """
    left = left or LeftOut()
    part_folders = parts_of(root, left)
    others = [
        name for name in data_folders(root, left) if name not in {path.split("/")[0] for path in part_folders.values()}
    ]
    parts = {part: images_by_class(root, f"{part_folders[part]}/", left) for part in PARTS if part in part_folders}
    if parts and others:
        shown = ", ".join(others[:10]) + (", ..." if len(others) > 10 else "")
        used = " and ".join(part_folders.values())
        log.warning("Folder: classes are the folders in %s; left out beside them: %s", used, shown)
    if parts and "train" not in parts:
        raise ValueError(f"Folder: {root} has a folder {', '.join(part_folders.values())} and no folder train")
    trained = {folder for _, folder in parts.get("train", [])}
    for part, files in parts.items():
        if strange := sorted({folder for _, folder in files} - trained):
            raise ValueError(f"Folder: classes of {part} are not in train: {', '.join(strange[:10])}")
    return parts or {"": images_by_class(root, "", left)}


def data_folders(folder: Path, left: LeftOut | None = None) -> list[str]:
    """The folders in ROOT or in one of its folders, without those that the project writes."""
    return [name for name in list_folders(folder, left) if name not in WRITTEN_FOLDERS]


def parts_of(root: Path, left: LeftOut | None = None) -> dict[str, str]:
    """The folders of the parts of a split, by their names: part -> path from the root.

    A plain name (train, Validation, TEST) is a part wherever it stands. Longer ones (seg_train and seg_test,
    training_set and test_set, val2017) are where they hold the same classes (see `longer_parts`). A part unpacked into
    a folder of its own name (train/train) is that inner folder.

    Raises:
        ValueError: two folders are the same part.
    """
    plain: dict[str, str] = {}
    rest = []
    for name in data_folders(root, left):
        part = plain_part(name)
        if part in plain:
            raise ValueError(f"Folder: {root} has both {plain[part]} and {name}; put what is {part} into one of them")
        if part:
            plain[part] = name
        else:
            rest.append(name)
    named = [name for name in rest if part_in(name)[0] and part_in(name)[0] not in plain]
    candidates = [*plain.values(), *named] if plain else named if len(named) > 1 else named if len(rest) == 1 else []
    paths = {name: innermost(root / name).relative_to(root).as_posix() for name in candidates}
    try:
        longer = longer_parts({name: data_folders(root / path) for name, path in paths.items()}) if named else {}
    except ValueError as error:
        raise ValueError(f"Folder: {root}: {error}") from error
    names = longer | plain
    if set(longer.values()) - set(plain.values()):
        log.info("Folder: parts are %s", ", ".join(f"{names[part]} ({part})" for part in PARTS if part in names))
    return {part: paths[name] for part, name in names.items()}


def images_by_class(root: Path, part: str, left: LeftOut | None = None) -> list[tuple[str, str]]:
    """(path from the root, class folder) of the images in a part's class folders ("train/", or "" for the root).

    Raises:
        ValueError: the part has no class folders, one has no images, or all hold the same folders in place of images.
    """
    folders = list_folders(root / part, left if part else None)
    folders = [name for name in folders if part or name not in WRITTEN_FOLDERS]
    if not folders:
        raise ValueError(
            f"Folder: {root / part} has no class folders; for images without labels set DATASET.NAME Unlabeled"
            + (f", and rename {part.rstrip('/')} where that is a class" if part else "")
        )
    refuse_folders_alike(root / part, folders)
    if stray := sorted(name for name in os.listdir(root / part) if is_image(name)):
        log.warning(
            "Folder: left out %d images beside the class folders of %s, such as %s", len(stray), root / part, stray[0]
        )
    files = []
    for folder in folders:
        images = walk_images(root / part / folder, left)
        if not images:
            kinds = kinds_in(root / part / folder)
            holds = f"it holds {', '.join(kinds[:5])} files" if kinds else "it is empty"
            raise ValueError(f"Folder: class folder {root / part / folder} has no images ({holds}); fill or remove it")
        files += [(f"{part}{folder}/{file}", folder) for file in images]
    return files


def refuse_folders_alike(folder: Path, names: Sequence[str]) -> None:
    """Refuses class folders that hold the same folders each, and no images beside them: they are parts or the like.

    Raises:
        ValueError: the message says what to rename or move.
    """
    inside = {name: list_folders(folder / name) for name in names}
    if len(names) == 1 and len(inside[names[0]]) > 1 and not list_images(folder / names[0]):
        within = ", ".join(inside[names[0]][:5])
        raise ValueError(
            f"Folder: {folder} holds one folder, {names[0]}, with {within} in it, and a classifier needs two classes; "
            f"set --root {folder / names[0]} where those are the classes or the parts"
        )
    if not (same := alike(inside)) or any(list_images(folder / name) for name in names):
        return
    classes = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    within = ", ".join(same[:5]) + (", ..." if len(same) > 5 else "")
    if all(part_in(name)[0] for name in same):
        remedy = "put the parts above the classes: train/<class>/, test/<class>/"
    else:
        remedy = "rename them train, val and test if they are parts of a split"
    raise ValueError(
        f"Folder: all {len(names)} folders in {folder} ({classes}) hold the same folders ({within}) and no images "
        f"beside them, so they are hardly classes: {remedy}; if they are, list the images in a file (DATASET.FILES)"
    )


def has_class_folders(root: Path) -> bool:
    """Whether the root, or its folder train, has class folders, for exports that list classes in a file have none."""
    folders = data_folders(root)
    trains = [name for name in folders if plain_part(name) == "train"]
    if trains:
        return bool(list_folders(root / trains[0]))
    return len([name for name in folders if not plain_part(name)]) > 1


def part_places(root: Path) -> dict[str, Path]:
    """The folders in which an export may have its metadata: the root (part ""), and those of parts."""
    plain = {plain_part(name): root / name for name in data_folders(root) if plain_part(name)}
    return {"": root, **plain}


def refuse_parquet(root: Path) -> None:
    """Raises ValueError where a folder holds Parquet files; the message has the command that unpacks them."""
    for pattern in ("*.parquet", "data/*.parquet", "*/*.parquet"):
        if path := next(iter(sorted(root.glob(pattern))), None):
            raise ValueError(f"Folder: {parquet_advice(path)}")


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
