"""DomainNet (Peng et al., arXiv 1812.01754): domainnet/splits/<domain>_{train,test}.txt."""

from __future__ import annotations

import os
from collections.abc import Sequence

from yacs.config import CfgNode

from ..base_dataset import DatasetBase, Datum
from ..build import DATASET_REGISTRY
from ..listed import list_lines, root_of


@DATASET_REGISTRY.offer()
class DomainNet(DatasetBase):
    """345 classes in six domains, with lists of training and of test images.

    Args:
        cfg: DATASET.ROOT, SOURCE_DOMAINS and TARGET_DOMAINS are read.

    Raises:
        FileNotFoundError: the folder or a list is not there.
        ValueError: a domain that it does not have, or a damaged list.
    """

    dataset_dir = "domainnet"
    domains = ["clipart", "infograph", "painting", "quickdraw", "real", "sketch"]

    def __init__(self, cfg: CfgNode) -> None:
        folder = root_of(cfg.DATASET.ROOT, self.dataset_dir)
        source, target = cfg.DATASET.SOURCE_DOMAINS, cfg.DATASET.TARGET_DOMAINS
        self.check_input_domains(source, target)
        super().__init__(
            train_x=self._items(folder, source, "train"),
            train_u=self._items(folder, target, "train"),
            val=self._items(folder, source, "test"),
            test=self._items(folder, target, "test"),
        )

    @staticmethod
    def _items(folder: str, domains: Sequence[str], split: str) -> list[Datum]:
        return [
            Datum(os.path.join(folder, name), label, number, name.split("/")[1])
            for number, domain in enumerate(domains)
            for name, label in list_lines(os.path.join(folder, "splits", f"{domain}_{split}.txt"))
        ]
