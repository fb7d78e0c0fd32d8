"""What a run trains on and is measured on: data, class groups, protocol, supervision."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader
from yacs.config import CfgNode

from dassl.data.data_manager import DataManager, build_data_loader
from dassl.data.datasets import DATASET_REGISTRY, Datum
from promptkd.data.loading import decoding, device_crops
from promptkd.data.loading.pipeline import Turns, rebuilt
from promptkd.data.loading.views import seeded_loader
from promptkd.data.loading.workers import clamped_workers
from promptkd.data.outside import images_in, images_outside, shipped_images
from promptkd.data.pools import OTHER_CLASSES, PoolChange, split_off
from promptkd.model.templates import dataset_template, ensemble_templates
from promptkd.results.settings import dataset_name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Supervision:
    """What a method learns from, and which numbers it can be held to.

    Attributes:
        labels: whether it reads the labels of training images.
        makes_labels: whether it labels the training images itself, and reads those labels.
        pool: class group whose images train, without labels: "all" or "base"; "" for those of SUBSAMPLE_CLASSES.
        transductive: whether unlabelled images of the classes that it is tested on are among them.
        class_specific: whether it learns something for each class by itself, and can say nothing of other classes.
        groups: class groups that are reported; () for those that belong to SUBSAMPLE_CLASSES.
        protocol: the field's name for the setting; "" to tell it from the data.
    """

    labels: bool = True
    makes_labels: bool = False
    pool: str = ""
    transductive: bool = False
    class_specific: bool = False
    groups: tuple[str, ...] = ()
    protocol: str = ""


@dataclass
class Task:
    """A data set as one run sees it.

    Attributes:
        manager: Dassl's DataManager.
        supervision: of the method.
        train_loader: of training images, in the order and views of a seed.
        classnames: classes that train, in the order of their labels.
        all_classnames: every class of the data set, in the order of its labels.
        groups: reported class group -> labels in `all_classnames`; each is measured against its own classes only.
        evaluation_loader: over the test images of all groups, or with TEST.SPLIT val the validation images; None where
            there are none.
        outside_loader: over images of other things, TEST.OUTSIDE; None for none.
        template, templates: hand-written texts of the data set: one, and zero-shot CLIP's ensemble.
        cfg: the run's configuration.
        pool: how the unlabelled images differ from the benchmark's, for results; empty where they do not.
        held_out: unlabelled images that do not train (POOL.HELD_OUT); their labels are nobody's.
    """

    manager: Any
    supervision: Supervision
    train_loader: Any
    classnames: list[str]
    all_classnames: list[str]
    groups: dict[str, list[int]]
    evaluation_loader: Any = None
    outside_loader: Any = None
    template: str = ""
    templates: tuple[str, ...] = ()
    cfg: CfgNode = field(default_factory=CfgNode)
    pool: dict[str, Any] = field(default_factory=dict)
    held_out: list[Datum] = field(default_factory=list)

    @classmethod
    def build(cls, cfg: CfgNode, supervision: Supervision) -> Task:
        """Lists the data and makes the loaders.

        Raises:
            ValueError: the method needs labels that are not there, images to choose an epoch on, or classes that it
                cannot be asked about.
        """
        cfg, change = _with_workers_that_fit(cfg), PoolChange.of(cfg)
        if (change or cfg.POOL.HELD_OUT) and supervision.labels:
            raise ValueError(f"POOL.*: {cfg.TRAINER.NAME} learns from no images without labels: leave it out")
        manager, train_loader = loaders(_with_pool(cfg, supervision.pool))
        dataset = manager.dataset
        if supervision.labels and not getattr(dataset, "labelled", True):
            raise ValueError(
                f"{cfg.TRAINER.NAME} learns from labels, {cfg.DATASET.NAME} has none: "
                "use PromptKD or zero-shot CLIP, or sort the images into class folders (DATASET.NAME Folder)"
            )
        classnames = list(dataset.classnames)
        all_classnames = list(getattr(dataset, "all_classnames", classnames))
        labels = getattr(dataset, "groups", {"all": list(range(len(all_classnames)))})
        groups = {name: labels[name] for name in reported_groups(cfg, supervision)}
        if supervision.class_specific:
            all_classnames = classnames  # base classes have the first labels
        texts = text_templates(cfg)
        task = cls(manager, supervision, train_loader, classnames, all_classnames, groups, cfg=cfg, **texts)
        wanted = {label for group in groups.values() for label in group}
        measured = getattr(getattr(dataset, "full", dataset), cfg.TEST.SPLIT) or ()
        items = [item for item in measured if item.label in wanted]
        if cfg.TEST.SPLIT == "val" and not items:
            raise ValueError(f"TEST.SPLIT val: {cfg.DATASET.NAME} has no validation images; set it to test")
        task.evaluation_loader = task.loader(items) if items else None
        if cfg.TEST.OUTSIDE:
            task.outside_loader = task.loader(images_outside(cfg.TEST.OUTSIDE, dataset, cfg.DATASET.ROOT))
        if change:
            task.change_pool(change)
        if cfg.POOL.HELD_OUT:
            task.hold_out(cfg.POOL.HELD_OUT)
        task.log_data()
        _check_images_are_there(task)
        return task

    @property
    def other_data(self) -> dict[str, Any] | None:
        """What the images of TEST.OUTSIDE are, for results; None for none."""
        if self.outside_loader is None:
            return None
        return {"source": self.cfg.TEST.OUTSIDE, "images": len(self.outside_loader.dataset)}

    def change_pool(self, change: PoolChange) -> None:
        """Makes a pool train that is not the benchmark's; raises what `PoolChange.apply` does."""
        items = self.train_loader.dataset.data_source
        changed, self.pool = change.apply(items, self.cfg.SEED, self.foreign_images)
        log.info("Pool: %s images in the place of %s: %s", f"{len(changed):,}", f"{len(items):,}", self.pool)
        if change.foreign_share and change.foreign_from == OTHER_CLASSES:  # which are tested
            self.supervision = replace(self.supervision, transductive=True)
        self.train_on(changed)

    def hold_out(self, share: float) -> None:
        """Keeps a share of the pool from training; raises what `split_off` does."""
        items = self.train_loader.dataset.data_source
        kept, self.held_out = split_off(items, share, self.train_loader.dataset.root)
        self.pool = self.pool | {"held_out": len(self.held_out)}
        log.info("Pool: %s of %s images are held out", f"{len(self.held_out):,}", f"{len(items):,}")
        self.train_on(kept)

    def foreign_images(self, source: str) -> list[Datum]:
        """All images that show none of the classes that train.

        Args:
            source: POOL.FOREIGN_FROM: a folder, OTHER_CLASSES, or "".

        Raises:
            ValueError: there are none.
        """
        dataset, name = self.manager.dataset, self.cfg.DATASET.NAME
        full = getattr(dataset, "full", None)
        if source == OTHER_CLASSES:
            found = [item for item in full.train if item.classname not in self.classnames] if full else []
            lacks = f"all classes of {name} are in the pool"
        elif source:
            if not Path(source).is_dir():
                raise ValueError(f"POOL.FOREIGN_FROM {source} is no folder: give one with images, or {OTHER_CLASSES}")
            found = images_in(source)
            lacks = f"{source} holds no images"
        else:
            found, lacks = shipped_images(dataset), f"{name} ships none"
        if not found:
            raise ValueError(
                f"POOL.FOREIGN_SHARE {self.cfg.POOL.FOREIGN_SHARE}: no foreign images: {lacks}; set POOL.FOREIGN_FROM "
                f"to a folder of images{'' if source == OTHER_CLASSES else f', or to {OTHER_CLASSES}'}"
            )
        return found

    def log_data(self) -> None:
        """Logs what trains and what is measured, in a line."""
        items = self.evaluation_loader.dataset.data_source if self.evaluation_loader else []
        count = Counter(item.label for item in items)
        sizes = {name: sum(count[label] for label in labels) for name, labels in self.groups.items() if count}
        shown = ", ".join(f"{name} {size:,}" for name, size in sizes.items()) or "none"
        kind = "images of" if self.supervision.labels else "images without labels of"
        split = {"test": "test", "val": "validation"}[self.cfg.TEST.SPLIT]
        log.info(
            "Data: %s: %s %s %d of %d classes; %s images: %s",
            dataset_name(self.cfg), f"{len(self.train_loader.dataset):,}", kind, len(self.classnames),
            len(self.all_classnames), split, shown,
        )  # fmt: skip

    @property
    def data_name(self) -> str:
        """The data set's name in results."""
        return dataset_name(self.cfg)

    @property
    def labelled(self) -> bool:
        """Whether the data set knows the labels of its training images."""
        return bool(getattr(self.manager.dataset, "labelled", True))

    @property
    def protocol(self) -> str:
        """The field's name for what this run compares to, where the method learned on the data set itself."""
        if self.supervision.protocol:
            return self.supervision.protocol
        if "new" in self.groups or "base" in self.groups:
            return "base2new"
        return "fewshot" if self.cfg.DATASET.NUM_SHOTS > 0 else "all"

    @property
    def source(self) -> str:
        """Which images of the data set train: "train split" or "test images"."""
        return "test images" if getattr(self.manager.dataset, "tests_what_trains", False) else "train split"

    def train_on(self, items: list[Any]) -> None:
        """Makes other items train: in the order and views of a seed, read and transformed as those before.

        Raises:
            ValueError: there are none.
        """
        cfg, before = self.cfg, self.train_loader.dataset.items
        train = cfg.DATALOADER.TRAIN_X
        loader = build_data_loader(
            cfg,
            sampler_type=train.SAMPLER,
            data_source=items,
            batch_size=train.BATCH_SIZE,
            n_domain=train.N_DOMAIN,
            n_ins=train.N_INS,
            tfm=before.transform,
            is_train=True,
            dataset_wrapper=reader_of(cfg),
        )
        special = {"collate_fn": device_crops.collate} if cfg.INPUT.ON_DEVICE else {}
        self.train_loader = seeded_loader(loader, cfg.DATASET.ROOT, cfg.DATALOADER.PREFETCH_FACTOR, **special)

    def training_images_in_order(self) -> DataLoader:
        """The training images, each once, in their order and in the views of the moment; of several processes a share.

        Batches are as large as those of tests.
        """
        before, loading = self.train_loader, self.cfg.DATALOADER
        turns = Turns(len(before.dataset), loading.TEST.BATCH_SIZE)
        changes = {"dataset": before.dataset, "batch_sampler": turns, "collate_fn": before.collate_fn}
        return rebuilt(before, loading.PREFETCH_FACTOR, DataLoader, **changes)

    def loader(self, items: list[Any]) -> DataLoader:
        """Dassl's loader of test images over some items."""
        return build_data_loader(
            self.cfg,
            sampler_type=self.cfg.DATALOADER.TEST.SAMPLER,
            data_source=items,
            batch_size=self.cfg.DATALOADER.TEST.BATCH_SIZE,
            tfm=self.manager.test_loader.dataset.transform,
            is_train=False,
            dataset_wrapper=getattr(self.manager.dataset, "image_wrapper", None),
        )


