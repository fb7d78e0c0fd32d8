"""IVLP: independent vision-language prompting, the baseline of MaPLe (arXiv 2210.03117, section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.options import DEEPEST, LEARNS_WORDS, LONGEST, MOST_TOKENS, MethodOptions, option
from promptkd.model.prompting import ClipShape
from promptkd.model.spec import PromptSpec

from .base import PromptTrainer


@dataclass(frozen=True)
class IVLPOptions(MethodOptions):
    """Tokens and depths of both encoders."""

    n_ctx_vision: int = option(4, "visual tokens", least=0, most=MOST_TOKENS)
    n_ctx_text: int = option(4, "context tokens", least=0, most=LONGEST)
    ctx_init: str = option("a photo of a", 'words that the context starts from; "" starts at random', words=True)
    prompt_depth_vision: int = option(9, "blocks of the image encoder with learned tokens", least=0, most=DEEPEST)
    prompt_depth_text: int = option(9, "blocks of the text encoder with learned tokens", least=1, most=DEEPEST)

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        return LEARNS_WORDS


def both_sides_spec(options: Any, shape: ClipShape, classnames: Sequence[str]) -> PromptSpec:
    """Context and deep prompts in both encoders, side by side."""
    return PromptSpec(
        n_text=options.n_ctx_text,
        depth_text=options.prompt_depth_text,
        n_vision=options.n_ctx_vision,
        depth_vision=options.prompt_depth_vision,
        phrase=options.ctx_init,
    )


@TRAINER_REGISTRY.register()
class IVLP(PromptTrainer):
    """Context and deep prompts in both encoders, learned side by side."""

    Options = IVLPOptions
    registered_name = "VLPromptLearner"
    spec = staticmethod(both_sides_spec)
