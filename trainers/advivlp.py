"""AdvIVLP: IVLP's prompts trained on attacked images, a baseline of robust prompts (AdvVLP of arXiv 2403.14774)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.batch import Batch
from promptkd.engine.options import option
from promptkd.engine.robust.attacks import against_labels
from promptkd.engine.robust.training import AttackOptions, attacked_images
from promptkd.model.prompted_clip import PromptedClip

from .base import PromptTrainer
from .ivlp import IVLPOptions, both_sides_spec


@dataclass(frozen=True)
class AdvIVLPOptions(AttackOptions, IVLPOptions):
    """IVLP's tokens, and the attack."""

    n_ctx_vision: int = option(2, "visual tokens", least=0, most=1000)
    n_ctx_text: int = option(2, "context tokens", least=0, most=1000)
    clean_share: float = option(
        0.0, "share of the clean images' loss, beside that of the attacked ones; published code: 0.5 or 0",
        least=0, below=1,
    )  # fmt: skip

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        return IVLPOptions.not_read(self, cfg)


@TRAINER_REGISTRY.register()
class AdvIVLP(PromptTrainer):
    """Context and deep prompts in both encoders, trained on images that are attacked with the current prompts."""

    Options = AdvIVLPOptions
    registered_name = "VLPromptLearner"
    spec = staticmethod(both_sides_spec)

    def losses(self, model: PromptedClip, batch: Batch) -> dict[str, Tensor]:
        share, labels = self.options.clean_share, batch.known_labels
        text = model.text_features(self.task.classnames)  # (C, D), once for the attack and the loss
        attacked = attacked_images(
            model, batch.images, self.options, lambda logits: against_labels(logits, labels), text.detach().float()
        )
        parts = {"loss_adv": (1 - share) * F.cross_entropy(model.logits(attacked, text), labels)}
        if share:
            parts["loss_clean"] = share * F.cross_entropy(model.logits(batch.images, text), labels)
        return parts
