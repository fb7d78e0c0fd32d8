"""CoCoOp: conditional context optimisation (Zhou et al., CVPR 2022, arXiv 2203.05557)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.batch import Batch
from promptkd.engine.options import LEARNS_WORDS, LONGEST, MethodOptions, option
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompting import ClipShape
from promptkd.model.prompts import context_length
from promptkd.model.spec import PromptSpec

from .base import PromptTrainer
from .coop import words_or_number


@dataclass(frozen=True)
class CoCoOpOptions(MethodOptions):
    """The context that each image moves."""

    n_ctx: int = option(16, "context tokens", least=1, most=LONGEST)
    ctx_init: str = option(
        "", 'words to start from, one token each, in the place of N_CTX; "" starts at random', words=True
    )

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        return LEARNS_WORDS | words_or_number(cfg, self.ctx_init, self.n_ctx)


@TRAINER_REGISTRY.register()
class CoCoOp(PromptTrainer):
    """CoOp's context, moved for each image by a small network that sees the image's feature."""

    Options = CoCoOpOptions

    @staticmethod
    def spec(options: Any, shape: ClipShape, classnames: Sequence[str]) -> PromptSpec:
        n_text = context_length(options.ctx_init, options.n_ctx)
        return PromptSpec(kind="conditional", n_text=n_text, phrase=options.ctx_init)

    def losses(self, model: PromptedClip, batch: Batch) -> dict[str, Tensor]:
        logits = model.conditional_logits(batch.images, self.task.classnames)  # (B, C)
        return {"loss_ce": F.cross_entropy(logits, batch.known_labels)}
