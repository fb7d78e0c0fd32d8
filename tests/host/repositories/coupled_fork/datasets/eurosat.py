import os

from dassl.data.datasets import DATASET_REGISTRY, Datum, DatasetBase
from dassl.utils import read_json


@DATASET_REGISTRY.register()
class EuroSAT(DatasetBase):
    dataset_dir = "eurosat"

    def __init__(self, cfg):
        root = os.path.abspath(os.path.expanduser(cfg.DATASET.ROOT))
        self.dataset_dir = os.path.join(root, self.dataset_dir)
        self.image_dir = os.path.join(self.dataset_dir, "2750")
        self.split_path = os.path.join(self.dataset_dir, "split_zhou_EuroSAT.json")
        split = read_json(self.split_path)
        train, val, test = (
            [Datum(os.path.join(self.image_dir, path), int(label), classname=name) for path, label, name in split[part]]
            for part in ("train", "val", "test")
        )
        self.templates = ["a satellite photo of {}."]
        if cfg.DATASET.SUBSAMPLE_CLASSES != "all":
            first = cfg.DATASET.SUBSAMPLE_CLASSES == "base"
            train, val, test = ([one for one in part if (one.label < 3) == first] for part in (train, val, test))
            if not first:
                train, val, test = (
                    [Datum(one.impath, one.label - 3, classname=one.classname) for one in part]
                    for part in (train, val, test)
                )
        super().__init__(train_x=train, val=val, test=test)
