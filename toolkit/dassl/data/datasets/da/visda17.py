"""VisDA-2017 (Peng et al., arXiv 1710.06924): visda17/{train,validation}/image_list.txt."""

from __future__ import annotations

import os

from yacs.config import CfgNode

from ..base_dataset import DatasetBase, Datum
from ..build import DATASET_REGISTRY
from ..listed import list_lines, root_of


@DATASET_REGISTRY.offer()
class VisDA17(DatasetBase):
    """12 classes: rendered images (its training folder) to photographs (its validation folder).

    Args:
        cfg: DATASET.ROOT is read; the domains are always these.

    Raises:
        FileNotFoundError: the folder or a list is not there.
        ValueError: a domain that it does not have, or a damaged list.
    """

    dataset_dir = "visda17"
    domains = ["synthetic", "real"]

    def __init__(self, cfg: CfgNode) -> None:
        folder = root_of(cfg.DATASET.ROOT, self.dataset_dir)
        self.check_input_domains(cfg.DATASET.SOURCE_DOMAINS, cfg.DATASET.TARGET_DOMAINS)
        real = self._items(os.path.join(folder, "validation"))
        super().__init__(train_x=self._items(os.path.join(folder, "train")), train_u=real, test=list(real))

    @staticmethod
    def _items(folder: str) -> list[Datum]:
        lines = list_lines(os.path.join(folder, "image_list.txt"))
        return [Datum(os.path.join(folder, name), label, 0, name.split("/")[0]) for name, label in lines]
