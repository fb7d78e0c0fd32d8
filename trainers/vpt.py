"""VPT: visual prompt tuning (Jia et al., ECCV 2022, arXiv 2203.12119) of CLIP, with fixed words for the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.options import DEEPEST, MOST_TOKENS, MethodOptions, option
from promptkd.model.prompting import ClipShape
from promptkd.model.spec import PromptSpec

from .base import PromptTrainer


@dataclass(frozen=True)
class VPTOptions(MethodOptions):
    """The visual tokens, and the words around the class name."""

    n_ctx_vision: int = option(8, "visual tokens", least=1, most=MOST_TOKENS)
    ctx_init: str = option("a photo of a", "words before the class name; they are not learned", words=True)
    prompt_depth_vision: int = option(12, "blocks of the image encoder with learned tokens", least=1, most=DEEPEST)

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        return {"TEMPLATE": "CTX_INIT has the words"}


@TRAINER_REGISTRY.register()
class VPT(PromptTrainer):
    """Learned tokens beside the patches, at the input and before each of the first blocks."""

    Options = VPTOptions

    @staticmethod
    def spec(options: Any, shape: ClipShape, classnames: Sequence[str]) -> PromptSpec:
        depth = options.prompt_depth_vision
        return PromptSpec(n_vision=options.n_ctx_vision, depth_vision=depth, phrase=options.ctx_init)
