"""The images without labels that a run learns from: their list, their views, and stored features of any encoder."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms as T
from tqdm import tqdm
from yacs.config import CfgNode

from dassl.data.data_manager import build_data_loader
from dassl.data.datasets import Datum
from dassl.data.transforms import INTERPOLATION_MODES, build_transform
from promptkd import distributed
from promptkd.data.loading.views import SeededViews
from promptkd.engine.pseudo_labels import PseudoLabel
from promptkd.engine.task import Task, reader_of
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompting import shape_of
from promptkd.model.zoo import image_statistics
from promptkd.results.settings import node_of
from promptkd.teacher import feature_keys
from promptkd.teacher.cache import StoredFeatures, open_store
from promptkd.teacher.memory_store import MemoryEntry

log = logging.getLogger(__name__)

ROOM = 20.0  # 10^9 bytes of a folder with features of weak views


@dataclass
class Pool:
    """Images whose labels a method does not read: which, where from, of which classes, and their views.

    An image has a weak view, which is that of an evaluation, and strong ones, which are those of training. The features
    of both, by any encoder, can be kept on disk, by image and view.

    Attributes:
        task: of the run.
        items: Dassl's items in the order of the data set's list; their labels are for results alone.
        source: where they come from: "train split" or "test images".
        folder: where features of weak views are kept for later runs; None to keep them while the run lasts.
        squash: whether weak views are whole images brought to a square, in the place of their centres.
    """

    task: Task
    items: Sequence[Datum]
    source: str = "train split"
    folder: Path | None = None
    squash: bool = False
    _features: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of_task(cls, task: Task, folder: str = "", squash: bool = False, tested: bool = False) -> Pool:
        """The training images of a task, all of its list.

        Args:
            task: of the run.
            folder, squash: see above; "" keeps no features.
            tested: whether they are the test images instead.

        Raises:
            ValueError: test images are asked for, and there are none, or a pool that is not the benchmark's.
        """
        place = Path(folder).expanduser() if folder else None
        if not tested:
            return cls(task, list(task.train_loader.dataset.data_source), task.source, place, squash)
        if task.evaluation_loader is None:
            raise ValueError(f"IMAGES test: {task.cfg.DATASET.NAME} has no test images; set it to train")
        if task.pool:
            raise ValueError("IMAGES test: POOL.* is of training images; set it to train, or leave POOL.* out")
        return cls(task, list(task.evaluation_loader.dataset.data_source), "test images", place, squash)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def cfg(self) -> CfgNode:
        """The run's configuration."""
        return self.task.cfg

    @property
    def paths(self) -> list[str]:
        """Paths of the images."""
        return [item.impath for item in self.items]

    @property
    def truth(self) -> list[int]:
        """Labels of the images as their data set has them, for results; negative where there are none."""
        return [item.label for item in self.items]

    def about(self) -> dict[str, Any]:
        """What results.json says of the images: how many, of which classes, where from, and what was changed."""
        classes = self.task.supervision.pool or self.cfg.DATASET.SUBSAMPLE_CLASSES
        about = {"images": len(self), "classes": classes, "from": self.source}
        return about | ({"pool": self.task.pool} if self.task.pool else {})

    def labelled(self, chosen: Sequence[PseudoLabel], classnames: Sequence[str]) -> list[Datum]:
        """Items with pseudo-labels, in the order of `chosen`."""
        return [
            Datum(self.items[one.row].impath, one.label, self.items[one.row].domain, classnames[one.label])
            for one in chosen
        ]

    def strong_store(
        self, encoder: PromptedClip, options: Any, seed: int, counts: dict[str, int], change: str = ""
    ) -> StoredFeatures:
        """The features of the training loader's views that options of the kind of TeacherOptions ask to keep.

        Args:
            encoder: whose features they are.
            options: teacher_cache (the mode; "" keeps them in memory, by views), cache_views, cache_dir, cache_gb.
            seed: of the views.
            counts: "read" and "computed" images, counted on there.
            change: what is done to a view before the encoder gets it, in words; "" for nothing.

        Raises:
            OSError: CACHE_DIR cannot be written to.
        """
        views, mode = self.task.train_loader.dataset, options.teacher_cache
        if not mode:
            return StoredFeatures(MemoryEntry(len(views)), "views", options.cache_views, counts)
        key = {"mode": mode, "seed": seed} | self._key(encoder, self.cfg, views)
        key |= {"change": change} if change else {}
        if mode == "exact":
            key["batches"] = feature_keys.batches_key(self.cfg, encoder.device)
        folder = Path(options.cache_dir or "~/.cache/promptkd/teacher").expanduser()
        entry = open_store(
            folder, options.cache_gb, key, self._origin(encoder), len(views), "TRAINER.PROMPTKD.CACHE_DIR"
        )
        log.info(f"Stored features ({mode}): {entry.path}")
        return StoredFeatures(entry, mode, options.cache_views, counts)

    @torch.no_grad()
    def weak_features(self, model: PromptedClip) -> Tensor:
        """Features (N, D) of the weak views by a model's image encoder, un-normalised, float32 on the CPU.

        Views have the model's own size and statistics. They are computed once for each encoder, and read where
        `folder` has them.

        Raises:
            OSError: the folder cannot be written to.
        """
        cfg = input_of(self.cfg, model)
        loader = self.weak_loader(cfg)
        key = {"mode": "weak", "squash": self.squash}
        key |= self._key(model, cfg, SeededViews(loader.dataset, cfg.DATASET.ROOT))
        name = json.dumps(key, sort_keys=True)
        if name not in self._features:
            self._features[name] = self._weak_features(model, loader, key)
        return self._features[name]

    def _weak_features(self, model: PromptedClip, loader: DataLoader, key: dict[str, Any]) -> Tensor:
        if self.folder is None:
            return encoded(model, loader)
        option = f"TRAINER.{node_of(self.cfg.TRAINER.NAME)}.FEATURE_CACHE"
        entry = open_store(self.folder, ROOM, key, self._origin(model), len(self), option)
        store = StoredFeatures(entry, "weak", 1, {"read": 0, "computed": 0})
        try:
            store.start_epoch(0)
            if (kept := store.whole(shape_of(model.clip).embed_dim)) is not None:
                log.info("Unlabelled images: features of %d read from %s", len(kept), entry.path)
                return kept.float()
            features = encoded(model, loader)
            if distributed.is_main():
                store.keep(features)
            return features
        finally:
            store.close()

    def weak_loader(self, cfg: CfgNode) -> DataLoader:
        """The images in their order, in the view of an evaluation."""
        return build_data_loader(
            cfg,
            sampler_type="SequentialSampler",
            data_source=self.items,
            batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
            tfm=squashed(cfg) if self.squash else build_transform(cfg, is_train=False),
            is_train=False,
            dataset_wrapper=reader_of(cfg),
        )

    def _key(self, encoder: PromptedClip, cfg: CfgNode, views: SeededViews) -> dict[str, Any]:
        """What features depend on beside the view: the encoder, the images, how they are read, the arithmetic."""
        return {
            "teacher": feature_keys.encoder_key(encoder),  # the name under which stored features lie
            "images": feature_keys.images_key(views),
            "transform": feature_keys.transform_key(cfg, views),
            "arithmetic": feature_keys.precision_key(encoder.precision),
        }

    def _origin(self, encoder: PromptedClip) -> dict[str, str]:
        source = str(encoder.about.get("source", encoder.about.get("backbone", "")))
        root = self.task.train_loader.dataset.root
        return {"teacher": source, "dataset": self.cfg.DATASET.NAME, "root": root}


