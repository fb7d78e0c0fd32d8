"""KgCoOp: knowledge-guided context optimisation (Yao et al., CVPR 2023, arXiv 2303.13283)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.model.class_vectors import template_features
from promptkd.model.templates import dataset_template

from .coop import CoOp


@TRAINER_REGISTRY.register()
class KgCoOp(CoOp):
    """CoOp, whose text features stay near those of the hand-written template."""

    @staticmethod
    def defaults() -> CfgNode:
        own = {"N_CTX": 4, "CTX_INIT": "a photo of a", "PREC": "fp16", "CSC": False, "CLASS_TOKEN_POSITION": "end"}
        return CfgNode(own | {"W": 8.0})  # W weighs the distance

    def build_model(self) -> None:
        super().build_model()
        template = self.cfg.TEMPLATE or dataset_template(self.cfg.DATASET.NAME)
        with self.precision.autocast():
            self.frozen_text = template_features(self.clip, self.classnames, [template])  # (C, D) of unit norm

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        text = self.text_features(self.classnames)  # (C, D)
        near = F.cosine_similarity(text.float(), self.frozen_text, dim=-1).mean()
        return {
            "loss_ce": F.cross_entropy(self.logits(images, text), labels),
            "loss_kg": self.options.W * (1 - near),  # equation 3 of the paper
        }
