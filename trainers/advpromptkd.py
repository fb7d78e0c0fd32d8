"""Robust PromptKD: the student learns from attacked images what the clean teacher says of the clean ones. Ours.

No labels enter, in the attack either. It joins PromptKD (arXiv 2403.02781) and APD (arXiv 2411.15244); no paper has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.batch import Batch
from promptkd.engine.callbacks import Callback
from promptkd.engine.keys import FINAL_MODELS, ON_POOL
from promptkd.engine.options import option, read_section
from promptkd.engine.robust.attacks import away_from
from promptkd.engine.robust.training import AttackOptions, attacked_images
from promptkd.model.prompted_clip import PromptedClip
from promptkd.teacher.student_callbacks import student_callbacks

from .base import PromptTrainer
from .promptkd import PromptKD, PromptKDOptions


@dataclass(frozen=True)
class AdvOptions(AttackOptions):
    """The attack, and how much the clean images count."""

    prec: str = option("fp32", "the arithmetic is that of TRAINER.PROMPTKD.PREC, which must be fp32 or amp here")
    clean_share: float = option(
        0.0, "share of the clean images' loss, beside that of the attacked ones", least=0, below=1
    )

    def check(self, cfg: CfgNode) -> None:
        if cfg.TRAINER.PROMPTKD.STUDENT_IN_LOOP:
            raise ValueError("TRAINER.PROMPTKD.STUDENT_IN_LOOP True: AdvPromptKD's teacher stays as it is, set False")
        if cfg.TRAINER.PROMPTKD.MODE != "images":
            raise ValueError("TRAINER.PROMPTKD.MODE features: AdvPromptKD attacks images, set it to images")
        if cfg.TRAINER.PROMPTKD.PREC not in ("fp32", "amp"):
            raise ValueError(
                f"TRAINER.PROMPTKD.PREC {cfg.TRAINER.PROMPTKD.PREC}: an attack needs frozen weights in float32 (in "
                "half precision small gradients are 0): choose fp32 or amp"
            )

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        return {"TRAINER.ADV.PREC": "TRAINER.PROMPTKD.PREC is"}


@TRAINER_REGISTRY.register()
class AdvPromptKD(PromptTrainer):
    """PromptKD's student, distilled from images that are attacked with the student as it is."""

    Options = PromptKDOptions
    AddedOptions = (AdvOptions,)
    registered_name = PromptKD.registered_name
    needs_text = False
    taught = True
    final_models = (*FINAL_MODELS, ON_POOL)
    supervision = staticmethod(PromptKD.supervision)
    spec = staticmethod(PromptKD.spec)

    def callbacks(self) -> list[Callback]:
        assert self.teaching is not None
        return student_callbacks(self.cfg, self.options, self.task, self.teaching, self.training.step)

    def losses(self, model: PromptedClip, batch: Batch) -> dict[str, Tensor]:
        """`KD_WEIGHT mean_kl(p_S(x'), p_T(x))`; the attack leads p_S(x') away from p_T(x)."""
        assert self.teaching is not None
        attack = read_section(AdvOptions, "ADV", self.cfg)
        vectors, teacher = self.teaching.targets(batch)  # of K concepts (K, D), or None for C classes; (B, K)
        attacked = attacked_images(model, batch.images, attack, lambda logits: away_from(logits, teacher), vectors)
        share = attack.clean_share
        parts = {"loss_kd_adv": (1 - share) * self.options.loss(model.logits(attacked, vectors), teacher)}
        if share:
            parts["loss_kd"] = share * self.options.loss(model.logits(batch.images, vectors), teacher)
        return parts
