"""A frozen teacher over the names of a vocabulary: the task's classes, or a list of concepts that no task is of."""

from __future__ import annotations

import logging
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from promptkd.data.concepts import read_concepts
from promptkd.engine.evaluator import check_input
from promptkd.engine.losses import likeliest_classes
from promptkd.engine.task import Task
from promptkd.model.class_vectors import ClassVectors
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.templates import DEFAULT
from promptkd.teacher.teacher import load_teacher

log = logging.getLogger(__name__)

# The teacher of the published KDPL, which names the architecture alone -> open_clip's name with its weights.
PUBLISHED = {"ViT-H-14-quickgelu": "ViT-H-14-quickgelu:dfn5b"}


@dataclass(frozen=True)
class Vocabulary:
    """The names over which a teacher teaches.

    Attributes:
        vectors: class vectors of C names.
        count: how many of them a step takes, the likeliest of its images; 0 for all.
    """

    vectors: ClassVectors
    count: int = 0

    @classmethod
    def of_concepts(cls, vectors: ClassVectors, count: int) -> Vocabulary:
        """A list of concepts, of which a step takes at most `count`."""
        if count > len(vectors.classnames):
            log.info("K_MAX %d: the list has %d names, each step takes all", count, len(vectors.classnames))
        return cls(vectors, count if count < len(vectors.classnames) else 0)

    def choose(self, logits: Tensor) -> tuple[Tensor | None, Tensor]:
        """The names of a step.

        Args:
            logits: the teacher's, (B, C), before any softmax over them.

        Returns:
            (K,) numbers of names, ascending, or None for all; the logits of these, (B, K).
        """
        if not self.count:
            return None, logits
        rows = likeliest_classes(logits, self.count)
        return rows, logits[:, rows]

    def about(self) -> dict[str, Any]:
        """What results.json says of it."""
        names = len(self.vectors.classnames)
        return {"names": names, "names_a_step": self.count or names}


class VocabularyTeacher:
    """A teacher's logits of images, over the names that a student with texts of its own distils.

    Args:
        teacher: a frozen model with class vectors.
        vocabulary: of these.
    """

    def __init__(self, teacher: PromptedClip, vocabulary: Vocabulary) -> None:
        self.teacher, self.vocabulary, self.vectors = teacher, vocabulary, vocabulary.vectors
        self.names = self.vectors.classnames

    @torch.no_grad()
    def targets(self, images: Tensor, logit_scale: float) -> tuple[Tensor | None, Tensor]:
        """The names of a step, and the teacher's logits of them; see `Vocabulary.choose`.

        Args:
            images: (B, 3, H, W).
            logit_scale: the student's, as published.
        """
        return self.vocabulary.choose(self.vectors.logits(self.teacher.image_features(images), logit_scale))

    def result(self) -> dict[str, Any]:
        """What results.json says of the teacher."""
        return dict(self.teacher.about) | self.vocabulary.about()


def find_vocabulary_teacher(cfg: CfgNode, task: Task, precision: Precision, options: Any) -> VocabularyTeacher:
    """The teacher of a run's options, over the classes of its task or the concepts.

    Args:
        cfg: the run's.
        task: whose classes are the vocabulary, unless it is class-agnostic.
        precision: arithmetic and device.
        options: of the kind of ConceptOptions, and `teacher`: a CLIP's name, a run's directory, or a checkpoint.

    Raises:
        FileNotFoundError, ValueError: no such file or teacher, or one that does not fit; the message says why.
    """
    source = PUBLISHED.get(options.teacher, options.teacher)
    names = concepts_of(options) if options.class_agnostic else task.classnames
    template = DEFAULT if options.class_agnostic else task.template
    teacher = load_teacher(source, names, templates=[template], precision=precision, stored=True)
    assert teacher.vectors is not None
    check_input(cfg, teacher.clip, f"teacher {teacher.about['backbone']}")
    log.info("Teacher: %s, from %s, over %d names", teacher.about["backbone"], source, len(names))
    if not options.class_agnostic:
        return VocabularyTeacher(teacher, Vocabulary(teacher.vectors))
    teacher.about["trainer"] = of_concepts(teacher.about["trainer"], len(names))
    return VocabularyTeacher(teacher, Vocabulary.of_concepts(teacher.vectors, options.k_max))


def concepts_of(options: Any) -> list[str]:
    """The concepts that options of the kind of ConceptOptions name; raises what `read_concepts` does."""
    return read_concepts(Path(options.concepts) if options.concepts else None)


def of_concepts(trainer: str, count: int) -> str:
    """A teacher's method in results where it teaches concepts: another experiment, and another row of tables."""
    return f"{trainer} of {count} concepts"


def concept_vocabulary(teacher: PromptedClip, options: Any) -> Vocabulary:
    """The concepts of a teacher that has class vectors of its task already.

    Args:
        teacher: with a text encoder.
        options: of the kind of ConceptOptions.

    Raises:
        FileNotFoundError, ValueError: the list cannot be used; the message says why.
    """
    plain = copy(teacher)  # the same model, asked for other names
    plain.vectors, plain.templates = None, (DEFAULT,) if teacher.templates else ()
    return Vocabulary.of_concepts(plain.class_vectors(concepts_of(options)), options.k_max)
