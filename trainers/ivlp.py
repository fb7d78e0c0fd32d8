"""IVLP: independent vision-language prompting, the baseline of MaPLe (arXiv 2210.03117, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.model.prompts import Prompts

from .base import PromptTrainer


@TRAINER_REGISTRY.register()
class IVLP(PromptTrainer):
    """Context and deep prompts in both encoders, learned side by side."""

    registered_name = "VLPromptLearner"

    @staticmethod
    def defaults() -> CfgNode:
        return CfgNode(
            {
                "N_CTX_VISION": 4,
                "N_CTX_TEXT": 4,
                "CTX_INIT": "a photo of a",
                "PREC": "fp16",
                "PROMPT_DEPTH_VISION": 9,
                "PROMPT_DEPTH_TEXT": 9,
            }
        )

    @staticmethod
    def build_prompts(options: CfgNode, clip: nn.Module, classnames: Sequence[str]) -> Prompts:
        return Prompts(
            clip,
            n_text=options.N_CTX_TEXT,
            depth_text=options.PROMPT_DEPTH_TEXT,
            n_vision=options.N_CTX_VISION,
            depth_vision=options.PROMPT_DEPTH_VISION,
            phrase=options.CTX_INIT,
        )
