"""From configuration to a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yacs.config import CfgNode

from dassl.left_out import check_left_out
from dassl.utils import Registry, check_availability

if TYPE_CHECKING:
    from .base_dataset import DatasetBase

DATASET_REGISTRY = Registry("DATASET", second_names=True)


def build_dataset(cfg: CfgNode) -> DatasetBase:
    """Build the data set cfg.DATASET.NAME.

    Raises:
        ValueError: unknown data set; the message has the closest name.
    """
    name = cfg.DATASET.NAME
    known = [*DATASET_REGISTRY.registered_names(), *DATASET_REGISTRY.offered_names()]
    check_left_out("dataset", name, known)
    check_availability(name, known)
    if cfg.VERBOSE:
        print(f"Loading dataset: {name}")
    return DATASET_REGISTRY.get(name)(cfg)
