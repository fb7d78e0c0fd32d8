"""Zero-shot CLIP (arXiv 2103.00020): class vectors of a hand-written template, or of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.model.class_vectors import template_features
from promptkd.model.prompts import Prompts
from promptkd.model.templates import dataset_template, ensemble_templates

from .base import PromptTrainer


@TRAINER_REGISTRY.register()
class ZeroshotCLIP(PromptTrainer):
    """One template: the data set's own (CoOp, arXiv 2109.01134), or TEMPLATE."""

    learns = False
    needs_labels = False

    @staticmethod
    def defaults() -> CfgNode:
        return CfgNode({"PREC": "fp32"})

    @staticmethod
    def build_prompts(options: CfgNode, clip: nn.Module, classnames: Sequence[str]) -> Prompts:
        return Prompts(clip)

    def templates(self) -> list[str]:
        """The templates whose features are averaged."""
        return [self.cfg.TEMPLATE or dataset_template(self.cfg.DATASET.NAME)]

    def text_features(self, classnames: Sequence[str]) -> Tensor:
        return template_features(self.clip, classnames, self.templates())

    def template(self) -> str:
        return " | ".join(self.templates())

    def train(self) -> None:
        """There is nothing to train: evaluates."""
        if not self.cfg.TEST.NO_TEST:
            self.test()

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """There is nothing to load."""


@TRAINER_REGISTRY.register()
class ZeroshotCLIP2(ZeroshotCLIP):
    """The mean over seven selected templates and the data set's own, each normalised first."""

    def templates(self) -> list[str]:
        return [self.cfg.TEMPLATE] if self.cfg.TEMPLATE else ensemble_templates(self.cfg.DATASET.NAME)
