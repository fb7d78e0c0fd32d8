"""MaPLe: multi-modal prompt learning (Khattak et al., CVPR 2023, arXiv 2210.03117)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.options import DEEPEST, LEARNS_WORDS, LONGEST, MethodOptions, option
from promptkd.model.prompting import ClipShape
from promptkd.model.spec import PromptSpec

from .base import PromptTrainer


@dataclass(frozen=True)
class MaPLeOptions(MethodOptions):
    """The context, and how many blocks of both encoders have prompts."""

    n_ctx: int = option(2, "context tokens", least=1, most=LONGEST)
    ctx_init: str = option(
        "a photo of a", "words that the context starts from; those beyond N_CTX stay as text", words=True
    )
    prompt_depth: int = option(9, "blocks of both encoders with prompts", least=1, most=DEEPEST)

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        return LEARNS_WORDS


@TRAINER_REGISTRY.register()
class MaPLe(PromptTrainer):
    """Context and deep prompts for the text; those of the image are linear maps of them."""

    Options = MaPLeOptions
    registered_name = "MultiModalPromptLearner"

    @staticmethod
    def spec(options: Any, shape: ClipShape, classnames: Sequence[str]) -> PromptSpec:
        depth = options.prompt_depth
        return PromptSpec(kind="compound", n_text=options.n_ctx, depth_text=depth, phrase=options.ctx_init)
