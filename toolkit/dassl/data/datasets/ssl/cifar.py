"""CIFAR as class folders, some of whose images keep their labels: cifar10/{train,test}/<class>/<image>."""

from __future__ import annotations

import os
import random

from yacs.config import CfgNode

from ..base_dataset import DatasetBase, Datum
from ..build import DATASET_REGISTRY
from ..listed import class_folder_items, root_of


class PartlyLabelled(DatasetBase):
    """Class folders for training and testing; NUM_LABELED images, equally many of each class, keep their labels.

    The first VAL_PERCENT of a class validate. The labelled ones are drawn with the global `random` generator; all
    others are the unlabelled pool, and with ALL_AS_UNLABELED the labelled ones, too.

    Args:
        cfg: DATASET.ROOT, NUM_LABELED, VAL_PERCENT and ALL_AS_UNLABELED are read.

    Raises:
        FileNotFoundError: a folder is not there.
        ValueError: NUM_LABELED is below the number of classes, or leaves nothing without labels.
    """

    def __init__(self, cfg: CfgNode) -> None:
        folder = root_of(cfg.DATASET.ROOT, self.dataset_dir)
        labelled, unlabelled, val = self._divided(folder, cfg.DATASET.NUM_LABELED, cfg.DATASET.VAL_PERCENT)
        if cfg.DATASET.ALL_AS_UNLABELED:
            unlabelled += labelled
        test = class_folder_items(os.path.join(folder, "test"))
        super().__init__(train_x=labelled, train_u=unlabelled, val=val or None, test=test)

    def _divided(self, folder: str, count: int, percent: float) -> tuple[list[Datum], list[Datum], list[Datum]]:
        """Labelled, unlabelled and validation images of the training folder."""
        classes = self.split_dataset_by_label(class_folder_items(os.path.join(folder, "train")))
        each = count // len(classes) if classes else 0
        if each < 1:
            raise ValueError(f"DATASET.NUM_LABELED is {count}; give at least 1 for each of {len(classes)} classes")
        labelled: list[Datum] = []
        unlabelled: list[Datum] = []
        val: list[Datum] = []
        for items in classes.values():
            first = int(len(items) * percent)
            val += items[:first]
            rest = random.sample(items[first:], len(items) - first)
            labelled += rest[:each]
            unlabelled += rest[each:]
        if not unlabelled:
            raise ValueError(f"DATASET.NUM_LABELED {count} leaves no image without a label")
        return labelled, unlabelled, val


@DATASET_REGISTRY.offer()
class CIFAR10(PartlyLabelled):
    """10 classes (Krizhevsky, 2009)."""

    dataset_dir = "cifar10"


@DATASET_REGISTRY.offer()
class CIFAR100(PartlyLabelled):
    """100 classes (Krizhevsky, 2009)."""

    dataset_dir = "cifar100"
