"""VPT: visual prompt tuning (Jia et al., ECCV 2022, arXiv 2203.12119) of CLIP, with fixed words for the classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.model.prompts import Prompts

from .base import PromptTrainer


@TRAINER_REGISTRY.register()
class VPT(PromptTrainer):
    """Learned tokens beside the patches, at the input and before each of the first blocks."""

    @staticmethod
    def defaults() -> CfgNode:
        return CfgNode({"N_CTX_VISION": 8, "CTX_INIT": "a photo of a", "PREC": "fp16", "PROMPT_DEPTH_VISION": 12})

    @staticmethod
    def build_prompts(options: CfgNode, clip: nn.Module, classnames: Sequence[str]) -> Prompts:
        depth = options.PROMPT_DEPTH_VISION
        return Prompts(clip, n_vision=options.N_CTX_VISION, depth_vision=depth, phrase=options.CTX_INIT)

    def build_model(self) -> None:
        self._fixed: dict[tuple[str, ...], Tensor] = {}
        super().build_model()

    def text_features(self, classnames: Sequence[str]) -> Tensor:
        """Nothing of the text is learned, so that its features are made once for each list of names."""
        key = tuple(classnames)
        if key not in self._fixed:
            with torch.no_grad():
                self._fixed[key] = super().text_features(classnames)
        return self._fixed[key]
