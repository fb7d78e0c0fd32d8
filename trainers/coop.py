"""CoOp: context optimisation (Zhou et al., IJCV 2022, arXiv 2109.01134)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.clip.clip import load_clip_to_cpu  # noqa: F401  what files written for upstream take from this module
from promptkd.engine.options import LEARNS_WORDS, LONGEST, MethodOptions, node_of, option
from promptkd.engine.task import Supervision
from promptkd.model.prompting import ClipShape
from promptkd.model.prompts import POSITIONS, context_length
from promptkd.model.spec import PromptSpec

from .base import PromptTrainer


@dataclass(frozen=True)
class CoOpOptions(MethodOptions):
    """The context, and where the class name stands in it."""

    n_ctx: int = option(16, "context tokens", least=1, most=LONGEST)
    csc: bool = option(False, "a context for each class, which says nothing of new classes")
    ctx_init: str = option(
        "", 'words to start from, one token each, in the place of N_CTX; "" starts at random', words=True
    )
    class_token_position: str = option("end", "where the class name stands in the context", choices=POSITIONS)

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        return LEARNS_WORDS | words_or_number(cfg, self.ctx_init, self.n_ctx)


def words_or_number(cfg: CfgNode, ctx_init: str, n_ctx: int) -> dict[str, str]:
    """N_CTX as a key that is not read, where CTX_INIT has another number of words."""
    words = len(ctx_init.replace("_", " ").split())
    if not words or words == n_ctx:
        return {}
    return {f"TRAINER.{node_of(cfg.TRAINER.NAME)}.N_CTX": f"CTX_INIT has {words} words, each of which is a token"}


def context_spec(options: Any, shape: ClipShape, classnames: Sequence[str]) -> PromptSpec:
    """A learned context in the place of a template's words, for all classes or for each class its own (CSC)."""
    return PromptSpec(
        n_text=context_length(options.ctx_init, options.n_ctx),
        phrase=options.ctx_init,
        n_classes=len(classnames) if options.csc else 0,
        position=options.class_token_position,
    )


def context_supervision(cfg: CfgNode) -> Supervision:
    """Labels; contexts for each class (CSC) are held to the classes that trained."""
    return Supervision(class_specific=cfg.TRAINER[node_of(cfg.TRAINER.NAME)].CSC)


@TRAINER_REGISTRY.register()
class CoOp(PromptTrainer):
    """A learned context, trained by cross-entropy."""

    Options = CoOpOptions
    spec = staticmethod(context_spec)
    supervision = staticmethod(context_supervision)
