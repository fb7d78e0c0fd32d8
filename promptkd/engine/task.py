"""What a run trains on and what it reports: loaders, class groups, protocol."""

from __future__ import annotations

from typing import Any, ClassVar

from torch.utils.data import DataLoader
from yacs.config import CfgNode

from dassl.data.data_manager import DataManager, build_data_loader
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TrainerX
from promptkd.data.loading import decoding, device_crops
from promptkd.data.loading.views import seeded_loader
from promptkd.results import record as results


class TaskTrainer(TrainerX):
    """The data of a prompt trainer; PromptTrainer is built on it."""

    needs_labels: ClassVar[bool] = True  # whether training reads labels
    transductive: ClassVar[bool] = False  # whether it learns from unlabelled images of the classes it is tested on

    def build_data_loader(self) -> None:
        """Dassl's loaders, and one over the test images of every class group that is reported (None without any)."""
        self.dm, self.train_loader_x = loaders(self.cfg)
        dm = self.dm
        self.train_loader_u = dm.train_loader_u
        self.val_loader, self.test_loader = dm.val_loader, dm.test_loader
        self.num_classes, self.num_source_domains = dm.num_classes, dm.num_source_domains
        self.lab2cname = dm.lab2cname
        dataset = dm.dataset
        if self.needs_labels and not getattr(dataset, "labelled", True):
            raise ValueError(
                f"{self.cfg.TRAINER.NAME} learns from labels, {self.cfg.DATASET.NAME} has none: "
                "use PromptKD or zero-shot CLIP, or sort the images into class folders (DATASET.NAME Folder)"
            )
        self.classnames: list[str] = list(dataset.classnames)
        self.all_classnames: list[str] = list(getattr(dataset, "all_classnames", dataset.classnames))
        everything = getattr(dataset, "full", dataset).test
        labels = getattr(dataset, "groups", {"all": list(range(len(self.all_classnames)))})
        self.class_groups: dict[str, list[int]] = {name: labels[name] for name in self.reported_groups()}
        wanted = {label for group in self.class_groups.values() for label in group}
        items = [item for item in everything if item.label in wanted]
        self.evaluation_loader = self._loader(items) if items else None
        chosen_on = {"best_val": self.val_loader, "last_step": self.train_loader_x}
        if chosen_on.get(self.cfg.TEST.FINAL_MODEL, self.evaluation_loader) is None:
            raise ValueError(
                f"TEST.FINAL_MODEL {self.cfg.TEST.FINAL_MODEL}: {self.cfg.DATASET.NAME} has no images to choose on; "
                "use last_step"
            )

    def _loader(self, items: list) -> Any:
        return build_data_loader(
            self.cfg,
            sampler_type=self.cfg.DATALOADER.TEST.SAMPLER,
            data_source=items,
            batch_size=self.cfg.DATALOADER.TEST.BATCH_SIZE,
            tfm=self.test_loader.dataset.transform,
            is_train=False,
            dataset_wrapper=getattr(self.dm.dataset, "image_wrapper", None),
        )

    def reported_groups(self) -> list[str]:
        """Class groups that an evaluation reports, each against its own classes only."""
        return {"base": ["base", "new"], "new": ["new"]}.get(self.cfg.DATASET.SUBSAMPLE_CLASSES, ["all"])

    def protocol(self) -> str:
        """The field's name for what this run compares to, where PROTOCOL does not say it."""
        if self.learned_on() not in (None, self.cfg.DATASET.NAME):
            return "dg" if (self.learned_on(), self.cfg.DATASET.NAME[:8]) == ("ImageNet", "ImageNet") else "cross"
        if "new" in self.class_groups or "base" in self.class_groups:
            return "base2new"
        return "fewshot" if self.cfg.DATASET.NUM_SHOTS > 0 else "all"

    def learned_on(self) -> str | None:
        """The data set whose labels taught what is learned: that of MODEL_DIR in an evaluation. None for nothing."""
        if not any(True for _ in self.prompts.parameters()):
            return None
        return results.dataset_of(self.cfg.MODEL_DIR) if self.cfg.EVAL_ONLY else self.cfg.DATASET.NAME

    def labelled_shots(self) -> int:
        """Labelled images a class that were learned from; 0 or less for all, or none."""
        return self.cfg.DATASET.NUM_SHOTS

    def unlabelled_images(self) -> int:
        """How many images were learned from without their labels."""
        return 0

    def teacher_result(self) -> dict[str, Any] | None:
        """What results.json says of the teacher; None where there is none."""
        return None


def loaders(cfg: CfgNode) -> tuple[DataManager, DataLoader]:
    """Dassl's loaders, and the one that trains, in the order and views of a seed, decoded as the options ask for."""
    # a user's own images are read by their data set's own wrapper
    own = getattr(DATASET_REGISTRY.get(cfg.DATASET.NAME), "image_wrapper", None)
    cropping = device_crops.CropTransform(cfg) if cfg.INPUT.ON_DEVICE else None
    manager = DataManager(cfg, custom_tfm_train=cropping, dataset_wrapper=decoding.wrapper(cfg, own))
    special = {"collate_fn": device_crops.collate} if cropping else {}
    prefetch = cfg.DATALOADER.PREFETCH_FACTOR
    return manager, seeded_loader(manager.train_loader_x, cfg.DATASET.ROOT, prefetch, **special)
