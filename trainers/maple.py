"""MaPLe: multi-modal prompt learning (Khattak et al., CVPR 2023, arXiv 2210.03117)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.options import MethodOptions, option
from promptkd.model.prompting import ClipShape
from promptkd.model.spec import PromptSpec

from .base import PromptTrainer


@dataclass(frozen=True)
class MaPLeOptions(MethodOptions):
    """The context, and how many blocks of both encoders have prompts."""

    n_ctx: int = option(2, "context tokens")
    ctx_init: str = option("a photo of a", "words that the context starts from; those beyond N_CTX stay as text")
    prompt_depth: int = option(9, "blocks of both encoders with prompts")


def compound_spec(options: Any, shape: ClipShape, classnames: Sequence[str]) -> PromptSpec:
    """Context and deep prompts, and maps of them for the image encoder."""
    depth = options.prompt_depth
    return PromptSpec(kind="compound", n_text=options.n_ctx, depth_text=depth, phrase=options.ctx_init)


@TRAINER_REGISTRY.register()
class MaPLe(PromptTrainer):
    """Context and deep prompts for the text; those of the image are linear maps of them."""

    Options = MaPLeOptions
    registered_name = "MultiModalPromptLearner"

    spec = staticmethod(compound_spec)
