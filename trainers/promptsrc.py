"""PromptSRC: self-regulating prompts (Khattak et al., ICCV 2023, arXiv 2307.06948). PromptKD's teacher is one."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.model.class_vectors import cosine_logits, template_features
from promptkd.model.prompting import encode_image
from promptkd.model.templates import PROMPTSRC_TEMPLATES

from .ivlp import IVLP


@TRAINER_REGISTRY.register()
class PromptSRC(IVLP):
    """IVLP's prompts, kept near frozen CLIP by three losses, averaged over epochs (GPA)."""

    @staticmethod
    def defaults() -> CfgNode:
        weights = {"TEXT_LOSS_WEIGHT": 25.0, "IMAGE_LOSS_WEIGHT": 10.0, "GPA_MEAN": 15.0, "GPA_STD": 1.0}
        return CfgNode(IVLP.defaults() | weights)

    def build_model(self) -> None:
        super().build_model()
        self.gpa_weights = gaussian_weights(self.max_epoch, self.options.GPA_MEAN, self.options.GPA_STD)
        self.averaged: dict[str, Tensor] = {}
        with self.precision.autocast():
            self.frozen_text = template_features(self.clip, self.classnames, PROMPTSRC_TEMPLATES, normalize_each=False)

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        text = F.normalize(self.text_features(self.classnames).float(), dim=-1)  # (C, D)
        image = F.normalize(self.image_features(images).float(), dim=-1)  # (B, D)
        with torch.no_grad():
            frozen_image = F.normalize(encode_image(self.clip.visual, images).float(), dim=-1)  # (B, D)
            frozen_logits = cosine_logits(frozen_image, self.frozen_text, self.logit_scale)  # (B, C)
        logits = cosine_logits(image, text, self.logit_scale)  # (B, C)
        return {
            "loss_ce": F.cross_entropy(logits, labels),
            "loss_scl_text": self.options.TEXT_LOSS_WEIGHT * F.l1_loss(text, self.frozen_text),
            "loss_scl_image": self.options.IMAGE_LOSS_WEIGHT * F.l1_loss(image, frozen_image),
            "loss_scl_logits": mean_kl(logits, frozen_logits),
        }

    def after_epoch(self) -> None:
        """Adds the epoch's prompts to the Gaussian mean; the last epoch puts the mean in their place (section 3.4)."""
        weight = self.gpa_weights[self.epoch]
        for name, value in self.prompts.state_dict().items():
            self.averaged[name] = self.averaged.get(name, torch.zeros_like(value)) + weight * value
        if self.epoch + 1 == self.max_epoch:
            self.prompts.load_state_dict(self.averaged)
        super().after_epoch()

    def run_state(self) -> dict[str, Any]:
        return {"averaged": dict(self.averaged)}

    def load_run_state(self, state: dict[str, Any]) -> None:
        self.averaged = {name: value.to(self.device) for name, value in state["averaged"].items()}


def gaussian_weights(epochs: int, mean: float, std: float) -> list[float]:
    """`w_e` proportional to `N(e; mean, std^2)` for e = 1 .. epochs, of sum 1 (arXiv 2307.06948, equation 7).

    Raises:
        ValueError: std is not above 0.
    """
    if std <= 0:
        raise ValueError(f"TRAINER.PROMPTSRC.GPA_STD {std}: a standard deviation is above 0")
    # relative to the largest exponent, so that a mean far outside 1 .. epochs does not underflow to 0/0
    exponents = [-0.5 * ((epoch - mean) / std) ** 2 for epoch in range(1, epochs + 1)]
    weights = [math.exp(exponent - max(exponents)) for exponent in exponents]
    return [weight / sum(weights) for weight in weights]


def mean_kl(logits: Tensor, target_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """`T^2 KL(softmax(target / T) || softmax(logits / T))`, summed and divided by B * C as in the published code.

    Args:
        logits: (B, C), any float type; the softmax is taken in float32.
        target_logits: (B, C).
        temperature: T.

    Returns:
        A scalar. An ordinary batch-mean KL is C times this.
    """
    log_p = F.log_softmax(logits.float() / temperature, dim=-1)
    log_target = F.log_softmax(target_logits.float() / temperature, dim=-1)
    return F.kl_div(log_p, log_target, reduction="sum", log_target=True) * temperature**2 / logits.numel()
