"""FeatureTeacher: class vectors in closed form from texts and a few labelled images, for any image tower; a teacher.

GDA is that of Wang et al., ICLR 2024, arXiv 2402.04087; how a linear classifier and texts become class vectors is ours
(promptkd/teacher/closed_form.py). Nothing is trained: one pass over the images, and seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from yacs.config import CfgNode

from dassl.data.datasets import Datum
from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.confidence import fit_temperature
from promptkd.engine.options import MethodOptions, option
from promptkd.engine.task import Supervision
from promptkd.model.class_vectors import FILE_NAME, ClassVectors, has_text
from promptkd.model.prompting import shape_of
from promptkd.model.timm_names import TIMM
from promptkd.teacher.closed_form import (
    METHODS,
    Directions,
    add_to_texts,
    completed,
    described,
    every_fourth,
    find_directions,
)
from promptkd.teacher.feature_files import FeatureFile
from promptkd.teacher.pool import Pool

from .base import PromptTrainer
from .zsclip import nothing

log = logging.getLogger("promptkd.trainers")

PLAIN_SCALE = 100.0  # from which a tower without a scale of its own starts: CLIP's


@dataclass(frozen=True)
class FeatureTeacherOptions(MethodOptions):
    """The classifier of the images, how much the texts count, and where the features come from."""

    prec: str = option("fp32", "arithmetic: fp32, bf16, fp16 or amp; on a CPU fp16 and amp become fp32")
    method: str = option(
        "gda", "gda (Gaussians with a shared covariance), ridge (regression to the labels) or mean (class means)",
        choices=METHODS,
    )  # fmt: skip
    shrinkage: float = option(1.0, "of gda: how much the covariance is drawn to a multiple of I", above=0, most=1e9)
    ridge: float = option(1.0, "of ridge: strength, relative to the mean variance of a channel", above=0, most=1e9)
    text_weight: tuple[float, ...] = option(
        (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), "of the texts, 0 (images alone) to 1 (zero-shot); of several the one with "
        "the likeliest labels of the validation images", entry=float, filled=True, least=0, most=1,
    )  # fmt: skip
    scale: float = option(
        0.0, "logit scale; 0: the CLIP's, or fitted to the validation images for a tower that has none", least=0,
        most=1e5,
    )  # fmt: skip
    features: str = option(
        "", 'a file with features of the images (docs/teachers.md), in the place of a pass over them; "": a pass',
        path=True,
    )  # fmt: skip

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        others = {"SHRINKAGE": "gda", "RIDGE": "ridge"}
        return {
            f"TRAINER.FEATURETEACHER.{key}": f"METHOD is {self.method}"
            for key, method in others.items()
            if method != self.method
        }


@TRAINER_REGISTRY.register()
class FeatureTeacher(PromptTrainer):
    """Class vectors of texts and labelled images in closed form; classes without images have their texts."""

    Options = FeatureTeacherOptions
    learns = False
    spec = staticmethod(nothing)

    @staticmethod
    def supervision(cfg: CfgNode) -> Supervision:
        """Labels; a tower without texts can say nothing of classes without images."""
        return Supervision(class_specific=cfg.MODEL.BACKBONE.NAME.startswith(TIMM))

    def templates(self) -> Sequence[str]:
        return list(self.task.templates)

    @torch.no_grad()
    def prepare(self) -> None:
        """Makes the class vectors."""
        task, model = self.task, self.model
        items = task.train_loader.dataset.data_source
        features, labels = self.features_of(items), torch.tensor([item.label for item in items])
        texts = model.class_vectors(task.classnames).features.cpu() if has_text(model.clip) else None
        weight, scale = self.choose(features, labels, texts)
        vectors = add_to_texts(texts, self.directions(features, labels), weight)
        source = {
            "made_by": f"FeatureTeacher on {model.about['backbone']}",
            "template": model.template if texts is not None else "",
            "dataset": task.data_name,
            "shots": str(self.cfg.DATASET.NUM_SHOTS),
        }
        self.use(described(vectors, task.classnames, scale, source))
        log.info(
            "Class vectors: %s of %s images of %d classes, text weight %g, logit scale %.4g",
            self.options.method, f"{len(items):,}", len(task.classnames), weight, scale,
        )  # fmt: skip

    def directions(self, features: Tensor, labels: Tensor) -> Directions:
        """The directions of the training classes, by the method of the options; see `find_directions`."""
        options = self.options
        strength = options.ridge if options.method == "ridge" else options.shrinkage
        return find_directions(features, labels, len(self.task.classnames), options.method, strength)

    def features_of(self, items: Sequence[Datum]) -> Tensor:
        """Un-normalised features (N, D) of images, in the view of an evaluation; float32 on the CPU."""
        if not self.options.features:
            return Pool(self.task, items).weak_features(self.model)
        name, width = self.model.about["backbone"], shape_of(self.model.clip).embed_dim
        return FeatureFile.read(self.options.features, name, width).of_images([item.impath for item in items])

    def validation_items(self) -> list[Datum]:
        """The validation images of the training classes; none where the data set has none, as ImageNet."""
        return list(self.task.manager.dataset.val or ())

    def choose(self, features: Tensor, labels: Tensor, texts: Tensor | None) -> tuple[float, float]:
        """The text weight under which the validation labels are likeliest, and the logit scale.

        Without validation images a quarter of the labelled ones stands in for them, while it chooses.

        Args:
            features: (N, D) of the labelled images.
            labels: (N,).
            texts: (C, D) of unit norm; None for a tower without texts, whose scale is fitted.

        Raises:
            ValueError: there is something to choose, no validation image, and one labelled image a class.
        """
        weights = (0.0,) if texts is None else self.options.text_weight
        scale = self.options.scale or (PLAIN_SCALE if texts is None else self.model.logit_scale)
        fitted = texts is None and not self.options.scale
        if len(weights) == 1 and not fitted:
            return weights[0], scale
        items = self.validation_items()
        held = every_fourth(labels) if not items else torch.zeros(len(labels), dtype=torch.bool)
        if not items and not held.any():
            key, example = ("SCALE", "100") if fitted else ("TEXT_WEIGHT", "0.8")
            raise ValueError(
                f"TRAINER.FEATURETEACHER.{key}: there is no image to choose it by, for {self.task.data_name} has no "
                f"validation images, and each class one labelled image: give one, as {example}"
            )
        judged, truth = features[held], labels[held]
        if items:
            judged, truth = self.features_of(items), torch.tensor([item.label for item in items])
        directions, image = self.directions(features[~held], labels[~held]), F.normalize(judged, dim=-1)
        logits = {one: scale * image @ add_to_texts(texts, directions, one).t() for one in weights}
        loss = {one: float(F.cross_entropy(values, truth)) for one, values in logits.items()}
        best = min(sorted(loss, reverse=True), key=lambda one: loss[one])  # of equals the most of the texts
        return best, scale / fit_temperature(logits[best], truth)["value"] if fitted else scale

    def use(self, vectors: ClassVectors) -> None:
        """Makes class vectors those of the model, with texts for the classes of the task that they lack."""
        vectors = completed(vectors.to(self.model.device), self.model, self.task.all_classnames)
        self.model.vectors, self.model.logit_scale = vectors, vectors.logit_scale

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Takes the class vectors that a run has left, and for classes that they lack their texts."""
        if not directory:
            raise ValueError("--eval-only needs --model-dir, the run whose class vectors are evaluated")
        self.use(ClassVectors.load(Path(directory) / FILE_NAME))
