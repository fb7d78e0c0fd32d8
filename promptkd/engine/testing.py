"""Evaluation of a prompt trainer: class vectors, classifier, metrics, results and predictions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from dassl.engine import TrainerX
from promptkd import distributed, files
from promptkd.data.loading.pipeline import classified
from promptkd.engine import recording
from promptkd.engine.evaluator import evaluate
from promptkd.model import class_vectors as vectors
from promptkd.model.class_vectors import ClassVectors
from promptkd.results.predictions import FILE_NAME as PREDICTIONS
from promptkd.results.predictions import Predictions
from promptkd.results.record import harmonic_mean


class TestingTrainer(TrainerX):
    """Measures the prompted CLIP on the class groups of a task; PromptTrainer is built on it."""

    text_depends_on_image: ClassVar[bool] = False  # whether class vectors cannot be made once for all images

    @torch.no_grad()
    def class_vectors(self, classnames: Sequence[str]) -> ClassVectors:
        """Text features of classes, computed once: (C, D) of unit norm."""
        with self.precision.autocast():
            features = F.normalize(self.text_features(classnames).float(), dim=-1)
        made_by = f"{self.cfg.TRAINER.NAME} on {self.cfg.MODEL.BACKBONE.NAME}"
        source = {"made_by": made_by, "weights": vectors.weights_hash(self.prompts), "template": self.template()}
        return ClassVectors(tuple(classnames), features, self.logit_scale, source)

    def classifier(self, classnames: Sequence[str]) -> Callable[[Tensor], Tensor]:
        """What maps images (B, 3, H, W) to logits (B, C); all that does not depend on the image is computed here."""
        features = self.class_vectors(classnames).features
        return lambda images: self.logits(images, features)

    def evaluate(self, classify: Callable[[Tensor], Tensor], predictions: Predictions | None = None) -> dict[str, Any]:
        """Any classifier over all classes, on the test images of the reported class groups."""
        self.set_model_mode("eval")
        groups, loader = self.class_groups, self.evaluation_loader
        metrics: dict[str, Any] = self._measure(classify, loader, groups, self.all_classnames, predictions)
        if {"base", "new"} <= metrics.keys():
            metrics["hm"] = harmonic_mean(metrics["base"]["accuracy"], metrics["new"]["accuracy"])
        print(recording.table(metrics))
        return metrics

    def _measure(
        self,
        classify: Any,
        loader: Any,
        groups: dict[str, list[int]],
        names: Sequence[str],
        predictions: Predictions | None = None,
    ) -> dict[str, Any]:
        with self.precision.autocast():
            return evaluate(self.cfg, classify, loader, groups, names, self.device, predictions)

    def test(self, split: str | None = None) -> float | None:
        """Accuracy (percent) of the first reported class group; writes the results.

        Args:
            split: None for the test images of all reported class groups. During training: "val" for the validation
                images, "first_group" for the test images of the first group (the published PromptKD's way).
        """
        self.set_model_mode("eval")
        if split == "val":
            groups = {"val": list(range(len(self.classnames)))}
            return self._measure(self.classifier(self.classnames), self.val_loader, groups, self.classnames)["val"][
                "accuracy"
            ]
        classify = self.classifier(self.all_classnames)
        first = next(iter(self.class_groups))
        if split == "first_group":
            members = self.class_groups[first]
            items = [item for item in self.evaluation_loader.dataset.data_source if item.label in set(members)]
            return self._measure(classify, self._loader(items), {first: members}, self.all_classnames)[first][
                "accuracy"
            ]
        start, said = time.time(), Predictions(self.cfg.DATASET.ROOT)
        metrics = self.evaluate(classify, said) if self.evaluation_loader else {}
        if not (metrics and getattr(self.dm.dataset, "labelled", True)):
            self._predict(classify, said)
        if distributed.is_main():
            path = recording.describe(self, metrics, time.time() - start).write(self.output_dir)
            files.write_text(path.with_name(PREDICTIONS), said.text())
            if not self.text_depends_on_image:
                self.class_vectors(self.all_classnames).save(Path(self.output_dir) / vectors.FILE_NAME)
            print(f"Results written to {path}")
        self.final_accuracy = metrics[first]["accuracy"] if metrics else None
        return self.final_accuracy

    @torch.no_grad()
    def _predict(self, classify: Callable[[Tensor], Tensor], said: Predictions) -> None:
        """Classifies the training images, of which nobody knows the label: predictions, and no metrics."""
        alone = "No labelled test images: the training images are classified, nothing is measured"
        print("The training images are classified too" if self.evaluation_loader else alone)
        loader, names = self._loader(self.dm.dataset.train_x), self.all_classnames
        with self.precision.autocast():
            shown = tqdm(classified(loader, classify, len(names), self.device), "Predict", len(loader), disable=None)
            for files, _, logits in shown:  # logits (B, C)
                said.add("all", names, files, torch.full((len(logits),), -1), logits)
