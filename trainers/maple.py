"""MaPLe: multi-modal prompt learning (Khattak et al., CVPR 2023, arXiv 2210.03117)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.model.coupled import CompoundPrompts

from .base import PromptTrainer


@TRAINER_REGISTRY.register()
class MaPLe(PromptTrainer):
    """Context and deep prompts for the text; those of the image are linear maps of them."""

    registered_name = "MultiModalPromptLearner"

    @staticmethod
    def defaults() -> CfgNode:
        return CfgNode({"N_CTX": 2, "CTX_INIT": "a photo of a", "PREC": "fp16", "PROMPT_DEPTH": 9})

    @staticmethod
    def build_prompts(options: CfgNode, clip: nn.Module, classnames: Sequence[str]) -> CompoundPrompts:
        return CompoundPrompts(clip, n_text=options.N_CTX, depth=options.PROMPT_DEPTH, phrase=options.CTX_INIT)
