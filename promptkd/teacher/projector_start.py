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

Pair = tuple[Tensor, Tensor]


class RidgeStart(Callback):
    """Sets the linear part of a projector by a ridge regression over the pool, in a run that begins.

    It leads the student's image features as they are, with the prompts that it starts with, to the teacher's of unit
    norm: class probabilities depend on directions alone.

    Args:
        model: the student; its projector has a linear part.
        strength: of the ridge, see RidgeRegression.
        scale: factor of the map, which directions do not see.
        pairs: gives features of the student before its projector (b, D) and of the teacher (b, E), batch by batch; of
            several processes each has a share.
    """

    def __init__(self, model: PromptedClip, strength: float, scale: float, pairs: Callable[[], Iterator[Pair]]) -> None:
        self.model, self.strength, self.scale, self.pairs = model, strength, scale, pairs
        self.resumed = False

    @torch.no_grad()
    def before_train(self) -> None:
        if self.resumed:
            return
        assert isinstance(self.model.prompts, StudentPrompts)
        linear = linear_part(self.model.prompts.projector)
        assert linear is not None, "options that give it none are refused"
        regression = RidgeRegression(linear.in_features, linear.out_features, linear.weight.device)
        with self.model.precision.autocast():
            for student, teacher in self.pairs():
                regression.add(student, F.normalize(teacher.float(), dim=-1))
        weight, bias = regression.solve(self.strength, distributed.add_up)
        linear.weight.copy_(self.scale * weight)
        linear.bias.copy_(self.scale * bias)
        log.info(
            "Projector: started by ridge regression over %s views (RIDGE %g)", f"{regression.count:,}", self.strength
        )

    def state(self) -> dict[str, Any]:
        return {"projector_start": "ridge"}

    def load_state(self, state: dict[str, Any]) -> None:
        self.resumed = True


def pairs_of_images(
    task: Task, model: PromptedClip, teaching: Teaching, on_device: Callable[[dict[str, Any]], Batch]
) -> Iterator[Pair]:
    """The pairs of RidgeStart for a run that reads images, in the views of its first epoch.

    The teacher's features are computed: what a cache keeps depends on the batch, and these are other batches.

    Args:
        task: of the run.
        model: the student.
        teaching: its teacher, and the seed of the views.
        on_device: makes a Batch of a loader's batch.
    """
    prompts, teacher = model.prompts, teaching.members[0]
    assert isinstance(prompts, StudentPrompts)
    task.train_loader.dataset.set_epoch(teaching.seed, 0)
    for rows in task.training_images_in_order():
        images = on_device(rows).images
        yield prompts.unprojected(model.clip, images), teacher.encode(images)
