"""PromptKD on stored features: where the projector alone learns, no image is decoded in training. Ours.

Student and teacher see the same K views of each image, whose features are stored once, for any number of runs: views
follow from VIEWS_SEED, not from the run's seed, which draws the projector's first values and the order.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from promptkd import distributed, exits
from promptkd.data.loading import device_crops
from promptkd.data.loading.pipeline import rebuilt
from promptkd.engine.batch import Batch
from promptkd.engine.callbacks import Callback
from promptkd.engine.task import Task
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompts import StudentPrompts
from promptkd.model.spec import PromptSpec
from promptkd.teacher.cache import StoredFeatures
from promptkd.teacher.feature_loader import feature_loader
from promptkd.teacher.pool import Pool
from promptkd.teacher.teaching import Teaching

log = logging.getLogger(__name__)

Encoded = tuple[StoredFeatures, Callable[[Tensor], Tensor]]  # features, and what makes them of images


class FeatureMode(Callback):
    """The student's features of the pool, stored beside the teacher's; both are completed before the first step.

    The task's training loader gives the numbers of images from here on.

    Args:
        task: of the run.
        model: the student, of which the projector alone learns.
        teaching: the teacher's side of the run.
        options: of the kind of StudentOptions.
    """

    def __init__(self, task: Task, model: PromptedClip, teaching: Teaching, options: Any) -> None:
        self.task, self.model, self.teaching, self.options = task, model, teaching, options
        self.images = task.train_loader  # which reads them
        task.train_loader = feature_loader(task.train_loader)
        teaching.seed = options.views_seed
        self.views = min(options.cache_views, task.cfg.OPTIM.MAX_EPOCH)
        self.counts = {"read": 0, "computed": 0}
        self.encoder = PromptedClip(model.clip, PromptSpec(), model.precision, about=model.about).freeze()
        self.store: StoredFeatures | None = None

    @property
    def prompts(self) -> StudentPrompts:
        """What is learned: the projector."""
        assert isinstance(self.model.prompts, StudentPrompts)
        return self.model.prompts

    def features(self, batch: Batch) -> Tensor:
        """The student's features (B, D) of a batch, before the projector."""
        assert self.store is not None
        return self.store.features(batch.index, batch.images, self.encoder.image_features)

    def projected(self, batch: Batch) -> Tensor:
        """The student's features (B, E) of a batch in the space of the class vectors, with gradients."""
        features: Tensor = self.prompts.projector(self.features(batch))
        return features

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Features of the student before its projector and of the teacher, of all views: (b, D), (b, E).

        Several processes have a share each.
        """
        assert self.store is not None
        teacher = self.teaching.stores()[0]
        share = np.arange(distributed.rank(), len(self.images.dataset), distributed.world_size())
        nothing = torch.empty(0, device=self.model.device)
        for view in range(self.views):
            for store, _ in ((self.store, None), teacher):
                store.start_epoch(view)
            for rows in torch.from_numpy(share).split(1024):
                mine = self.store.features(rows, nothing, self.encoder.image_features)
                yield mine, teacher[0].features(rows, nothing, teacher[1])

    def before_train(self) -> None:
        pool = Pool.of_task(self.task)
        self.store = pool.strong_store(self.encoder, self.options, self.options.views_seed, self.counts)
        self.fill([(self.store, self.encoder.image_features), *self.teaching.stores()])

    @torch.no_grad()
    def fill(self, encoded: list[Encoded]) -> None:
        """Completes the views of all encoders, each image decoded once for all of them.

        Raises:
            OSError: they cannot be kept.
        """
        start, decoded = time.time(), 0
        for view in range(self.views):
            decoded += self.complete(encoded, view)
        if decoded:
            log.info("Stored features: %s views in %.1f s", f"{decoded:,}", time.time() - start)

    def complete(self, encoded: list[Encoded], view: int) -> int:
        """Computes what a view lacks; the number of images that this process decoded."""
        share = _missing(encoded, view)
        if self.options.teacher_cache:  # on disk: what all processes read, each of them makes a share
            # by their own numbers: another process may have begun, and then fewer are missing here than there
            share = share[share % distributed.world_size() == distributed.rank()]
        with self.model.precision.autocast():
            for batch in self.loader(share, view):
                exits.check()
                images = device_crops.on_device(self.task.cfg, batch["img"], self.model.device)
                for store, encode in encoded:
                    store.features(batch["index"], images, encode)
        distributed.barrier()
        if left := len(_missing(encoded, view)):
            raise OSError(
                f"MODE features: the features of {left:,} images could not be kept (the lines above say why): set "
                'TRAINER.PROMPTKD.CACHE_DIR or CACHE_GB, or TEACHER_CACHE "" to keep them in memory'
            )
        return len(share)

    def loader(self, numbers: np.ndarray, view: int) -> DataLoader:
        """Images by their numbers, in a view."""
        views, loading = self.images.dataset, self.task.cfg.DATALOADER
        views.set_epoch(self.options.views_seed, view)
        batches = [some.tolist() for some in torch.from_numpy(numbers).split(loading.TEST.BATCH_SIZE) if len(some)]
        changes = {"batch_sampler": batches, "collate_fn": self.images.collate_fn}
        return rebuilt(self.images, loading.PREFETCH_FACTOR, DataLoader, **changes)

    def before_epoch(self, epoch: int) -> None:
        assert self.store is not None
        self.store.start_epoch(epoch)

    def after_train(self) -> None:
        if self.store:
            self.store.close()

    def state(self) -> dict[str, Any]:
        return {"student_images": dict(self.counts)}

    def load_state(self, state: dict[str, Any]) -> None:
        self.counts |= state["student_images"]

    def result(self) -> dict[str, Any]:
        """What results.json says of the student's features: views of an image, and images read and computed."""
        return {"views": self.views, "views_seed": self.options.views_seed} | self.counts


def _missing(encoded: list[Encoded], view: int) -> np.ndarray:
    """Numbers of the images whose features any of the stores lacks in a view, to which all of them turn."""
    for store, _ in encoded:
        store.start_epoch(view)
    numbers: np.ndarray = np.unique(np.concatenate([store.missing() for store, _ in encoded]))
    return numbers
