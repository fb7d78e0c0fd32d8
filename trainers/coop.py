"""CoOp: context optimisation (Zhou et al., IJCV 2022, arXiv 2109.01134)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.clip.clip import load_clip_to_cpu  # noqa: F401  what files written for upstream take from this module
from promptkd.engine.config import node_of
from promptkd.model.prompts import Prompts, context_length

from .base import PromptTrainer


@TRAINER_REGISTRY.register()
class CoOp(PromptTrainer):
    """A learned context in the place of a template's words, for all classes or for each class its own (CSC)."""

    @staticmethod
    def defaults() -> CfgNode:
        return CfgNode(
            {
                "N_CTX": 16,
                "CSC": False,  # class-specific contexts
                "CTX_INIT": "",  # words to start from, which give the context its length; "" starts at random
                "PREC": "fp16",
                "CLASS_TOKEN_POSITION": "end",  # "end", "middle" or "front"
            }
        )

    @staticmethod
    def build_prompts(options: CfgNode, clip: nn.Module, classnames: Sequence[str]) -> Prompts:
        return Prompts(
            clip,
            n_text=context_length(options.CTX_INIT, options.N_CTX),
            phrase=options.CTX_INIT,
            n_classes=len(classnames) if options.CSC else 0,
            position=options.CLASS_TOKEN_POSITION,
        )

    def class_specific(self) -> bool:
        """Whether each class has a context of its own, so that nothing can be said of other classes."""
        return self.cfg.TRAINER[node_of(self.cfg.TRAINER.NAME)].CSC

    def reported_groups(self) -> list[str]:
        groups = super().reported_groups()
        if not self.class_specific() or "new" not in groups:
            return groups
        if groups == ["new"]:
            raise ValueError("CSC True: a class-specific context cannot do new classes: set CSC False, or report base")
        print("CSC True: a class-specific context cannot do new classes, only base is reported")
        return ["base"]

    def build_data_loader(self) -> None:
        super().build_data_loader()
        if self.class_specific():
            self.all_classnames = self.classnames  # base classes have the first labels

    def belongs_to(self) -> dict[str, Any]:
        return super().belongs_to() | ({"classnames": self.classnames} if self.class_specific() else {})
