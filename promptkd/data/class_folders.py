"""Class folders of a user's images: in the folders of the parts of a split, or in the root itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from promptkd.data.file_lists import parquet_advice
from promptkd.data.folders import LeftOut, innermost, kinds_in, list_folders, list_images, walk_images
from promptkd.data.formats import is_image
from promptkd.data.part_names import PARTS, alike, longer_parts, part_in, plain_part

log = logging.getLogger(__name__)

WRITTEN_FOLDERS = ("split_fewshot",)  # folders that the project writes into ROOT, which are no classes


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
