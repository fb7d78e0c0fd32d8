"""KDPL: knowledge distillation for prompt learning (Mistretta et al., ECCV 2024, arXiv 2407.03056).

A prompt learner is trained without labels: its class probabilities follow those of a frozen teacher, over the classes
of the task or, class-agnostic, over a list of concepts. Each trainer is a method's options and spec with that loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.batch import Batch
from promptkd.engine.callbacks import Callback
from promptkd.engine.losses import symmetric_kl
from promptkd.engine.options import node_of, option, read_section
from promptkd.engine.task import Supervision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.teacher.options import ConceptOptions
from promptkd.teacher.vocabulary import VocabularyTeacher, find_vocabulary_teacher

from .base import PromptTrainer
from .cocoop import CoCoOpOptions, conditional_spec
from .coop import CoOpOptions, context_spec
from .ivlp import both_sides_spec
from .maple import MaPLeOptions, compound_spec
from .promptsrc import PromptSRCOptions, averaged_epochs, frozen_text_features, kept_near
from .vpt import VPTOptions, visual_spec


@dataclass(frozen=True)
class KDPLOptions(ConceptOptions):
    """The teacher, and the names over which it teaches."""

    teacher: str = option(
        "ViT-H-14-quickgelu:dfn5b", "a CLIP's name (the published one is default), a run's directory, or a .pth.tar",
        filled=True, path=True, hint="give a CLIP's name, a run's directory or a .pth.tar",
    )  # fmt: skip
    ctx_init: str = option("a photo of a", "stands in published commands; the words are those of the method")
    prec: str = option("fp16", "stands in published commands; the arithmetic is that of the method")

    def check(self, cfg: CfgNode) -> None:
        section = node_of(cfg.TRAINER.NAME)
        if self.class_agnostic and cfg.TRAINER[section].get("CSC"):
            raise ValueError(
                f"TRAINER.{section}.CSC True: a context for each class says nothing of a list of concepts: set CSC "
                "False, or TRAINER.KDPL.CLASS_AGNOSTIC False"
            )

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        section = node_of(cfg.TRAINER.NAME)
        reasons = {f"TRAINER.KDPL.{key}": f"TRAINER.{section}.{key} is" for key in ("CTX_INIT", "PREC")}
        if self.class_agnostic:
            return reasons | {"TEMPLATE": "a list of concepts has a template of its own"}
        # The teacher reads TEMPLATE, whatever the method does.
        return reasons | self.concepts_not_read("KDPL") | {"TEMPLATE": ""}


def from_a_teacher(cfg: CfgNode) -> Supervision:
    """No labels, though few-shot images are drawn by them; contexts for each class (CSC) are held to those classes."""
    class_specific = bool(cfg.TRAINER[node_of(cfg.TRAINER.NAME)].get("CSC"))
    return Supervision(labels=False, class_specific=class_specific)


def find_teacher(trainer: PromptTrainer) -> None:
    """Gives a trainer the teacher that its options name, over the classes of its task or the concepts."""
    options = read_section(KDPLOptions, "KDPL", trainer.cfg)
    trainer.vocabulary = find_vocabulary_teacher(
        trainer.cfg,
        trainer.task,
        trainer.model.precision,
        options,
    )


def taught_by(trainer: Any) -> VocabularyTeacher:
    """The teacher that `find_teacher` gave."""
    assert isinstance(trainer.vocabulary, VocabularyTeacher)
    return trainer.vocabulary


def distilled(trainer: Any, model: PromptedClip, batch: Batch) -> dict[str, Tensor]:
    """The loss (section 3.2 of the paper) of a method whose text features no image enters."""
    teacher = taught_by(trainer)
    rows, target = teacher.targets(batch.images, model.logit_scale)  # (K,), (B, K)
    text = model.text_features(teacher.names, rows)  # (K, D)
    return {"loss_kl": symmetric_kl(model.logits(batch.images, text), target)}


@TRAINER_REGISTRY.register()
class CoOp_KDPL(PromptTrainer):
    """CoOp's context, distilled from a teacher without labels."""

    Options = CoOpOptions
    AddedOptions = (KDPLOptions,)
    spec = staticmethod(context_spec)
    supervision = staticmethod(from_a_teacher)
    prepare = find_teacher
    losses = distilled


@TRAINER_REGISTRY.register()
class CoCoOp_KDPL(PromptTrainer):
    """CoCoOp's context, which each image moves, distilled from a teacher without labels."""

    Options = CoCoOpOptions
    AddedOptions = (KDPLOptions,)
    spec = staticmethod(conditional_spec)
    supervision = staticmethod(from_a_teacher)
    prepare = find_teacher

    def losses(self, model: PromptedClip, batch: Batch) -> dict[str, Tensor]:
        teacher = taught_by(self)
        rows, target = teacher.targets(batch.images, model.logit_scale)  # (K,), (B, K)
        return {"loss_kl": symmetric_kl(model.conditional_logits(batch.images, teacher.names, rows), target)}


@TRAINER_REGISTRY.register()
class VPT_KDPL(PromptTrainer):
    """VPT's visual tokens, distilled from a teacher without labels."""

    Options = VPTOptions
    AddedOptions = (KDPLOptions,)
    spec = staticmethod(visual_spec)
    supervision = staticmethod(from_a_teacher)
    prepare = find_teacher
    losses = distilled


@TRAINER_REGISTRY.register()
class MaPLe_KDPL(PromptTrainer):
    """MaPLe's prompts of both encoders, distilled from a teacher without labels."""

    Options = MaPLeOptions
    AddedOptions = (KDPLOptions,)
    registered_name = "MultiModalPromptLearner"
    spec = staticmethod(compound_spec)
    supervision = staticmethod(from_a_teacher)
    prepare = find_teacher
    losses = distilled


@TRAINER_REGISTRY.register()
class PromptSRC_KDPL(PromptTrainer):
    """PromptSRC's prompts, distilled from a teacher without labels and kept near frozen CLIP."""

    Options = PromptSRCOptions
    AddedOptions = (KDPLOptions,)
    registered_name = "VLPromptLearner"
    spec = staticmethod(both_sides_spec)
    supervision = staticmethod(from_a_teacher)
    prepare = find_teacher

    @cached_property
    def frozen_text(self) -> Tensor:
        """Frozen CLIP's features of the names that the teacher knows: (C, D) of unit norm."""
        return frozen_text_features(self.model, taught_by(self).names)

    def losses(self, model: PromptedClip, batch: Batch) -> dict[str, Tensor]:
        teacher = taught_by(self)
        rows, target = teacher.targets(batch.images, model.logit_scale)  # (K,), (B, K)
        frozen = self.frozen_text if rows is None else self.frozen_text[rows]
        text = model.text_features(teacher.names, rows)  # (K, D)
        logits, near = kept_near(self.options, model, batch.images, text, frozen)
        return {"loss_kl": symmetric_kl(logits, target)} | near

    def callbacks(self) -> list[Callback]:
        return averaged_epochs(self)
