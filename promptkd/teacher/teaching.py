"""What a taught method has beside its student: the teacher, its class vectors, its cache, and what it can do itself."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from promptkd.data.loading.user_images import UserImages
from promptkd.engine.batch import Batch
from promptkd.engine.callbacks import Callback
from promptkd.engine.evaluator import Evaluator, check_input
from promptkd.engine.task import Task
from promptkd.model.class_vectors import FILE_NAME, ClassVectors
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.spec import PromptSpec
from promptkd.model.zoo import load_clip
from promptkd.teacher.cache import StoredFeatures
from promptkd.teacher.pool import Pool
from promptkd.teacher.teacher import class_note, load_teacher
from promptkd.teacher.vocabulary import Vocabulary, concept_vocabulary, of_concepts

log = logging.getLogger(__name__)


@dataclass
class Teaching(Callback):
    """The teacher's side of a run.

    Attributes:
        cfg, options: of the run, and of its method (PromptKD's options, or more).
        task: what is learned and measured.
        precision: arithmetic and device.
        vectors: class vectors of all classes, on the device.
        teacher: None where a student is evaluated, which needs the vectors alone.
        seed: of the views of training images.
        vocabulary: what is distilled in the place of the classes, a list of concepts; None for the classes.
    """

    cfg: CfgNode
    options: Any
    task: Task
    precision: Precision
    vectors: ClassVectors
    teacher: PromptedClip | None
    seed: int
    vocabulary: Vocabulary | None = None
    cache: StoredFeatures | None = None
    metrics: dict[str, Any] | None = None
    images: dict[str, int] | None = None  # how many were read from the cache, and computed

    @classmethod
    def build(cls, cfg: CfgNode, options: Any, task: Task, precision: Precision, seed: int) -> Teaching:
        """Loads the teacher that the options name, or in an evaluation the class vectors that the run has left.

        Raises:
            FileNotFoundError: no teacher is named, and the published place is empty.
            ValueError: it does not fit; the message says why.
        """
        stored = Path(cfg.MODEL_DIR) / FILE_NAME
        if cfg.EVAL_ONLY and stored.is_file():
            vectors = ClassVectors.load(stored).select(task.all_classnames).to(precision.device)
            return cls(cfg, options, task, precision, vectors, None, seed)
        teacher = find_teacher(cfg, options, task, precision)
        assert teacher.vectors is not None
        teaching = cls(cfg, options, task, precision, teacher.vectors, teacher, seed, images={"read": 0, "computed": 0})
        if options.class_agnostic:
            teaching.vocabulary = concept_vocabulary(teacher, options)
            log.info("It teaches %d concepts in the place of classes", teaching.vocabulary.about()["names"])
        return teaching

    def logits(self, batch: Batch) -> Tensor:
        """The teacher's logits of a batch: (B, C) float32, with its own scale; of concepts where it teaches these."""
        assert self.teacher is not None
        vectors = self.vocabulary.vectors if self.vocabulary else self.vectors
        with torch.no_grad():
            if self.cache is None:
                return vectors.logits(self.teacher.image_features(batch.images))
            return vectors.logits(self.cache.features(batch.index, batch.images, self.teacher.image_features))

    @torch.no_grad()
    def classify(self, images: Tensor) -> Tensor:
        """The teacher's logits of any images, over the classes: (B, 3, H, W) -> (B, C) float32."""
        assert self.teacher is not None
        return self.vectors.logits(self.teacher.image_features(images))

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

    def before_train(self) -> None:
        """Opens the cache, and measures the teacher beside the zero-shot student."""
        if self.options.teacher_cache:
            assert self.teacher is not None and self.images is not None
            pool = Pool.of_task(self.task)
            self.cache = pool.strong_store(self.teacher, self.options, self.seed, self.images)
        if self.options.evaluate_teacher and self.task.evaluation_loader is not None:
            self.metrics = self._evaluate()

    def before_epoch(self, epoch: int) -> None:
        if self.cache:
            self.task.train_loader.dataset.set_epoch(self.seed, self.cache.start_epoch(epoch))

    def after_train(self) -> None:
        if self.cache:
            self.cache.finish(self.precision.device)

    def state(self) -> dict[str, Any]:
        return {"teacher_images": dict(self.images or {})} if self.cache or self.options.teacher_cache else {}

    def load_state(self, state: dict[str, Any]) -> None:
        if self.images is not None:
            self.images |= state.get("teacher_images", {})

    def result(self) -> dict[str, Any]:
        """What results.json says of the teacher."""
        described = dict(self.vectors.source) if self.teacher is None else dict(self.teacher.about)
        if self.vocabulary:
            about = self.vocabulary.about()
            described |= {"trainer": of_concepts(described["trainer"], about["names"])} | about
        return described | (self.metrics or {}) | ({"cache": self.cache.result()} if self.cache else {})

    def _evaluate(self) -> dict[str, Any]:
        """Accuracy of the teacher and of the zero-shot student; warns where the teacher is worse."""
        assert self.teacher is not None
        evaluator, backbone = Evaluator(self.task, self.precision), self.cfg.MODEL.BACKBONE.NAME
        teacher = evaluator.evaluate(self.teacher.logits)
        about = {"backbone": backbone, "trainer": "ZeroshotCLIP"}
        template = [self.task.template]
        student = PromptedClip(load_clip(backbone), PromptSpec(), self.precision, templates=template, about=about)
        zero_shot = evaluator.evaluate(student.classifier(self.task.all_classnames))
        key = "hm" if "hm" in teacher else next(iter(teacher))
        pair = [found[key] if key == "hm" else found[key]["accuracy"] for found in (teacher, zero_shot)]
        log.info("Teacher: %s %.2f %%; zero-shot student: %.2f %%", key, *pair)
        if pair[0] < pair[1]:
            log.warning(
                "the teacher (%s %.1f %%) is worse than the zero-shot student (%.1f %%): distilling from it will make "
                "the student worse. Was it trained on this data set, with this backbone?", key, *pair,
            )  # fmt: skip
        return {"metrics": teacher, "zero_shot_student": zero_shot}


def find_teacher(cfg: CfgNode, options: Any, task: Task, precision: Precision) -> PromptedClip:
    """The teacher that a run's options name, or the published one in its published place.

    Raises:
        FileNotFoundError: none is named and the published place is empty.
        ValueError: it does not fit; the message says why.
    """
    source = options.teacher
    if not source:
        published = {"base2novel": f"{cfg.DATASET.NAME}/VLPromptLearner/model-best.pth.tar"}
        place = published.get(cfg.TRAINER.MODAL, "ImageNet-xd/VLPromptLearner_large/model.pth.tar-20")
        source = str(Path("teacher_model") / place)
        if not Path(source).is_file():
            raise FileNotFoundError(
                f"no teacher: set TRAINER.PROMPTKD.TEACHER to a PromptSRC run's directory, a published .pth.tar or "
                f"a CLIP name, or put the published teacher at {source}"
            )
    # Of published data sets it is known: their cross setting has other classes on purpose.
    users_images = issubclass(getattr(task.manager.dataset, "image_wrapper", None) or object, UserImages)
    if users_images and (note := class_note(source, task.all_classnames)):
        log.warning(note)
    teacher = load_teacher(
        source,
        task.all_classnames,
        templates=task.templates,
        backbone=options.teacher_name,
        phrase=options.ctx_init,
        precision=precision,
    )
    check_input(cfg, teacher.clip, f"teacher {teacher.about['backbone']}")
    if cfg.MODEL.COMPILE:
        teacher.compile(graphs=cfg.TRAIN.ACCUMULATE == 1)
    n_text, depth = teacher.prompts.n_text, teacher.prompts.depth_text
    log.info("Teacher: %s, from %s", teacher.about["backbone"], source)
    if n_text and (n_text, depth) != (options.n_ctx_text, options.prompt_depth_text):
        log.info(
            "The teacher has %d context tokens, depth %d; N_CTX_TEXT %d and PROMPT_DEPTH_TEXT %d are not used",
            n_text, depth, options.n_ctx_text, options.prompt_depth_text,
        )  # fmt: skip
    return teacher
