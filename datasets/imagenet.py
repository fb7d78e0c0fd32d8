"""ImageNet (ILSVRC2012, Russakovsky et al., 2015): 1,000 classes; and the parts that its variants share."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dassl.data.datasets import DATASET_REGISTRY
from promptkd import bounded
from promptkd.data.benchmark import BenchmarkDataset, Layout
from promptkd.data.checks import clip_name
from promptkd.data.folders import list_folders, list_images
from promptkd.data.reading import WNID, read_lines, read_mat, read_table, read_wnids
from promptkd.data.splits import Item, Listing, store_if_possible

log = logging.getLogger("promptkd.datasets")

SCAN_FORMAT = 2

Scan = dict[str, dict[str, Any]]  # class folder -> its time of change, its number of entries, its images


@DATASET_REGISTRY.register()
class ImageNet(BenchmarkDataset):
    """Labels follow the sorted wnids; the official validation images are the test list, and there is no val list.

    The published code has the test images as validation list, too; that is not repeated. Its few-shot picks follow the
    order in which the file system lists a folder, which differs between machines; here files are sorted.

    Layouts: `images/{train,val}/<class>/`, or `{train,val}/<class>/` as torchvision makes it, or Kaggle's
    `ILSVRC/Data/CLS-LOC/{train,val}`; class folders are wnids or class names. A flat `val` is understood with the
    wnid in its file names (Hugging Face), `LOC_val_solution.csv` (Kaggle) or the ILSVRC2012 devkit.
    """

    dataset_dir = "imagenet"
    other_dirs = ("ImageNet", "imagenet-1k", "ILSVRC2012", "ILSVRC", "imagenet-object-localization-challenge")
    image_dirs = ("images", ".", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
    marker = "train"
    counts = (1281167, 0, 50000)
    classes = 1000
    optional_parts = ("val",)
    listed_from_disk = True
    same_names_allowed = True

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        names = read_classnames(layout, list_folders(layout.images / "train"))
        if not (layout.images / "val").is_dir():
            raise FileNotFoundError(f"ImageNet: no folder {layout.images / 'val'}; it holds the 50,000 test images")
        store = layout.folder / "scan_ImageNet.json"
        stored = _read_scan(store)
        parts = {part: scan_classes(layout.images / part, stored.get(part, {})) for part in ("train", "val")}
        if not parts["train"]:
            raise ValueError(
                f"ImageNet: {layout.images / 'train'} has no class folders; the ILSVRC2012 training archive holds one "
                "tar file a class, and each has to be unpacked into a folder of its name"
            )
        if parts != {part: stored.get(part) for part in parts}:
            store_if_possible({"format": SCAN_FORMAT, **parts}, store, "The list of ImageNet's files")
        wnids = wnids_of_folders(parts["train"], names)
        labels = {wnid: label for label, wnid in enumerate(sorted(wnids.values()))}

        def items(part: str, wnids: Mapping[str, str]) -> list[Item]:
            return [
                (f"{part}/{folder}/{file}", labels[wnid], names[wnid])
                for folder, wnid in sorted(wnids.items(), key=lambda pair: pair[1])
                for file in parts[part][folder]["files"]
            ]

        flat_files = list_images(layout.images / "val")
        if parts["val"]:
            val_wnids = wnids_of_folders(parts["val"], names)
            if absent := sorted(set(val_wnids.values()) - set(labels)):
                raise ValueError(f"ImageNet: {len(absent)} classes of val are not in train: {', '.join(absent[:10])}")
            if flat_files:
                log.warning(
                    "ImageNet: left out %d images beside the class folders of %s, such as %s; sort them into the "
                    "folders as well",
                    len(flat_files),
                    layout.images / "val",
                    flat_files[0],
                )
            return Listing(items("train", wnids), [], items("val", val_wnids))
        flat = wnids_of_files(layout, flat_files)
        test = [(f"val/{file}", labels[wnid], names[wnid]) for file, wnid in flat.items() if wnid in labels]
        return Listing(items("train", wnids), [], sorted(test, key=lambda item: (item[1], item[0])))


class ImageNetVariant(BenchmarkDataset):
    """A test set with classes of ImageNet, in folders named by wnid; labels follow the sorted folders.

    The test list is the train list as well, as published: PromptKD's cross setting distils on those images, unlabelled.
    """

    marker = "n[0-9]*"
    optional_parts = ("val",)
    listed_from_disk = True
    test_only = True
    same_names_allowed = True

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        folders = [name for name in list_folders(layout.images) if name[0] == "n"]
        names = read_classnames(layout, folders)
        wnids = wnids_of_folders(folders, names)
        items = [
            (f"{folder}/{file}", label, names[wnid])
            for label, (folder, wnid) in enumerate(sorted(wnids.items()))
            for file in list_images(layout.images / folder)
        ]
        return Listing(items, [], items)


def read_classnames(layout: Layout, folders: Sequence[str]) -> dict[str, str]:
    """wnid -> class name, from `classnames.txt` ("n01440764 tench") of the data set's folder or of imagenet's.

    Without such a file open_clip's list is used where the class folders are 1,000 wnids: it is the same list (of the
    CLIP notebook), in the order of the sorted wnids.

    Raises:
        FileNotFoundError: there is no such file, and the folders are others.
    """
    places = ("classnames.txt", "imagenet/classnames.txt")
    known = sorted(folder for folder in folders if re.fullmatch(WNID, folder))
    if layout.find(*places) is None and len(known) == 1000:
        from open_clip import IMAGENET_CLASSNAMES

        log.info("no classnames.txt in %s: class names are open_clip's, for 1,000 folders named by wnid", layout.folder)
        return dict(zip(known, IMAGENET_CLASSNAMES, strict=True))
    return read_wnids(layout.file(*places))


def wnids_of_folders(folders: Iterable[str], names: Mapping[str, str]) -> dict[str, str]:
    """Class folder -> wnid, for folders named by wnid or by class name.

    Raises:
        ValueError: a folder is neither, or its name is that of two classes.
    """
    by_name: dict[str, list[str]] = {}
    for wnid, name in names.items():
        by_name.setdefault(clip_name(name), []).append(wnid)
    result = {}
    for folder in folders:
        wnids = [folder] if folder in names else by_name.get(clip_name(folder), [])
        if len(wnids) != 1:
            fault = f"names {len(wnids)} classes" if wnids else "is neither a wnid nor a class name"
            raise ValueError(f"folder {folder!r} {fault} of classnames.txt ({len(names)} classes)")
        result[folder] = wnids[0]
    return result


def scan_classes(folder: Path, stored: Scan) -> Scan:
    """Lists the images of each class folder; for a folder that did not change since a stored scan, takes that.

    A folder did not change where its time and its number of entries are the stored ones. The time alone is not enough:
    copying tools set it back, and newer files would be lost.
    """
    scan: Scan = {}
    for name in list_folders(folder):
        state = {"changed": os.stat(folder / name).st_mtime_ns, "entries": len(os.listdir(folder / name))}
        known = stored.get(name, {})
        fresh = any(known.get(key) != value for key, value in state.items())
        scan[name] = {**state, "files": list_images(folder / name)} if fresh else known
    return scan


def _read_scan(path: Path) -> dict[str, Scan]:
    """A stored scan, or {} where the file is missing or damaged: it can be made again."""
    try:
        content = bounded.read_json(path, bounded.LIST, bounded.LIST_VALUES)
        folders = [known for part in ("train", "val") for known in content[part].values()]
        whole = all(isinstance(file, str) for known in folders for file in known["files"])
        return content if whole and content["format"] == SCAN_FORMAT else {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def wnids_of_files(layout: Layout, files: list[str]) -> dict[str, str]:
    """File -> wnid of a flat folder of ILSVRC2012 validation images.

    Raises:
        FileNotFoundError: neither the file names nor a list have the classes.
        ValueError: the list does not have the class of a file.
    """
    in_names = {file: match[1] for file in files if (match := re.search(r"_(n\d{8})\.\w+$", file))}
    if len(in_names) == len(files):
        return in_names
    if path := layout.find("LOC_val_solution.csv"):
        wnids = _wnids_of_kaggle(path)
    elif path := layout.find(*(f"{d}ILSVRC2012_validation_ground_truth.txt" for d in ("", "data/", "*/data/"))):
        wnids = _wnids_of_devkit(path)
    else:
        raise FileNotFoundError(
            f"ImageNet: {layout.images / 'val'} has no class folders; put LOC_val_solution.csv (Kaggle) or the "
            f"ILSVRC2012 devkit (ILSVRC2012_devkit_t12/data) into {layout.folder}, or make a folder per wnid there"
        )
    if absent := [file for file in files if Path(file).stem not in wnids]:
        raise ValueError(f"ImageNet: {path} does not say the class of {len(absent)} images of val, such as {absent[0]}")
    return {file: wnids[Path(file).stem] for file in files}


def _wnids_of_kaggle(path: Path) -> dict[str, str]:
    """File stem -> wnid of LOC_val_solution.csv."""
    columns, rows = read_table(path, delimiters=",")
    if absent := [name for name in ("ImageId", "PredictionString") if name.lower() not in columns]:
        raise ValueError(f"{path} has no column {', '.join(absent)}; its columns are {', '.join(columns)}")
    return {row["imageid"]: row["predictionstring"].partition(" ")[0] for row in rows}


def _wnids_of_devkit(path: Path) -> dict[str, str]:
    """File stem -> wnid of the devkit's list of class numbers; meta.mat beside it has the wnid of each number."""
    meta = path.with_name("meta.mat")
    if not meta.is_file():
        raise FileNotFoundError(f"{meta} is not there; it is in the ILSVRC2012 devkit, beside {path.name}")
    synsets = read_mat(meta, "synsets", ("ILSVRC2012_ID", "WNID"))
    by_id = {str(int(synset["ILSVRC2012_ID"])): str(synset["WNID"]) for synset in synsets}
    lines = read_lines(path)
    if strange := [line for line in lines if line not in by_id]:
        raise ValueError(f"{path}: {strange[0][:80]!r} is none of the {len(by_id)} class numbers of meta.mat")
    return {f"ILSVRC2012_val_{i:08d}": by_id[line] for i, line in enumerate(lines, start=1)}
