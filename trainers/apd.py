"""APD: adversarial prompt distillation (Luo et al., arXiv 2411.15244): a clean teacher, a student that is attacked.

The paper gives the idea: bi-modal prompts, a clean, non-robust CLIP as teacher, taught online. Its formulas were not to
be had, and its code is not published: what is marked "ours" below is our choice (docs/robustness.md says why).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.batch import Batch
from promptkd.engine.callbacks import Callback
from promptkd.engine.evaluator import check_input
from promptkd.engine.losses import mean_divergence
from promptkd.engine.options import LARGEST_WEIGHT, option
from promptkd.engine.robust.attacks import against_labels
from promptkd.engine.robust.training import attacked_images
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.spec import PromptSpec
from promptkd.model.zoo import load_clip
from promptkd.teacher.tuned import TunedTeacher

from .advivlp import AdvIVLPOptions
from .base import PromptTrainer
from .ivlp import both_sides_spec


@dataclass(frozen=True)
class APDOptions(AdvIVLPOptions):
    """AdvIVLP's tokens and attack (the same group's published ones; for APD ours), the teacher, the losses' weights."""

    clean_share: float = option(
        0.0, "ours: share of the student's loss on clean images, beside that on attacked ones", least=0, below=1
    )
    teacher: str = option(
        "online", "ours: online (prompts of its own, tuned on clean images in the same step) or frozen (a template)",
        choices=("online", "frozen"),
    )  # fmt: skip
    teacher_name: str = option("", "ours: CLIP of the teacher; empty for the student's own")
    feedback: float = option(
        1.0, "ours: weight a of KL(teacher || student under attack) in the online teacher's loss; 0: labels alone",
        least=0, most=LARGEST_WEIGHT,
    )  # fmt: skip
    kd: float = option(1.0, "ours: weight b of KL(teacher || student under attack); labels have 1 - b", least=0, most=1)

    def check(self, cfg: CfgNode) -> None:
        if not self.n_ctx_text and not (self.n_ctx_vision and self.prompt_depth_vision):
            raise ValueError(
                "TRAINER.APD.N_CTX_TEXT 0 and no visual tokens: nothing would be learned, set one to 1 or more"
            )
        if cfg.TRAIN.ACCUMULATE != 1 and self.teacher == "online":
            raise ValueError(
                f"TRAIN.ACCUMULATE {cfg.TRAIN.ACCUMULATE}: APD's online teacher takes a step with each part of a "
                "batch, set 1, or TRAINER.APD.TEACHER frozen"
            )

    def not_read(self, cfg: CfgNode) -> dict[str, str]:
        reasons = {} if self.teacher == "frozen" else dict(super().not_read(cfg))
        if self.teacher == "frozen":
            reasons["TRAINER.APD.FEEDBACK"] = "TRAINER.APD.TEACHER is frozen"
        return reasons


@TRAINER_REGISTRY.register()
class APD(PromptTrainer):
    """Prompts of both encoders that follow, under attack, what a clean teacher says of the clean images."""

    Options = APDOptions
    registered_name = "VLPromptLearner"
    spec = staticmethod(both_sides_spec)
    tuned: TunedTeacher | None = None

    def prepare(self) -> None:
        online = self.options.teacher == "online"
        spec, clip = self.model.spec if online else PromptSpec(), self.model.clip
        if name := self.options.teacher_name:
            clip = load_clip(name)
            check_input(self.cfg, clip, f"teacher {name}")
        templates = [] if online else [self.task.template]
        self.teacher = PromptedClip(clip, spec, self.model.precision, templates=templates)
        self.tuned = TunedTeacher(self.teacher, self.cfg) if online else None

    def callbacks(self) -> list[Callback]:
        return [self.tuned] if self.tuned else []

    def teacher_logits(self, batch: Batch) -> Tensor:
        """The teacher's logits (B, C) of the clean images, with gradients where it learns."""
        if self.tuned:
            return self.tuned.logits(batch.images, self.task.classnames)
        return self.teacher.logits(batch.images, self.teacher.text_features(self.task.classnames)).detach()

    def losses(self, model: PromptedClip, batch: Batch) -> dict[str, Tensor]:
        """Ours: `L_S = b KL(p_T(x) || p_S(x')) + (1 - b) CE`, and `L_T = CE + a KL(p_T(x) || p_S(x'))`.

        The other side's prediction has no gradient in either. Of L_S, CLEAN_SHARE is taken at x in the place of x'.
        """
        options, labels = self.options, batch.known_labels
        text = model.text_features(self.task.classnames)  # (C, D)
        attacked = attacked_images(
            model, batch.images, options, lambda logits: against_labels(logits, labels), text.detach().float()
        )
        under_attack, teacher = model.logits(attacked, text), self.teacher_logits(batch)  # (B, C) each
        students = [(1 - options.clean_share, under_attack)]
        if options.clean_share:
            students.append((options.clean_share, model.logits(batch.images, text)))
        parts: dict[str, Any] = {}
        if options.kd:
            target = teacher.detach()
            parts["loss_kd"] = options.kd * sum(share * mean_divergence(logits, target) for share, logits in students)
        if options.kd < 1:
            of_labels = sum(share * F.cross_entropy(logits, labels) for share, logits in students)
            parts["loss_ce"] = (1 - options.kd) * of_labels
        if self.tuned:
            parts |= self.tune_teacher(teacher, under_attack.detach(), labels)
        return parts

    def tune_teacher(self, teacher: Tensor, student: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """A step of the online teacher's prompts: its losses, of its logits (B, C) and its attacked student's."""
        assert self.tuned is not None
        parts = {"loss_teacher_ce": F.cross_entropy(teacher, labels)}
        if self.options.feedback:
            parts["loss_feedback"] = self.options.feedback * mean_divergence(student, teacher)
        self.tuned.learn(sum(parts.values()))  # type: ignore[arg-type]
        return {name: value.detach() for name, value in parts.items()}
