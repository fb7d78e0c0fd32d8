"""Office-Home (Venkateswara et al., CVPR 2017): office_home/<domain>/<class>/<image>."""

from __future__ import annotations

from ..build import DATASET_REGISTRY
from .office31 import DomainFolders


@DATASET_REGISTRY.offer()
class OfficeHome(DomainFolders):
    """65 classes, about 15,500 images."""

    dataset_dir = "office_home"
    domains = ["art", "clipart", "product", "real_world"]
    lower = True
