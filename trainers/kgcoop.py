"""KgCoOp: knowledge-guided context optimisation (Yao et al., CVPR 2023, arXiv 2303.13283)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor
from torch.nn import functional as F
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.batch import Batch
from promptkd.engine.options import LARGEST_WEIGHT, LONGEST, option
from promptkd.model.prompted_clip import PromptedClip

from .base import PromptTrainer
from .coop import CoOpOptions, context_spec, context_supervision, words_or_number


@dataclass(frozen=True)
class KgCoOpOptions(CoOpOptions):
    """CoOp's, and the weight of the distance."""

    n_ctx: int = option(4, "context tokens", least=1, most=LONGEST)
    ctx_init: str = option("a photo of a", "words to start from, one token each, in the place of N_CTX", words=True)
    w: float = option(
        8.0, "weight of the distance to the hand-written template's features", least=0, most=LARGEST_WEIGHT
    )

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        return words_or_number(cfg, self.ctx_init, self.n_ctx)


@TRAINER_REGISTRY.register()
class KgCoOp(PromptTrainer):
    """CoOp, whose text features stay near those of the hand-written template."""

    Options = KgCoOpOptions
    spec = staticmethod(context_spec)
    supervision = staticmethod(context_supervision)

    @cached_property
    def frozen_text(self) -> Tensor:
        """The template's features: (C, D) of unit norm."""
        return self.model.template_features(self.task.classnames, [self.task.template])

    def losses(self, model: PromptedClip, batch: Batch) -> dict[str, Tensor]:
        text = model.text_features(self.task.classnames)  # (C, D)
        near = F.cosine_similarity(text.float(), self.frozen_text, dim=-1).mean()
        loss_ce = F.cross_entropy(model.logits(batch.images, text), batch.known_labels)
        return {"loss_ce": loss_ce, "loss_kg": self.options.w * (1 - near)}  # equation 3 of the paper
