"""TFUP-T: TFUP with two adapters that are trained on its labels (Long et al., 2024, arXiv 2404.16339, section 3.4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer
from yacs.config import CfgNode

from dassl.data.datasets import Datum
from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.batch import Batch
from promptkd.engine.callbacks import Callback
from promptkd.engine.losses import marginal_entropy
from promptkd.engine.options import option
from promptkd.engine.pseudo_labels import PseudoLabel, described, log_labels
from promptkd.engine.task import Supervision
from promptkd.model.adapters import AdapterPrompts
from promptkd.model.class_vectors import cosine_logits
from promptkd.model.feature_cache import FeatureCache
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompting import ClipShape
from promptkd.model.spec import PromptSpec
from promptkd.teacher.pool import Pool

from .base import PromptTrainer
from .tfup import (
    TFUPOptions,
    build_cache,
    cache_shots,
    class_weights,
    plain_clip,
    pool_of,
    tfup_logits,
    warn_of_few,
    without_labels,
)


@dataclass(frozen=True)
class TFUPTOptions(TFUPOptions):
    """TFUP's, and how the adapters are trained."""

    training_shots: int = option(
        0, "images a class in the warm-up; 0 is the published rule (TRAINING_PROPORTION)", least=0
    )
    training_proportion: float = option(0.75, "of the warm-up: images x this / classes, 9 or more", above=0)
    warmup_epochs: int = option(5, "epochs on the images that stand for a class, before those on all", least=0)
    threshold: float = option(
        0.9, "least confidence in a weak view by which its strong view is taught", least=0, most=1
    )
    marginal_weight: float = option(0.3, "weight of the entropy of the mean prediction", least=0)
    eps: float = option(0.003, "of AdamW", above=0)
    schedule: str = option(
        "whole",
        "cosine over all steps (whole), or as_published: over MAX_EPOCH times the warm-up's batches, after which the "
        "rate rises again",
        choices=("whole", "as_published"),
    )

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        keys = ("LR_SCHEDULER", "WARMUP_EPOCH", "WARMUP_TYPE", "WARMUP_CONS_LR", "WARMUP_MIN_LR", "WARMUP_RECOUNT")
        reasons = {f"OPTIM.{key}": "TRAINER.TFUPT.SCHEDULE sets the rate of each step" for key in keys}
        return reasons | ({"TEMPLATE": "DESCRIPTIONS has the texts"} if self.descriptions else {})


class CosineBySteps(Callback):
    """The learning rate of each step, `lr (1 + cos(pi t / T)) / 2`.

    Args:
        rate: of the first step.
        period: T, steps.
        batches: of each epoch, in their order.
    """

    def __init__(self, rate: float, period: int, batches: Sequence[int]) -> None:
        self.rate, self.period, self.batches, self.step = rate, period, list(batches), 0

    def before_epoch(self, epoch: int) -> None:
        self.step = sum(self.batches[:epoch])

    def before_step(self, optimizer: Optimizer) -> None:
        for group in optimizer.param_groups:
            group["lr"] = self.rate * (1 + math.cos(math.pi * self.step / self.period)) / 2
        self.step += 1


def class_specific(cfg: CfgNode) -> Supervision:
    """TFUP's supervision, of a method that learns something for each class: with the pool of base, base alone."""
    supervision = without_labels(cfg)
    groups = ("base",) if supervision.pool == "base" else supervision.groups
    return replace(supervision, class_specific=True, groups=groups)


