"""What a taught method has beside its student: teachers, class vectors, caches, and what the teachers can do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from promptkd.engine.batch import Batch
from promptkd.engine.callbacks import Callback
from promptkd.engine.evaluator import Evaluator
from promptkd.engine.task import Task
from promptkd.model.class_vectors import FILE_NAME, ClassVectors, has_text
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.spec import PromptSpec
from promptkd.model.zoo import load_clip
from promptkd.teacher import comparison
from promptkd.teacher.cache import StoredFeatures
from promptkd.teacher.finding import find_members
from promptkd.teacher.member import Member
from promptkd.teacher.mixture import Mixture
from promptkd.teacher.pool import Pool
from promptkd.teacher.vocabulary import Vocabulary, concept_vocabulary, of_concepts

log = logging.getLogger(__name__)


@dataclass
class Teaching(Callback):
    """The teacher's side of a run.

    Attributes:
        cfg, options: of the run, and of its method (PromptKD's options, or more).
        task: what is learned and measured.
        precision: arithmetic and device.
        vectors: class vectors of all classes, on the device; of several teachers those of the first.
        members: the teachers; none where a student is evaluated, which needs the vectors alone.
        seed: of the views of training images.
        vocabulary: what is distilled in the place of the classes, a list of concepts; None for the classes.
        mixture: how several teachers are one.
        metrics: what was measured of the teacher, or the mixture, before training.
        compared: what was measured of several teachers beside each other (promptkd.teacher.comparison).
    """

    cfg: CfgNode
    options: Any
    task: Task
    precision: Precision
    vectors: ClassVectors
    members: list[Member]
    seed: int
    vocabulary: Vocabulary | None = None
    mixture: Mixture = Mixture()
    metrics: dict[str, Any] | None = None
    compared: dict[str, Any] | None = None

    @property
    def teacher(self) -> PromptedClip | None:
        """The first teacher, whose class vectors the student is compared to; None where a student is evaluated."""
        return self.members[0].teacher if self.members else None

    @classmethod
    def build(cls, cfg: CfgNode, options: Any, task: Task, precision: Precision, seed: int) -> Teaching:
        """Loads the teachers that the options name, or in an evaluation the class vectors that the run has left.

        Raises:
            FileNotFoundError: no teacher is named, and the published place is empty.
            ValueError: it does not fit; the message says why.
        """
        stored = Path(cfg.MODEL_DIR) / FILE_NAME
        if cfg.EVAL_ONLY and stored.is_file():
            vectors = ClassVectors.load(stored).select(task.all_classnames).to(precision.device)
            return cls(cfg, options, task, precision, vectors, [], seed)
        members = find_members(cfg, options, task, precision)
        mixture = Mixture(options.teacher_mix, tuple(options.teacher_weights), options.temperature)
        teaching = cls(cfg, options, task, precision, members[0].vectors, members, seed, mixture=mixture)
        if options.class_agnostic:
            teaching.vocabulary = concept_vocabulary(members[0].teacher, options)
            log.info("It teaches %d concepts in the place of classes", teaching.vocabulary.about()["names"])
        return teaching

    def logits(self, batch: Batch) -> Tensor:
        """The teacher's logits of a batch: (B, C) float32, with its own scale; of concepts where it teaches these.

        Of several teachers they are those of the mixture: their softmax at the run's temperature is its probabilities.
        """
        with torch.no_grad():
            if self.vocabulary:
                return self.vocabulary.vectors.logits(self.members[0].features(batch))
            return self.mixture([one.vectors.logits(one.features(batch)) for one in self.members])

    @torch.no_grad()
    def classify(self, images: Tensor) -> Tensor:
        """The teacher's logits of any images, over the classes: (B, 3, H, W) -> (B, C) float32.

        Of several teachers their softmax (at temperature 1, as any classifier's) is the mixture.
        """
        return replace(self.mixture, temperature=1.0)([one.logits(images) for one in self.members])

    def targets(self, batch: Batch) -> tuple[Tensor | None, Tensor]:
        """What a student's logits are compared to.

        Returns:
            Class vectors (K, D) of the concepts of this step, or None for those of the classes; the teacher's logits
            (B, K) of the same.
        """
        logits = self.logits(batch)
        if self.vocabulary is None:
            return None, logits
        rows, chosen = self.vocabulary.choose(logits)
        features = self.vocabulary.vectors.features
        return features if rows is None else features[rows], chosen

    @property
    def keeps_features(self) -> bool:
        """Whether its features of training images are kept, on disk or in memory."""
        return bool(self.options.teacher_cache or self.options.mode == "features")

    def stores(self) -> list[tuple[StoredFeatures, Callable[[Tensor], Tensor]]]:
        """Kept features of each teacher, the first one first, and what makes them of images (B, 3, H, W)."""
        return [(one.cache, one.encode) for one in self.members if one.cache]

    def before_train(self) -> None:
        """Opens the caches, and measures the teachers beside the zero-shot student."""
        if self.keeps_features:
            pool = Pool.of_task(self.task)
            for one in self.members:
                change = repr(one.view) if one.view else ""
                one.cache = pool.strong_store(one.teacher, self.options, self.seed, one.counts, change)
        if self.options.evaluate_teacher and len(self.members) > 1:
            self.compared = comparison.of_teachers(self.task, self.members, self.mixture, self.precision)
        if self.options.evaluate_teacher and self.task.evaluation_loader is not None:
            self.metrics = self._evaluate()

    def before_epoch(self, epoch: int) -> None:
        for one in self.members:
            if one.cache:
                self.task.train_loader.dataset.set_epoch(self.seed, one.cache.start_epoch(epoch))

    def after_train(self) -> None:
        for one in self.members:
            if one.cache:
                one.cache.finish(self.precision.device)

    def state(self) -> dict[str, Any]:
        if not self.keeps_features:
            return {}
        first, *others = [dict(one.counts) for one in self.members]
        return {"teacher_images": first} | ({"images_of_other_teachers": others} if others else {})

    def load_state(self, state: dict[str, Any]) -> None:
        kept = [state.get("teacher_images", {}), *state.get("images_of_other_teachers", [])]
        for one, counts in zip(self.members, kept, strict=False):
            one.counts |= counts

    def result(self) -> dict[str, Any]:
        """What results.json says of the teacher; of several, of the first, and of each in "teachers"."""
        if not self.members:
            return dict(self.vectors.source)
        described = self.members[0].about()
        if self.vocabulary:
            about = self.vocabulary.about()
            described |= {"trainer": of_concepts(described["trainer"], about["names"])} | about
        if len(self.members) > 1:
            compared = dict(self.compared or {})
            measured = compared.pop("each", [{}] * len(self.members))
            each = [one.about() | values for one, values in zip(self.members, measured, strict=True)]
            described |= {"teachers": each} | self.mixture.about() | compared
        images = [one.cache.result() for one in self.members if one.cache]
        for about, counts in zip(described.get("teachers", []), images, strict=False):
            about["cache"] = counts
        return described | (self.metrics or {}) | ({"cache": images[0]} if images else {})

    def _evaluate(self) -> dict[str, Any]:
        """Accuracy of the teacher and of the zero-shot student; warns where the teacher is worse.

        A student without a text encoder is nothing without its teacher.
        """
        evaluator, backbone = Evaluator(self.task, self.precision), self.cfg.MODEL.BACKBONE.NAME
        teacher = evaluator.evaluate(self.classify)
        key = "hm" if "hm" in teacher else next(iter(teacher))
        clip = load_clip(backbone)
        if not has_text(clip):
            log.info("Teacher: %s %.2f %%", key, teacher[key] if key == "hm" else teacher[key]["accuracy"])
            return {"metrics": teacher}
        about = {"backbone": backbone, "trainer": "ZeroshotCLIP"}
        template = [self.task.template]
        student = PromptedClip(clip, PromptSpec(), self.precision, templates=template, about=about)
        zero_shot = evaluator.evaluate(student.classifier(self.task.all_classnames))
        pair = [found[key] if key == "hm" else found[key]["accuracy"] for found in (teacher, zero_shot)]
        log.info("Teacher: %s %.2f %%; zero-shot student: %.2f %%", key, *pair)
        if pair[0] < pair[1]:
            log.warning(
                "the teacher (%s %.1f %%) is worse than the zero-shot student (%.1f %%): distilling from it will make "
                "the student worse. Was it trained on this data set, with this backbone?", key, *pair,
            )  # fmt: skip
        return {"metrics": teacher, "zero_shot_student": zero_shot}
