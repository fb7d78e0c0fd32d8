"""PACS (Li et al., arXiv 1710.03077): pacs/images/<domain>/<class>/, pacs/splits/<domain>_<part>_kfold.txt."""

from __future__ import annotations

import os
from collections.abc import Sequence

from yacs.config import CfgNode

from ..base_dataset import DatasetBase, Datum
from ..build import DATASET_REGISTRY
from ..listed import list_lines, root_of

DAMAGED = ("sketch/dog/n02103406_4068-1.png",)  # images of the published lists that are broken


@DATASET_REGISTRY.offer()
class PACS(DatasetBase):
    """7 classes in four domains; labels of its lists begin at 1.

    Args:
        cfg: DATASET.ROOT, SOURCE_DOMAINS and TARGET_DOMAINS are read.

    Raises:
        FileNotFoundError: the folder or a list is not there.
        ValueError: a domain that it does not have, or a damaged list.
    """

    dataset_dir = "pacs"
    domains = ["art_painting", "cartoon", "photo", "sketch"]

    def __init__(self, cfg: CfgNode) -> None:
        folder = root_of(cfg.DATASET.ROOT, self.dataset_dir)
        source, target = cfg.DATASET.SOURCE_DOMAINS, cfg.DATASET.TARGET_DOMAINS
        self.check_input_domains(source, target)
        train, val = self._items(folder, source, ("train",)), self._items(folder, source, ("crossval",))
        super().__init__(train_x=train, val=val, test=self._items(folder, target, ("train", "crossval")))

    @staticmethod
    def _items(folder: str, domains: Sequence[str], splits: Sequence[str]) -> list[Datum]:
        return [
            Datum(os.path.join(folder, "images", name), label - 1, number, name.split("/")[-2])
            for number, domain in enumerate(domains)
            for split in splits
            for name, label in list_lines(os.path.join(folder, "splits", f"{domain}_{split}_kfold.txt"))
            if name not in DAMAGED
        ]
