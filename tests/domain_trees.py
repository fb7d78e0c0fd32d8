"""Small trees of data sets with domains, in the layouts that their archives and copies have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trees import write_image, write_lines

OBJECTS = {"Alarm_Clock": 10, "Backpack": 12, "TV": 11, "Table": 10}


def write_classes(folder: Path, classes: dict[str, int]) -> None:
    """A folder per class with images numbered as Office-Home's: the same names in every class."""
    for name, number in classes.items():
        for index in range(1, number + 1):
            write_image(folder / name / f"{index:05d}.jpg")


def write_office_home(root: Path, folder: str = "office_home") -> None:
    for place in ("Art", "Clipart", "Product", "Real World"):
        write_classes(root / folder / place, OBJECTS)
    write_lines(root / folder / "ImageInfo.csv", ["Domain,Class"])


def write_office31(root: Path, folder: str = "office31", inner: str = "images") -> None:
    for place in ("amazon", "dslr", "webcam"):
        write_classes(root / folder / place / inner, {"back_pack": 10, "bike": 10, "desk_chair": 10})


def write_visda17(root: Path, lists: bool = True) -> None:
    classes = ("aeroplane", "bicycle", "bus")
    for place in ("train", "validation"):
        write_classes(root / "visda17" / place, dict.fromkeys(classes, 10))
        lines = [f"{name}/{i:05d}.jpg {label}" for label, name in enumerate(classes) for i in range(10, 0, -1)]
        if lists:
            write_lines(root / "visda17" / place / "image_list.txt", lines)


DRAWN = ("The_Eiffel_Tower", "aircraft_carrier", "t-shirt")  # the lists' labels follow the names without regard to case
LABELS = {"aircraft_carrier": 0, "t-shirt": 1, "The_Eiffel_Tower": 2}


def write_domainnet(root: Path, splits: str = "splits/") -> None:
    for domain in ("clipart", "infograph", "painting", "quickdraw", "real", "sketch"):
        lists: dict[str, list[str]] = {"train": [], "test": []}
        for name in DRAWN:
            for index in range(1, 7):
                part = "train" if index <= 4 else "test"
                file = f"{domain}/{name}/{domain}_{LABELS[name]:03d}_{index:06d}.jpg"
                write_image(root / "domainnet" / file)
                if (domain, name) != ("painting", "t-shirt") or part == "test":
                    lists[part].append(f"{file} {LABELS[name]}")
        for part, lines in lists.items():
            write_lines(root / "domainnet" / f"{splits}{domain}_{part}.txt", lines)


DOMAIN_WRITERS: dict[str, Callable[[Path], None]] = {
    "Office31": write_office31,
    "OfficeHome": write_office_home,
    "VisDA17": write_visda17,
    "DomainNet": write_domainnet,
}