@TRAINER_REGISTRY.register()
class TFUPT(PromptTrainer):
    """A residual for each class and an adapter of image features, trained without labels."""

    Options = TFUPTOptions
    registered_name = "adapters"
    supervision = staticmethod(class_specific)
    pool: Pool
    cache: FeatureCache
    features: Tensor  # of the weak views, (N, D)
    refined: list[Datum]
    pseudo_labels: dict[str, Any] | None = None

    @staticmethod
    def spec(options: Any, shape: ClipShape, classnames: Sequence[str]) -> PromptSpec:
        """Adapters for the classes that train."""
        return PromptSpec(kind="adapters", n_classes=len(classnames))

    @property
    def adapters(self) -> AdapterPrompts:
        """What is learned."""
        assert isinstance(self.model.prompts, AdapterPrompts)
        return self.model.prompts

    @torch.no_grad()
    def prepare(self) -> None:
        """Builds TFUP's cache, and the list of the warm-up: representative images with the labels that TFUP gives."""
        options, names, device = self.options, self.task.classnames, self.model.device
        weights = class_weights(self, names).to(device)  # (C, D)
        self.adapters.class_weights.copy_(weights)
        self.pool = pool_of(self)
        self.features = self.pool.weak_features(plain_clip(self)).to(device)  # (N, D)
        size = len(self.pool)
        shots = options.shots or cache_shots(size, len(names), options.cache_proportion)
        warn_of_few(size, shots)
        self.cache, _ = build_cache(self.features, weights, shots)
        wanted = options.training_shots or max(9, int(size * options.training_proportion / len(names)))
        _, chosen = build_cache(self.features, weights, wanted)
        labels = tfup_logits(self.features, weights, self.cache, self.model.logit_scale, options).argmax(-1).tolist()
        relabelled = [PseudoLabel(one.row, labels[one.row], one.confidence) for one in chosen]
        self.pseudo_labels = described(relabelled, self.pool.truth, names)
        log_labels(self.pseudo_labels, size, min(wanted, size))
        self.refined = self.pool.labelled(relabelled, names)

    def build_model(self) -> None:
        super().build_model()
        if self.training.optimizer is not None:
            for group in self.training.optimizer.param_groups:
                group["eps"] = self.options.eps

    def callbacks(self) -> list[Callback]:
        if self.cfg.EVAL_ONLY:
            return []
        warm, main = self.count_batches()
        epochs = self.cfg.OPTIM.MAX_EPOCH
        batches = [warm if epoch < self.options.warmup_epochs else main for epoch in range(epochs)]
        period = sum(batches) if self.options.schedule == "whole" else epochs * warm
        return [CosineBySteps(self.cfg.OPTIM.LR, period, batches)]

    def count_batches(self) -> tuple[int, int]:
        """Batches of an epoch of the warm-up, whose images train from here on, and of one on all images."""
        self.task.train_on(list(self.pool.items))
        main = len(self.task.train_loader)
        self.task.train_on(self.refined)
        self.train_loader_x = self.task.train_loader
        return len(self.train_loader_x), main

    def before_epoch(self) -> None:
        self.turn_to_images(self.epoch)
        super().before_epoch()

    def turn_to_images(self, epoch: int) -> None:
        """Lets the images of an epoch train: those of the warm-up, or all."""
        if epoch == self.options.warmup_epochs or (epoch == self.start_epoch and epoch > self.options.warmup_epochs):
            self.task.train_on(list(self.pool.items))
            self.train_loader_x = self.task.train_loader

    def losses(self, model: PromptedClip, batch: Batch) -> dict[str, Tensor]:
        image = self.adapters.adapt(model.frozen_image_features(batch.images))  # (B, D)
        weights = self.adapters.adapted_weights  # (C, D)
        logits = cosine_logits(image, weights, model.logit_scale)  # (B, C)
        if self.epoch < self.options.warmup_epochs:
            return {"loss_ce": F.cross_entropy(logits, batch.known_labels)}
        with torch.no_grad():
            weak = self.adapters.adapt(self.features[batch.index.to(self.features.device)])  # (B, D)
            taught = tfup_logits(weak, weights, self.cache, model.logit_scale, self.options).softmax(-1).max(-1)
            sure = taught.values > self.options.threshold  # (B,)
        # 0 where no image is sure, with a gradient of 0
        strong = F.cross_entropy(logits[sure], taught.indices[sure]) if sure.any() else 0 * logits.sum()
        return {"loss_ce_strong": strong, "loss_marginal": self.options.marginal_weight * marginal_entropy(logits)}

    def seen(self) -> dict[str, Any] | None:
        found = super().seen()
        if found is None or self.pseudo_labels is None:
            return found
        return found | self.pool.about() | {"pseudo_labels": self.pseudo_labels}