def encoded(model: PromptedClip, loader: DataLoader) -> Tensor:
    """A model's features (N, D) of a loader's images, float32 on the CPU.

    Several processes compute them one after the other, or read what the first has kept: a trainer is built in the main
    process first, so that none can wait here for the others.
    """
    with model.precision.autocast():
        batches = tqdm(loader, "Unlabelled images", disable=None)
        return torch.cat([model.image_features(batch["img"].to(model.device)).float().cpu() for batch in batches])


def squashed(cfg: CfgNode) -> Callable[[Any], Any]:
    """The transform of a whole image to INPUT.SIZE, whatever its shape: Dassl's for tests before its version 0.6."""
    steps: list[Any] = [T.Resize(tuple(cfg.INPUT.SIZE), INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION]), T.ToTensor()]
    if "normalize" in cfg.INPUT.TRANSFORMS:
        steps.append(T.Normalize(cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD))
    return T.Compose(steps)


def input_of(cfg: CfgNode, model: PromptedClip) -> CfgNode:
    """The configuration whose images are made as a model wants them: its size, mean and standard deviation."""
    size = shape_of(model.clip).resolution
    mean, std = image_statistics(model.clip)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.SIZE = (size, size)
    cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD = list(mean), list(std)
    cfg.freeze()
    return cfg
