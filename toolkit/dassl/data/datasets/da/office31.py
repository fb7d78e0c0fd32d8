"""Office-31 (Saenko et al., ECCV 2010): office31/<domain>/<class>/<image>."""

from __future__ import annotations

from yacs.config import CfgNode

from ..base_dataset import DatasetBase
from ..build import DATASET_REGISTRY
from ..listed import domain_folder_items, root_of


class DomainFolders(DatasetBase):
    """Domains that are folders of class folders; the target's images are unlabelled pool and test set at once.

    Args:
        cfg: DATASET.ROOT, SOURCE_DOMAINS and TARGET_DOMAINS are read.

    Raises:
        FileNotFoundError: the folder of the data set or of a domain is not there.
        ValueError: a domain that it does not have, or no source domain.
    """

    lower = False  # whether class names are written in lower case

    def __init__(self, cfg: CfgNode) -> None:
        folder = root_of(cfg.DATASET.ROOT, self.dataset_dir)
        source, target = cfg.DATASET.SOURCE_DOMAINS, cfg.DATASET.TARGET_DOMAINS
        self.check_input_domains(source, target)
        of_target = domain_folder_items(folder, target, self.lower)
        train = domain_folder_items(folder, source, self.lower)
        super().__init__(train_x=train, train_u=of_target, test=list(of_target))


@DATASET_REGISTRY.offer()
class Office31(DomainFolders):
    """31 classes, 4,110 images."""

    dataset_dir = "office31"
    domains = ["amazon", "webcam", "dslr"]