def _check_images_are_there(task: Task) -> None:
    """Raises ValueError where the configuration asks for something on images that the data set has not."""
    cfg, manager = task.cfg, task.manager
    chosen_on = {"best_val": manager.val_loader, "last_step": task.train_loader}
    if chosen_on.get(cfg.TEST.FINAL_MODEL, task.evaluation_loader) is None:
        raise ValueError(
            f"TEST.FINAL_MODEL {cfg.TEST.FINAL_MODEL}: {cfg.DATASET.NAME} has no images to choose on; use last_step"
        )
    if cfg.TEST.TEMPERATURE and manager.val_loader is None:
        raise ValueError(
            f"TEST.TEMPERATURE True: {cfg.DATASET.NAME} has no validation images to fit it on, set it to False"
        )


def text_templates(cfg: CfgNode) -> dict[str, Any]:
    """The hand-written texts of a run: TEMPLATE where it is given, else the data set's own."""
    if cfg.TEMPLATE:
        return {"template": cfg.TEMPLATE, "templates": (cfg.TEMPLATE,)}
    name = cfg.DATASET.NAME
    return {"template": dataset_template(name), "templates": tuple(ensemble_templates(name))}


def reported_groups(cfg: CfgNode, supervision: Supervision) -> list[str]:
    """Class groups that an evaluation reports.

    Raises:
        ValueError: only new classes are wanted, of which a class-specific method knows nothing.
    """
    if supervision.groups:
        return list(supervision.groups)
    groups = {"base": ["base", "new"], "new": ["new"]}.get(cfg.DATASET.SUBSAMPLE_CLASSES, ["all"])
    if not supervision.class_specific or "new" not in groups:
        return groups
    if groups == ["new"]:
        raise ValueError("CSC True: a class-specific context cannot do new classes: set CSC False, or report base")
    log.info("CSC True: a class-specific context cannot do new classes, only base is reported")
    return ["base"]


