"""Zero-shot CLIP (arXiv 2103.00020): class vectors of a hand-written template, or of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.options import PRECISION_MEANS, MethodOptions, option
from promptkd.engine.task import Supervision
from promptkd.model.prompting import ClipShape
from promptkd.model.spec import PromptSpec

from .base import PromptTrainer


@dataclass(frozen=True)
class ZeroshotOptions(MethodOptions):
    """Nothing but the arithmetic."""

    prec: str = option("fp32", PRECISION_MEANS)


def nothing(options: Any, shape: ClipShape, classnames: Sequence[str]) -> PromptSpec:
    """No learned tokens."""
    return PromptSpec()


def without_labels(cfg: CfgNode) -> Supervision:
    """Neither labels nor images are learned from."""
    return Supervision(labels=False)


@TRAINER_REGISTRY.register()
class ZeroshotCLIP(PromptTrainer):
    """One template: the data set's own (CoOp, arXiv 2109.01134), or TEMPLATE."""

    Options = ZeroshotOptions
    learns = False
    spec = staticmethod(nothing)
    supervision = staticmethod(without_labels)

    def templates(self) -> Sequence[str]:
        return [self.task.template]


@TRAINER_REGISTRY.register()
class ZeroshotCLIP2(PromptTrainer):
    """The mean over seven selected templates and the data set's own, each normalised first."""

    Options = ZeroshotOptions
    learns = False
    spec = staticmethod(nothing)
    supervision = staticmethod(without_labels)

    def templates(self) -> Sequence[str]:
        return list(self.task.templates)
