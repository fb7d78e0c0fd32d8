"""A frozen teacher over the names of a vocabulary: the task's classes, or a list of concepts that no task is of."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from promptkd.data.concepts import read_concepts
from promptkd.engine.evaluator import check_input
from promptkd.engine.losses import likeliest_classes
from promptkd.engine.task import Task
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.templates import DEFAULT
from promptkd.teacher.teacher import load_teacher

log = logging.getLogger(__name__)

# The teacher of the published KDPL, which names the architecture alone -> open_clip's name with its weights.
PUBLISHED = {"ViT-H-14-quickgelu": "ViT-H-14-quickgelu:dfn5b"}


class VocabularyTeacher:
    """A teacher's logits of images, over the names that a student distils.

    Args:
        teacher: a frozen model with class vectors of the names.
        names: C names.
        count: how many of them a step takes; 0 for all.
    """

    def __init__(self, teacher: PromptedClip, names: Sequence[str], count: int = 0) -> None:
        assert teacher.vectors is not None
        self.teacher, self.names, self.vectors = teacher, tuple(names), teacher.vectors
        self.count = count if 0 < count < len(names) else 0

    @torch.no_grad()
    def targets(self, images: Tensor, logit_scale: float) -> tuple[Tensor | None, Tensor]:
        """The classes of a step, and the teacher's logits of them, before any softmax over them.

        Args:
            images: (B, 3, H, W).
            logit_scale: the student's, as published.

        Returns:
            (K,) numbers of names, ascending, or None for all; (B, K).
        """
        logits = self.vectors.logits(self.teacher.image_features(images), logit_scale)  # (B, C)
        if not self.count:
            return None, logits
        rows = likeliest_classes(logits, self.count)
        return rows, logits[:, rows]

    def result(self) -> dict[str, Any]:
        """What results.json says of the teacher."""
        return dict(self.teacher.about) | {"names": len(self.names), "names_a_step": self.count or len(self.names)}


def find_vocabulary_teacher(
    cfg: CfgNode, task: Task, precision: Precision, source: str, class_agnostic: bool, concepts: str, count: int
) -> VocabularyTeacher:
    """The teacher of a run's options.

    Args:
        cfg: the run's.
        task: whose classes are the vocabulary, unless it is class-agnostic.
        precision: arithmetic and device.
        source: a CLIP's name, a run's directory, or a published checkpoint.
        class_agnostic: whether the vocabulary is a list of concepts.
        concepts: a file of them; "" for the list that is shipped.
        count: names that a step takes, where it is class-agnostic.

    Raises:
        FileNotFoundError, ValueError: no such file or teacher, or one that does not fit; the message says why.
    """
    source = PUBLISHED.get(source, source)
    names = read_concepts(Path(concepts) if concepts else None) if class_agnostic else task.classnames
    template = DEFAULT if class_agnostic else task.template
    teacher = load_teacher(source, names, templates=[template], precision=precision, stored=True)
    check_input(cfg, teacher.clip, f"teacher {teacher.about['backbone']}")
    log.info("Teacher: %s, from %s, over %d names", teacher.about["backbone"], source, len(names))
    if class_agnostic:  # another experiment, and another row of tables
        teacher.about["trainer"] = f"{teacher.about['trainer']} of {len(names)} concepts"
    found = VocabularyTeacher(teacher, names, count if class_agnostic else 0)
    if class_agnostic and count > len(names):
        log.info("K_MAX %d: the list has %d names, each step takes all", count, len(names))
    return found
