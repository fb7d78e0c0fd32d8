"""FAP: few-shot adversarial prompt learning (Zhou et al., NeurIPS 2024, arXiv 2403.14774).

Visual prompts lead and text prompts are linear maps of them; predictions of attacked images are held to those of the
clean ones, the more the closer their features are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.batch import Batch
from promptkd.engine.losses import cosine_weighted_kl
from promptkd.engine.options import DEEPEST, LARGEST_WEIGHT, LEARNS_WORDS, MOST_TOKENS, option
from promptkd.engine.robust.attacks import away_from
from promptkd.engine.robust.training import AttackOptions, attacked_images
from promptkd.model.class_vectors import cosine_logits
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompting import ClipShape
from promptkd.model.spec import PromptSpec

from .base import PromptTrainer


@dataclass(frozen=True)
class FAPOptions(AttackOptions):
    """Tokens, the weight of the term that makes predictions robust, and the attack."""

    n_ctx: int = option(2, "tokens of each encoder", least=1, most=MOST_TOKENS)
    prompt_depth: int = option(9, "blocks of both encoders with learned tokens", least=1, most=DEEPEST)
    weight: float = option(1.5, "lambda: weight of the divergence under attack", least=0, most=LARGEST_WEIGHT)

    def not_read(self, cfg: Any) -> dict[str, str]:
        return LEARNS_WORDS


@TRAINER_REGISTRY.register()
class FAP(PromptTrainer):
    """Visual prompts and their text side, held to the same predictions under attack."""

    Options = FAPOptions
    registered_name = "MultiModalPromptLearner"

    @staticmethod
    def spec(options: Any, shape: ClipShape, classnames: Sequence[str]) -> PromptSpec:
        """Deep visual prompts, and a linear map of each for the text encoder."""
        tokens, depth = options.n_ctx, options.prompt_depth
        return PromptSpec("image_led", n_text=tokens, depth_text=depth, n_vision=tokens, depth_vision=depth)

    def losses(self, model: PromptedClip, batch: Batch) -> dict[str, Tensor]:
        text = model.text_features(self.task.classnames)  # (C, D)
        fixed = text.detach().float()
        with torch.no_grad():
            predicted = model.logits(batch.images, fixed)  # (B, C), what the attack leads away from
        attacked = attacked_images(
            model, batch.images, self.options, lambda logits: away_from(logits, predicted), fixed
        )
        clean, moved = model.image_features(batch.images), model.image_features(attacked)  # (B, D)
        logits, moved_logits = (cosine_logits(one, text, model.logit_scale) for one in (clean, moved))
        robust = cosine_weighted_kl(moved_logits, logits, F.cosine_similarity(clean.float(), moved.float()))
        return {
            "loss_ce": F.cross_entropy(logits, batch.known_labels),
            "loss_robust": self.options.weight * robust,
        }