def _with_pool(cfg: CfgNode, pool: str) -> CfgNode:
    """The configuration under which a data set lists a pool: the classes that train are the pool's."""
    if not pool:
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASET.SUBSAMPLE_CLASSES = pool
    return cfg


def _with_workers_that_fit(cfg: CfgNode) -> CfgNode:
    """The configuration with no more loader workers than there are cores; that changes no number."""
    workers = clamped_workers(cfg.DATALOADER.NUM_WORKERS)
    if workers == cfg.DATALOADER.NUM_WORKERS:
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATALOADER.NUM_WORKERS = workers
    cfg.freeze()
    return cfg


def reader_of(cfg: CfgNode) -> Any:
    """The class of a loader's training items; a user's own images are read by their data set's own."""
    return decoding.wrapper(cfg, getattr(DATASET_REGISTRY.get(cfg.DATASET.NAME), "image_wrapper", None))


def loaders(cfg: CfgNode) -> tuple[DataManager, DataLoader]:
    """Dassl's loaders, and the one that trains, in the order and views of a seed, decoded as the options ask for."""
    cropping = device_crops.CropTransform(cfg) if cfg.INPUT.ON_DEVICE else None
    manager = DataManager(cfg, custom_tfm_train=cropping, dataset_wrapper=reader_of(cfg))
    special = {"collate_fn": device_crops.collate} if cropping else {}
    prefetch = cfg.DATALOADER.PREFETCH_FACTOR
    return manager, seeded_loader(manager.train_loader_x, cfg.DATASET.ROOT, prefetch, **special)
