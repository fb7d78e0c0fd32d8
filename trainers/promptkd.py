"""PromptKD: unsupervised prompt distillation (Li et al., CVPR 2024, arXiv 2403.02781).

The teacher's text features are stored once as class vectors, which teacher and student share. The student learns visual
prompts and a projector from images without labels, so that its class probabilities match the teacher's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.batch import Batch
from promptkd.engine.callbacks import Callback
from promptkd.engine.keys import FINAL_MODELS, ON_POOL
from promptkd.engine.options import DEEPEST, LARGEST_WEIGHT, MOST_TOKENS, option
from promptkd.engine.task import Supervision
from promptkd.engine.tune_options import PROMPTS, TuneOptions
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompting import ClipShape
from promptkd.model.spec import PromptSpec
from promptkd.teacher.feature_mode import FeatureMode
from promptkd.teacher.in_loop import StudentInLoop
from promptkd.teacher.student_callbacks import student_callbacks
from promptkd.teacher.student_options import StudentOptions

from .base import PromptTrainer


@dataclass(frozen=True)
class PromptKDOptions(TuneOptions, StudentOptions):
    """The published student and its loss; the teacher's options come first, then what is ours of the student's."""

    n_ctx_vision: int = option(4, "visual tokens of the student", least=0, most=MOST_TOKENS)
    prompt_depth_vision: int = option(
        9, "blocks of the student's image encoder with learned tokens", least=0, most=DEEPEST
    )
    project_layer: int = option(
        2, "linear layers of the projector: 1, 2 (the method) or 3 (table 12 of the paper)", choices=(1, 2, 3)
    )
    kd_weight: float = option(
        1000.0, "weight of the loss; the published recipes set it by data set", least=0, most=LARGEST_WEIGHT
    )
    temperature: float = option(1.0, "of both softmaxes", above=0, most=1e6, hint="set it above 0 (1 as published)")
    ce_weight: float = option(
        0.0, "stands in published recipes", choices=(0.0,), hint="PromptKD learns without labels, set it to 0"
    )
    unlabelled: str = option(
        "all",
        "classes whose images train in base2novel: all (published, transductive) or base",
        choices=("all", "base"),
    )

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        cross = {"TRAINER.PROMPTKD.UNLABELLED": "TRAINER.MODAL is cross"} if cfg.TRAINER.MODAL == "cross" else {}
        return {**super().not_read(cfg), **cross}

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Equation 3, weighted, of logits (B, C): how far the student's class probabilities are from the teacher's."""
        return self.kd_weight * self.divergence(student, teacher, self.temperature)


@TRAINER_REGISTRY.register()
class PromptKD(PromptTrainer):
    """A student learns visual prompts and a projector, so that its probabilities match the teacher's."""

    Options = PromptKDOptions
    registered_name = "VLPromptLearner"
    needs_text = False
    taught = True
    final_models = (*FINAL_MODELS, ON_POOL)
    loop: StudentInLoop | None = None
    stored: FeatureMode | None = None

    def prepare(self) -> None:
        options = self.options
        if options.mode == "features":
            assert self.teaching is not None
            self.stored = FeatureMode(self.task, self.model, self.teaching, options)
        if options.student_in_loop:
            weights = (options.loop_coef, options.loop_floor, options.loop_lr, options.loop_pull)
            self.loop = StudentInLoop(self.teaching, self.task, self.cfg, *weights)  # type: ignore[arg-type]

    def callbacks(self) -> list[Callback]:
        assert self.teaching is not None
        parts = (self.cfg, self.options, self.task, self.teaching, self.training.step, self.stored)
        return [*([self.loop] if self.loop else []), *student_callbacks(*parts)]

    def seen(self) -> dict[str, Any] | None:
        found = super().seen()
        return found | {"stored_features": self.stored.result()} if found and self.stored else found

    @staticmethod
    def supervision(cfg: CfgNode) -> Supervision:
        """No labels; the images of all classes (as published) or of base, whatever SUBSAMPLE_CLASSES says."""
        if cfg.TRAINER.MODAL == "cross":
            return Supervision(labels=False, pool="all", transductive=True, groups=("all",), protocol="cross")
        pool = cfg.TRAINER.PROMPTKD.UNLABELLED
        groups = ("base", "new")
        return Supervision(labels=False, pool=pool, transductive=pool == "all", groups=groups, protocol="base2new")

    @staticmethod
    def spec(options: Any, shape: ClipShape, classnames: Sequence[str]) -> PromptSpec:
        """Section 3.3: visual prompts, then a projector into the space of the teacher's class vectors."""
        prompted = options.mode == "images" and options.tune == PROMPTS
        return PromptSpec(
            n_vision=options.n_ctx_vision if prompted else 0,
            depth_vision=options.prompt_depth_vision if prompted else 0,
            projector_layers=options.project_layer,
            projector_dim=shape.target_dim,
            projector=options.projector,
            **options.tuning,
        )

    def losses(self, model: PromptedClip, batch: Batch) -> dict[str, Tensor]:
        """Equation 3, weighted: the KL divergence between the teacher's and the student's class probabilities."""
        assert self.teaching is not None
        if self.loop:
            student = model.logits(batch.images)  # (B, C)
            teacher, parts = self.loop.teach(batch.images, student)
            return {"loss_kd": self.options.loss(student, teacher)} | parts
        vectors, teacher = self.teaching.targets(batch)  # of K concepts (K, D), or None for C classes; (B, K)
        features = self.stored.projected(batch) if self.stored else model.image_features(batch.images)  # (B, D)
        student = model.logits_of(features, vectors)  # (B, K)
        return {"loss_kd": self.options.loss(student, teacher)}
