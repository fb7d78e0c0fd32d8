"""TFUP: training-free unsupervised prompting (Long et al., 2024, arXiv 2404.16339).

Zero-shot CLIP with a cache of representative images, which it labels itself; nothing is learned.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.data.class_texts import read_class_texts
from promptkd.data.pools import UNKNOWN
from promptkd.engine.options import LARGEST_WEIGHT, MethodOptions, node_of, option
from promptkd.engine.pseudo_labels import PseudoLabel, described
from promptkd.engine.task import Supervision
from promptkd.model.class_vectors import cosine_logits, text_weights
from promptkd.model.feature_cache import FeatureCache, class_probabilities, representatives
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.spec import PromptSpec
from promptkd.model.tokens import class_prompt
from promptkd.teacher.pool import Pool

from .base import PromptTrainer
from .zsclip import nothing

log = logging.getLogger("promptkd.trainers")


@dataclass(frozen=True)
class TFUPOptions(MethodOptions):
    """The images, the texts, and the cache."""

    images: str = option(
        "train", "images without labels: train, or test (the very test images, as published for three data sets)",
        choices=("train", "test"),
    )  # fmt: skip
    unlabelled: str = option(
        "all", "classes whose training images are there in base2novel: all (transductive) or base",
        choices=("all", "base"),
    )  # fmt: skip
    descriptions: str = option(
        "", 'a JSON file, class name -> list of texts, averaged; "" is the data set\'s template', path=True
    )
    shots: int = option(0, "K, images a class in the cache; 0 is the published rule (CACHE_PROPORTION)", least=0)
    cache_proportion: float = option(0.3, "K = images x this / classes, from 9 to 16", above=0)
    alpha: float = option(0.3, "weight of the cache", least=0, most=LARGEST_WEIGHT)
    beta: float = option(1.0, "sharpness of the cache", above=0)
    feature_cache: str = option(
        "", 'folder that keeps features of the images for later runs; "" keeps nothing', path=True
    )

    def check(self, cfg: CfgNode) -> None:
        if cfg.DATASET.NUM_SHOTS > 0:
            raise ValueError(
                f"DATASET.NUM_SHOTS {cfg.DATASET.NUM_SHOTS} would draw images by their labels, which "
                f"{cfg.TRAINER.NAME} does not read: set it to 0, and TRAINER.{node_of(cfg.TRAINER.NAME)}.SHOTS for "
                "the images of a class"
            )


def without_labels(cfg: CfgNode) -> Supervision:
    """Images whose labels nobody reads; in base2novel those of all classes, or of base."""
    options = cfg.TRAINER[node_of(cfg.TRAINER.NAME)]
    tested = options.IMAGES == "test"
    if cfg.DATASET.SUBSAMPLE_CLASSES == "all":
        return Supervision(labels=False, makes_labels=True, pool="all", transductive=True)
    pool = options.UNLABELLED
    transductive, groups = tested or pool == "all", ("base", "new")
    return Supervision(False, True, pool, transductive=transductive, groups=groups, protocol="base2new")


def pool_of(trainer: PromptTrainer) -> Pool:
    """The images that a trainer's options name; raises what `Pool.of_task` does."""
    options = trainer.options
    return Pool.of_task(trainer.task, options.feature_cache, tested=options.images == "test")


def plain_clip(trainer: PromptTrainer) -> PromptedClip:
    """A trainer's CLIP without anything that was learned."""
    model = trainer.model
    return PromptedClip(model.clip, PromptSpec(), model.precision, templates=[trainer.task.template], about=model.about)


def class_weights(trainer: PromptTrainer, classnames: Sequence[str]) -> Tensor:
    """W: the mean of the un-normalised features of each class's texts: (C, D) float32.

    Raises:
        FileNotFoundError, ValueError: no such file of descriptions, or a class that it lacks.
    """
    path = trainer.options.descriptions
    texts = [[class_prompt(trainer.task.template, name)] for name in classnames]
    if path:
        texts = read_class_texts(Path(path), classnames)
    with trainer.model.precision.autocast():
        return text_weights(trainer.model.clip, texts).float()


def cache_shots(images: int, classes: int, proportion: float) -> int:
    """K of the cache by the published rule: images x proportion / classes, from 9 to 16."""
    return min(max(int(images * proportion / classes), 9), 16)


def build_cache(features: Tensor, weights: Tensor, shots: int) -> tuple[FeatureCache, list[PseudoLabel]]:
    """The cache of representative images, and their numbers and labels.

    Args:
        features: (N, D) of the images.
        weights: (C, D).
        shots: K.
    """
    probabilities = class_probabilities(features, weights)  # (N, C)
    rows, labels = representatives(probabilities, shots)  # (C * K,)
    confidences = probabilities[rows, labels].tolist()
    pairs = zip(rows.tolist(), labels.tolist(), confidences, strict=True)
    return FeatureCache(features[rows], labels), [PseudoLabel(*one) for one in pairs]


def warn_of_few(images: int, shots: int) -> None:
    """Warns where a cache holds every image for every class: it cannot tell one class from another, then."""
    if shots >= images:
        log.warning(
            "%d images a class are wanted and there are %d: each class gets all of them, and the cache says nothing",
            shots,
            images,
        )


def tfup_logits(features: Tensor, weights: Tensor, cache: FeatureCache, scale: float, options: TFUPOptions) -> Tensor:
    """TFUP's logits: (B, D) image features, (C, D) class weights -> (B, C) float32."""
    return cosine_logits(features, weights, scale) + options.alpha * cache.logits(features, weights, options.beta)


@TRAINER_REGISTRY.register()
class TFUP(PromptTrainer):
    """Zero-shot CLIP and a cache of representative images, one for each class group; nothing is learned."""

    Options = TFUPOptions
    learns = False
    spec = staticmethod(nothing)
    supervision = staticmethod(without_labels)
    found: dict[str, Any] | None = None

    def templates(self) -> Sequence[str]:
        return [self.task.template]

    def build_model(self) -> None:
        super().build_model()
        class_weights(self, self.task.all_classnames)  # what its texts lack shows before the images are read
        self.training.classifier = self.classifier

    @torch.no_grad()
    def classifier(self, classnames: Sequence[str]) -> Callable[[Tensor], Tensor]:
        """What maps images (B, 3, H, W) to logits (B, C), each class group's by a cache of its own."""
        options, pool, device = self.options, pool_of(self), self.model.device
        features = pool.weak_features(plain_clip(self)).to(device)  # (N, D)
        parts: list[tuple[Tensor, Tensor, FeatureCache]] = []
        about: dict[str, Any] = {}
        for group, labels in self.task.groups.items():
            names = [classnames[label] for label in labels]
            weights = class_weights(self, names).to(device)  # (C, D)
            shots = options.shots or cache_shots(len(pool), len(names), options.cache_proportion)
            warn_of_few(len(pool), shots)
            cache, chosen = build_cache(features, weights, shots)
            place = {label: number for number, label in enumerate(labels)}
            truth = [place.get(label, min(label, UNKNOWN)) for label in pool.truth]
            about[group] = described(chosen, truth, names)
            parts.append((torch.tensor(labels, device=device), weights, cache))
        self.found = pool.about() | {"pseudo_labels": about}

        def classify(images: Tensor) -> Tensor:
            image = self.model.image_features(images)  # (B, D)
            logits = torch.full((len(image), len(classnames)), float("-inf"), device=device)
            for labels, weights, cache in parts:
                logits[:, labels] = tfup_logits(image, weights, cache, self.model.logit_scale, options)
            return logits

        return classify

    def seen(self) -> dict[str, Any] | None:
        return self.found
