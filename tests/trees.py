"""Small data set trees for tests, and a config that points to one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat
from yacs.config import CfgNode


def dataset_cfg(root: Path, shots: int = -1, seed: int = 1, subsample: str = "all", **options: Any) -> CfgNode:
    """The part of a run's config that a data set reads."""
    dataset = CfgNode({"ROOT": str(root), "NUM_SHOTS": shots, "SUBSAMPLE_CLASSES": subsample, **options})
    return CfgNode({"DATASET": dataset, "SEED": seed})


def write_image(path: Path, mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> Path:
    """A small real image in the format of its suffix; its colour depends on its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    value = sum(path.as_posix().encode()) % 256
    Image.new("RGB", size, (value, 255 - value, 128)).convert(mode).save(path)
    return path


def write_class_tree(folder: Path, classes: dict[str, int], suffix: str = ".jpg") -> None:
    """A folder per class with numbered images."""
    for name, number in classes.items():
        for index in range(1, number + 1):
            write_image(folder / name / f"{name}_{index}{suffix}")


def write_json(value: Any, path: Path) -> None:
    """A JSON file, its folder made where need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_lines(path: Path, lines: list[str]) -> None:
    """A text file, its folder made where need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


# One function per data set: a small tree in the layout that its authors and the published code use.

BREEDS = ["Abyssinian", "american_bulldog", "Bengal"]
CARS = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van Minivan 2012"]
VARIANTS = ["707-320", "Cessna 172", "F/A-18"]
SCENES = ["a/abbey", "a/apartment_building/outdoor", "w/wine_cellar/barrel_storage"]
ACTIONS = ["ApplyEyeMakeup", "HandstandPushups", "TaiChi"]
WNIDS = {"n01440764": "tench", "n01443537": "goldfish", "n02487347": "macaque", "n04008634": "missile"}


def write_caltech101(root: Path) -> None:
    classes = dict.fromkeys(["Faces", "Faces_easy", "BACKGROUND_Google", "airplanes", "ant", "yin_yang"], 10)
    write_class_tree(root / "caltech-101" / "101_ObjectCategories", classes)


def write_pets(root: Path) -> None:
    folder = root / "oxford_pets"
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    for label in (1, 3, 2):  # the lists' order need not be that of the labels
        for index in range(1, 9):
            file = f"{BREEDS[label - 1]}_{index}"
            write_image(folder / "images" / f"{file}.jpg")
            lists["trainval" if index <= 5 else "test"].append(f"{file} {label} 1 1")
    for name, lines in lists.items():
        write_lines(folder / "annotations" / f"{name}.txt", lines)
    write_lines(folder / "annotations" / "list.txt", ["#Image CLASS-ID SPECIES BREED ID", "Abyssinian_1 1 1 1"])


def write_cars(root: Path) -> None:
    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": np.array([CARS], dtype=object)})
    fields = [*(f"bbox_{corner}" for corner in ("x1", "y1", "x2", "y2")), "class", "fname"]
    for part, number, target in (
        ("train", 15, "devkit/cars_train_annos.mat"),
        ("test", 6, "cars_test_annos_withlabels.mat"),
    ):
        annotations = np.empty((1, number), dtype=[(name, object) for name in fields])
        for index in range(number):
            file = f"{index + 1:05d}.jpg"
            write_image(folder / f"cars_{part}" / file)
            annotations[0, index] = (1.0, 2.0, 7.0, 8.0, float(3 - index % 3), file)
        savemat(folder / target, {"annotations": annotations})
    unlabelled = np.array([[(f"{index:05d}.jpg",) for index in range(1, 7)]], dtype=[("fname", object)])
    savemat(folder / "devkit" / "cars_test_annos.mat", {"annotations": unlabelled})


def write_flowers(root: Path) -> None:
    folder = root / "oxford_flowers"
    labels = [2, 2, 1, *([2] * 8), *([1] * 9), *([3] * 10)]
    for number in range(1, len(labels) + 1):
        write_image(folder / "jpg" / f"image_{number:05d}.jpg")
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels], dtype=np.uint8)})
    savemat(folder / "setid.mat", {"trnid": np.array([[1, 3]]), "valid": np.array([[2]]), "tstid": np.array([[4]])})
    write_json({"1": "pink primrose", "3": "canterbury bells", "2": "hard-leaved orchid"}, folder / "cat_to_name.json")


def write_food101(root: Path) -> None:
    folder = root / "food-101"
    write_class_tree(folder / "images", {"apple_pie": 10, "waffles": 10})
    write_lines(folder / "meta" / "classes.txt", ["apple_pie", "waffles"])
    write_json({"apple_pie": ["apple_pie/1"]}, folder / "meta" / "train.json")


def write_aircraft(root: Path, data: str = "fgvc_aircraft") -> None:
    folder = root / data
    write_lines(folder / "variants.txt", VARIANTS)
    number = 0
    for part, size in (("train", 2), ("val", 1), ("test", 2)):
        lines = []
        for variant in VARIANTS[::-1]:
            for _ in range(size):
                number += 1
                write_image(folder / "images" / f"{number:07d}.jpg")
                lines.append(f"{number:07d} {variant}")
        write_lines(folder / f"images_variant_{part}.txt", lines)


def write_sun397(root: Path) -> None:
    folder = root / "sun397"
    write_lines(folder / "ClassName.txt", [f"/{scene}" for scene in SCENES])
    lists: dict[str, list[str]] = {"Training_01": [], "Testing_01": []}
    for scene in SCENES:
        for index in range(8):
            file = f"{scene}/sun_{index:015d}.jpg"
            write_image(folder / "SUN397" / file)
            lists["Training_01" if index < 5 else "Testing_01"].append(f"/{file}")
    for name, lines in lists.items():
        write_lines(folder / f"{name}.txt", lines)


def write_dtd(root: Path) -> None:
    folder = root / "dtd"
    write_class_tree(folder / "images", {"banded": 10, "zigzagged": 10, "polka-dotted": 10})
    (folder / "images" / "banded" / ".directory").write_text("[Dolphin]")
    write_lines(folder / "labels" / "train1.txt", ["banded/banded_1.jpg"])
    (folder / "imdb").mkdir()


def write_eurosat(root: Path) -> None:
    write_class_tree(root / "eurosat" / "2750", dict.fromkeys(EUROSAT, 10))


def write_ucf101(root: Path) -> None:
    folder = root / "ucf101"
    write_lines(
        folder / "ucfTrainTestlist" / "classInd.txt", [f"{label} {name}" for label, name in enumerate(ACTIONS, 1)]
    )
    words = {"ApplyEyeMakeup": "Apply_Eye_Makeup", "HandstandPushups": "Handstand_Pushups", "TaiChi": "Tai_Chi"}
    train, test = [], []
    for label, action in enumerate(ACTIONS, 1):
        for index in range(1, 9):
            stem = f"v_{action.replace('Handstand', 'HandStand')}_g{index:02d}_c01"
            write_image(folder / "UCF-101-midframes" / words[action] / f"{stem}.jpg")
            if index > 3:
                train.append(f"{action}/{stem}.avi {label}")
            else:
                test.append(f"{action}/{stem}.avi")
    write_lines(folder / "ucfTrainTestlist" / "trainlist01.txt", train)
    write_lines(folder / "ucfTrainTestlist" / "testlist01.txt", test)


def write_classnames(folder: Path, wnids: dict[str, str] | None = None) -> None:
    write_lines(folder / "classnames.txt", [f"{wnid} {name}" for wnid, name in (wnids or WNIDS).items()])


def write_imagenet(root: Path) -> None:
    folder = root / "imagenet"
    write_classnames(folder)
    for wnid in WNIDS:
        for index in (9, 10, 12):
            write_image(folder / "images" / "train" / wnid / f"{wnid}_{index}.JPEG")
    for index in range(1, 9):
        wnid = list(WNIDS)[index % 4]
        write_image(folder / "images" / "val" / wnid / f"ILSVRC2012_val_{index:08d}.JPEG")


def write_imagenetv2(root: Path) -> None:
    folder = root / "imagenetv2"
    write_classnames(folder)
    for label in range(len(WNIDS)):
        for name in ("aa", "bb"):
            write_image(folder / "imagenetv2-matched-frequency-format-val" / str(label) / f"{name}.jpeg")


def write_sketch(root: Path) -> None:
    write_classnames(root / "imagenet-sketch")
    for wnid in WNIDS:
        write_image(root / "imagenet-sketch" / "images" / wnid / "sketch_0.JPEG")


def _write_200(folder: Path) -> None:
    # the variants' classnames.txt has all classes, their folders some of them
    write_classnames(folder.parent)
    for wnid in ("n01443537", "n04008634"):
        write_image(folder / wnid / "0.001_boat_0.9.jpg")
        write_image(folder / wnid / "0.002_boat_0.8.jpg")
    write_lines(folder / "README.txt", ["class id -> class name"])


def write_imagenet_a(root: Path) -> None:
    _write_200(root / "imagenet-adversarial" / "imagenet-a")


def write_imagenet_r(root: Path) -> None:
    _write_200(root / "imagenet-rendition" / "imagenet-r")


EUROSAT = [
    *("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial"),
    *("Pasture", "PermanentCrop", "Residential", "River", "SeaLake"),
]
WRITERS: dict[str, Callable[[Path], None]] = {
    "ImageNet": write_imagenet,
    "Caltech101": write_caltech101,
    "OxfordPets": write_pets,
    "StanfordCars": write_cars,
    "OxfordFlowers": write_flowers,
    "Food101": write_food101,
    "FGVCAircraft": write_aircraft,
    "SUN397": write_sun397,
    "DescribableTextures": write_dtd,
    "EuroSAT": write_eurosat,
    "UCF101": write_ucf101,
    "ImageNetV2": write_imagenetv2,
    "ImageNetSketch": write_sketch,
    "ImageNetA": write_imagenet_a,
    "ImageNetR": write_imagenet_r,
}
