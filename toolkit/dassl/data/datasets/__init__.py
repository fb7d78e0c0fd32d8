"""Data sets."""

from .base_dataset import DatasetBase, Datum
from .build import DATASET_REGISTRY, build_dataset
from .da import DomainNet, Office31, OfficeHome, VisDA17
from .dg import PACS
from .ssl import CIFAR10, CIFAR100

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "DATASET_REGISTRY",
    "PACS",
    "DatasetBase",
    "Datum",
    "DomainNet",
    "Office31",
    "OfficeHome",
    "VisDA17",
    "build_dataset",
]
