"""A student's projector in closed form, before the first step: it leads to the teacher's features. Ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from promptkd import distributed
from promptkd.engine.batch import Batch
from promptkd.engine.callbacks import Callback
from promptkd.engine.task import Task
from promptkd.model.projector import linear_part
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompts import StudentPrompts
from promptkd.model.ridge import RidgeRegression
from promptkd.teacher.teaching import Teaching

log = logging.getLogger(__name__)


class RidgeStart(Callback):
    """Sets the linear part of a projector by a ridge regression over the pool, in a run that begins.

    It leads the student's image features as they are, with the prompts that it starts with, to the teacher's of unit
    norm: class probabilities depend on directions alone. Images are seen as in the first epoch of training, for that is
    what the projector will see; one pass of both encoders.

    Args:
        model: the student; its projector has a linear part.
        task: of the run.
        strength: of the ridge, see RidgeRegression.
        teaching: of the run: its (first) teacher, and the seed of its views.
        on_device: makes a Batch of a loader's batch.
    """

    def __init__(
        self,
        model: PromptedClip,
        task: Task,
        strength: float,
        teaching: Teaching,
        on_device: Callable[[dict[str, Any]], Batch],
    ) -> None:
        self.model, self.task, self.strength = model, task, strength
        self.teaching, self.on_device = teaching, on_device
        self.resumed = False

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Features of the student before its projector, and of the teacher, batch by batch: (b, D), (b, E)."""
        prompts, teacher = self.model.prompts, self.teaching.members[0]
        assert isinstance(prompts, StudentPrompts)
        self.task.train_loader.dataset.set_epoch(self.teaching.seed, 0)
        for rows in self.task.training_images_in_order():
            images = self.on_device(rows).images
            yield prompts.unprojected(self.model.clip, images), teacher.encode(images)

    @torch.no_grad()
    def before_train(self) -> None:
        if self.resumed:
            return
        assert isinstance(self.model.prompts, StudentPrompts)
        linear = linear_part(self.model.prompts.projector)
        assert linear is not None, "options that give it none are refused"
        regression = RidgeRegression()
        with self.model.precision.autocast():
            for student, teacher in self.pairs():
                regression.add(student, F.normalize(teacher.float(), dim=-1))
        weight, bias = regression.solve(self.strength, distributed.add_up)
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
        images = len(self.task.train_loader.dataset)
        log.info("Projector: started by ridge regression over %s images (RIDGE %g)", f"{images:,}", self.strength)

    def state(self) -> dict[str, Any]:
        return {"projector_start": "ridge"}

    def load_state(self, state: dict[str, Any]) -> None:
        self.resumed = True
