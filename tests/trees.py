"""Small data set trees for tests, and a config that points to one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image
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
