"""Builds the model of a run from its configuration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from yacs.config import CfgNode

from promptkd.engine import checkpoints
from promptkd.engine.evaluator import check_input
from promptkd.model.class_vectors import ClassVectors
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompting import ClipShape, shape_of
from promptkd.model.spec import PromptSpec
from promptkd.model.zoo import load_clip

log = logging.getLogger(__name__)


def build_model(
    cfg: CfgNode,
    precision: Precision,
    make_spec: Callable[[ClipShape], PromptSpec],
    *,
    classnames: Sequence[str] | None,
    templates: Sequence[str] = (),
    find_vectors: Callable[[], ClassVectors] | None = None,
) -> PromptedClip:
    """The frozen CLIP of MODEL.BACKBONE with the prompts that a method learns.

    Args:
        cfg: a run's.
        precision: arithmetic and device.
        make_spec: a method's spec, for the sizes of the model.
        classnames: classes that train; None where no text is encoded, so that the text encoder is left out.
        templates: hand-written texts of a method that learns no words.
        find_vectors: gives the class vectors that a student is compared to. They are found after the student's CLIP is
            loaded, and before its prompts draw their first values.

    Raises:
        ValueError: images are not made as the model wants them, or the model does not take such prompts.
    """
    name = cfg.MODEL.BACKBONE.NAME
    clip = load_clip(name, text=classnames is not None)
    check_input(cfg, clip, name)
    vectors = find_vectors() if find_vectors else None
    shape = shape_of(clip)
    target = shape.embed_dim if vectors is None else vectors.features.shape[1]
    spec = make_spec(replace(shape, target_dim=target))
    about = {"backbone": name, "trainer": cfg.TRAINER.NAME}
    model = PromptedClip(clip, spec, precision, templates=templates, vectors=vectors, about=about)
    model.prompts.text_chunk = cfg.TRAIN.TEXT_CHUNK
    log.info("Model: %s, %d px, %s on %s", name, shape.resolution, precision.arithmetic, precision.device.type)
    if cfg.MODEL.COMPILE:
        model.compile(graphs=cfg.TRAIN.ACCUMULATE == 1)
    if cfg.MODEL.INIT_WEIGHTS:
        state = checkpoints.read_checkpoint(cfg.MODEL.INIT_WEIGHTS)["state_dict"]
        checkpoints.start_from(model.prompts, state, cfg.MODEL.INIT_WEIGHTS)
    if classnames is not None and not model.templates:
        model.tokens(classnames)  # a class name that is too long shows now, not after an epoch
    return model
