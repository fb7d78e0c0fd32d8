"""CoCoOp: conditional context optimisation (Zhou et al., CVPR 2022, arXiv 2203.05557)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.model.class_vectors import ClassVectors, cosine_logits
from promptkd.model.coupled import ConditionalPrompts
from promptkd.model.prompts import context_length

from .base import PromptTrainer


@TRAINER_REGISTRY.register()
class CoCoOp(PromptTrainer):
    """CoOp's context, moved for each image by a small network that sees the image's feature."""

    text_depends_on_image = True

    @staticmethod
    def defaults() -> CfgNode:
        return CfgNode({"N_CTX": 16, "CTX_INIT": "", "PREC": "fp16"})

    @staticmethod
    def build_prompts(options: CfgNode, clip: nn.Module, classnames: Sequence[str]) -> ConditionalPrompts:
        n_ctx = context_length(options.CTX_INIT, options.N_CTX)
        return ConditionalPrompts(clip, n_text=n_ctx, phrase=options.CTX_INIT)

    def text_features_for(self, image_features: Tensor, classnames: Sequence[str]) -> Tensor:
        """Un-normalised text features of C classes for each image: (B, D) of unit norm -> (B, C, D)."""
        return self.prompts.encode_text_for(self.clip, self.tokens(classnames), image_features)

    def conditional_logits(self, images: Tensor, classnames: Sequence[str]) -> Tensor:
        """`s cos(f, g(f))`: (B, 3, H, W) -> (B, C) float32."""
        image = F.normalize(self.image_features(images).float(), dim=-1)  # (B, D)
        return cosine_logits(image, self.text_features_for(image, classnames), self.logit_scale)

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss_ce": F.cross_entropy(self.conditional_logits(images, self.classnames), labels)}

    def classifier(self, classnames: Sequence[str]) -> Callable[[Tensor], Tensor]:
        return lambda images: self.conditional_logits(images, classnames)

    def class_vectors(self, classnames: Sequence[str]) -> ClassVectors:
        raise ValueError("CoCoOp makes its text features for each image anew: it has no class vectors")
