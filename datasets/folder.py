"""Your own labelled images: `DATASET.NAME Folder DATASET.ROOT DIR`."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dassl.data.datasets import DATASET_REGISTRY
from datasets.base import BenchmarkDataset, option
from datasets.checks import Layout, refuse_two_classes
from datasets.images import OwnImages, is_image, list_folders, walk_images
from datasets.splits import Listing, load_json, random_split, read_split

PARTS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
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

    Labels follow the sorted class folders (or the file's classes). They are named as `classnames.json`, {"folder":
    "name"}, or `classnames.txt`, lines of folder and name, in ROOT or in DATASET.CLASSNAMES, say; else as the folders.
    """

    optional_parts = ("val", "test")
    test_gaps_allowed = True
    image_wrapper = OwnImages

    def load(self, cfg: Any) -> tuple[Layout, Listing, str]:
        root = root_of(cfg)
        layout = Layout(root, root, root)
        if listed := option(cfg, "FILES"):
            parts = read_files(named_path(root, listed, "FILES"), root)
        else:
            parts = class_folders(root)
        whole = parts.pop("", None)
        classes = sorted({folder for files in (*parts.values(), whole or []) for _, folder in files})
        shown = name_classes(classes, find_classnames(root, option(cfg, "CLASSNAMES")))
        labels = {folder: label for label, folder in enumerate(classes)}
        if whole is not None:
            files: dict[int, list[str]] = {label: [] for label in range(len(classes))}
            for file, folder in sorted(whole):
                files[labels[folder]].append(file)
            listing = random_split(files, dict(enumerate(shown)))
            source = self.keep_built(layout, listing, "no train, val or test part is given")
        else:
            lists = [[(f, labels[c], shown[labels[c]]) for f, c in parts.get(part, [])] for part in PARTS]
            listing, source = Listing(*lists), option(cfg, "FILES") or "folders"
        self.check_files(layout, listing)
        refuse_empty_files(cfg, "Folder", layout, listing)
        refuse_two_classes("Folder", layout, listing)
        return layout, listing, source


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
    inside = {name.lower(): name for name in list_folders(root)}
    parts: dict[str, list[tuple[str, str]]] = {}
    for part, names in PARTS.items():
        for name in filter(inside.get, names):
            parts.setdefault(part, []).extend(images_by_class(root, f"{inside[name]}/"))
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


def read_files(path: Path, root: Path) -> dict[str, list[tuple[str, str]]]:
    """(path from the root, class) of each part of a DATASET.FILES file; the part "" where the file names no parts.

    Raises:
        ValueError: a column or value is missing, a path leaves the root or comes twice, an unknown part.
    """
    if path.suffix.lower() == ".json":
        rows = list(_json_rows(path))
    else:
        text = path.read_text(encoding="utf-8-sig")
        header = text.partition("\n")[0]
        delimiter = max(",;\t", key=header.count)
        lines = csv.reader(text.splitlines(), delimiter=delimiter)
        columns = [column.strip().lower() for column in next(lines, [])]
        rows = [dict(zip(columns, line, strict=False)) for line in lines if any(line)]
    names = {alias: part for part, aliases in PARTS.items() for alias in aliases}
    parts: dict[str, list[tuple[str, str]]] = {}
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        where = f"{path.name}, row {number}"
        if absent := [key for key in ("path", "class") if not str(row.get(key) or "").strip()]:
            raise ValueError(f"{where}: no {' and no '.join(absent)}; the columns are {', '.join(map(str, row))}")
        split = str(row.get("split") or "").strip().lower()
        if split and split not in names:
            raise ValueError(f"{where}: split {split!r}; choose one of {', '.join(PARTS)}")
        file = _inside(str(row["path"]).strip(), root, where)
        if file in seen:
            raise ValueError(f"{where}: {file} is in row {seen[file]} already")
        seen[file] = number
        parts.setdefault(names.get(split, ""), []).append((file, str(row["class"]).strip()))
    if not parts:
        raise ValueError(f"{path} lists no images")
    if "" in parts and len(parts) > 1:
        raise ValueError(f"{path}: {len(parts[''])} rows have no split and others have one; say it for all or for none")
    return parts


def _json_rows(path: Path) -> list[Mapping[str, Any]]:
    content = load_json(path)
    if isinstance(content, dict):
        return [
            {"path": file, "class": name, "split": part}
            for part, items in read_split(path)._asdict().items()
            for file, _, name in items
        ]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError(f"{path} is neither a list of objects with path, class and split, nor lists train, val, test")
    return content


def _inside(path: str, root: Path, where: str) -> str:
    """A path of a list as a POSIX path from the root."""
    path = path.replace("\\", "/")
    absolute = os.path.normpath(root / path)
    relative = Path(os.path.relpath(absolute, root)).as_posix()
    if relative.startswith("../") or os.path.isabs(relative):
        raise ValueError(f"{where}: {path} is outside DATASET.ROOT {root}")
    return relative


def named_path(root: Path, named: str, key: str) -> Path:
    """The file or folder that an option names: seen from ROOT, or from where the command runs.

    Raises:
        FileNotFoundError: it is at neither.
    """
    for path in (root / named, Path(named).expanduser().absolute()):
        if path.exists():
            return path
    raise FileNotFoundError(f"DATASET.{key} {named} is neither in {root} nor in {Path.cwd()}")


def find_classnames(root: Path, named: str) -> Path | None:
    """The file of DATASET.CLASSNAMES, or the one that lies in the root."""
    if named:
        return named_path(root, named, "CLASSNAMES")
    return next((path for path in (root / "classnames.json", root / "classnames.txt") if path.is_file()), None)


def refuse_empty_files(cfg: Any, name: str, layout: Layout, listing: Listing) -> None:
    """Empty image files show before training; what does not decode shows when it is read, or with SKIP_BAD_IMAGES.

    Raises:
        ValueError: empty files, unless those are to be skipped.
    """
    if option(cfg, "SKIP_BAD_IMAGES"):
        return
    if empty := [file for items in listing for file, _, _ in items if not os.path.getsize(layout.path(file))]:
        raise ValueError(
            f"{name}: {len(empty)} image files are empty: {', '.join(empty[:10])}; remove them, or set "
            "DATASET.SKIP_BAD_IMAGES True"
        )


def name_classes(folders: Iterable[str], path: Path | None) -> list[str]:
    """The name of each class folder; without a file of names, the folder's own.

    Raises:
        ValueError: a folder has no name, or a line of the file begins with no folder while folders lack a name.
    """
    folders = list(folders)
    if path is None:
        return folders
    if path.suffix.lower() == ".json":
        names = load_json(path)
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise ValueError(f'{path} is not a map of class folders to names, {{"folder": "name", ...}}')
    else:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        names = dict(_folder_and_name(line.strip(), folders) for line in lines if line.strip())
    if absent := [folder for folder in folders if folder not in names]:
        raise ValueError(
            f"{path} does not name {len(absent)} of {len(folders)} class folders: {', '.join(absent[:10])}; "
            "a line is the folder, a space or tab, and the name"
        )
    return [names[folder].strip() for folder in folders]


def _folder_and_name(line: str, folders: Iterable[str]) -> tuple[str, str]:
    """A folder's name may hold spaces: the longest folder that the line begins with counts."""
    starts = [folder for folder in folders if line == folder or line.startswith((f"{folder} ", f"{folder}\t"))]
    folder = max(starts, key=len, default=line)
    return folder, line[len(folder) :].strip() or folder
