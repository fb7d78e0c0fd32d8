"""What a student's options add around its epochs: a projector in closed form, a mean over steps."""

from __future__ import annotations

from functools import partial
from typing import Any

from yacs.config import CfgNode

from promptkd.engine.callbacks import Callback, MovingMean
from promptkd.engine.step import Step
from promptkd.engine.task import Task
from promptkd.teacher.feature_mode import FeatureMode
from promptkd.teacher.projector_start import RidgeStart, pairs_of_images
from promptkd.teacher.teaching import Teaching


def student_callbacks(
    cfg: CfgNode, options: Any, task: Task, teaching: Teaching, step: Step, stored: FeatureMode | None = None
) -> list[Callback]:
    """The callbacks that a student's options ask for, in their order.

    Args:
        cfg, task: of the run.
        options: of the kind of StudentOptions.
        teaching: the teacher's side.
        step: of the student.
        stored: the student's features, where it reads no images.
    """
    model, found = step.model, list[Callback]([stored] if stored else [])
    if options.projector_start == "ridge" and not cfg.MODEL.INIT_WEIGHTS:
        of_images = partial(pairs_of_images, task, model, teaching, step.on_device)
        found.append(RidgeStart(model, options.ridge, options.ridge_scale, stored.pairs if stored else of_images))
    if options.ema:
        found.append(MovingMean(model.prompts, options.ema, cfg.OPTIM.MAX_EPOCH))
    return found
