"""PromptSRC: self-regulating prompts (Khattak et al., ICCV 2023, arXiv 2307.06948). PromptKD's teacher is one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.batch import Batch
from promptkd.engine.callbacks import AveragedPrompts, Callback
from promptkd.engine.losses import gaussian_weights, mean_kl
from promptkd.engine.options import LARGEST_WEIGHT, option
from promptkd.model.class_vectors import cosine_logits
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.templates import PROMPTSRC_TEMPLATES

from .base import PromptTrainer
from .ivlp import IVLPOptions, both_sides_spec


@dataclass(frozen=True)
class PromptSRCOptions(IVLPOptions):
    """IVLP's, the weights of two regularisers, and the average over epochs."""

    text_loss_weight: float = option(
        25.0, "weight of the text features' distance to frozen CLIP's", least=0, most=LARGEST_WEIGHT
    )
    image_loss_weight: float = option(
        10.0, "weight of the image features' distance to frozen CLIP's", least=0, most=LARGEST_WEIGHT
    )
    gpa_mean: float = option(15.0, "epoch that counts most in the average of prompts", least=-1e6, most=1e6)
    gpa_std: float = option(
        1.0, "spread of that average, in epochs", above=0, most=1e6, hint="a standard deviation is above 0"
    )


@TRAINER_REGISTRY.register()
class PromptSRC(PromptTrainer):
    """IVLP's prompts, kept near frozen CLIP by three losses, averaged over epochs (GPA)."""

    Options = PromptSRCOptions
    registered_name = "VLPromptLearner"
    spec = staticmethod(both_sides_spec)

    @cached_property
    def frozen_text(self) -> Tensor:
        """Frozen CLIP's features, the mean over 60 templates before it is normalised: (C, D) of unit norm."""
        return self.model.template_features(self.task.classnames, PROMPTSRC_TEMPLATES, normalize_each=False)

    def losses(self, model: PromptedClip, batch: Batch) -> dict[str, Tensor]:
        text = F.normalize(model.text_features(self.task.classnames).float(), dim=-1)  # (C, D)
        image = F.normalize(model.image_features(batch.images).float(), dim=-1)  # (B, D)
        with torch.no_grad():
            frozen_image = F.normalize(model.frozen_image_features(batch.images).float(), dim=-1)  # (B, D)
            frozen_logits = cosine_logits(frozen_image, self.frozen_text, model.logit_scale)  # (B, C)
        logits = cosine_logits(image, text, model.logit_scale)  # (B, C)
        return {
            "loss_ce": F.cross_entropy(logits, batch.known_labels),
            "loss_scl_text": self.options.text_loss_weight * F.l1_loss(text, self.frozen_text),
            "loss_scl_image": self.options.image_loss_weight * F.l1_loss(image, frozen_image),
            "loss_scl_logits": mean_kl(logits, frozen_logits),
        }

    def callbacks(self) -> list[Callback]:
        weights = gaussian_weights(self.max_epoch, self.options.gpa_mean, self.options.gpa_std)
        return [AveragedPrompts(self.model.prompts, weights)]
