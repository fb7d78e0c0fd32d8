"""Classification accuracy, per-class accuracy, macro F1, confusion matrix."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Any

import torch
from yacs.config import CfgNode

from dassl.utils import atomic_write

from .build import EVALUATOR_REGISTRY


class EvaluatorBase:
    """Gathers predictions batch by batch, then evaluates them."""

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = cfg

    def reset(self) -> None:
        """Forget all predictions."""
        raise NotImplementedError

    def process(self, mo: torch.Tensor, gt: torch.Tensor) -> None:
        """Add the model's output and the labels of a batch."""
        raise NotImplementedError

    def evaluate(self) -> OrderedDict[str, float]:
        """Return numbers by name; the first is the one that selects a model."""
        raise NotImplementedError


@EVALUATOR_REGISTRY.register()
class Classification(EvaluatorBase):
    """Single-label classification.

    Args:
        lab2cname: class name of each label, for the per-class results.

    Raises:
        ValueError: TEST.PER_CLASS_RESULT without lab2cname.
    """

    def __init__(self, cfg: CfgNode, lab2cname: dict[int, str] | None = None, **kwargs: Any) -> None:
        super().__init__(cfg)
        if cfg.TEST.PER_CLASS_RESULT and lab2cname is None:
            raise ValueError("TEST.PER_CLASS_RESULT needs the class names (lab2cname)")
        self._lab2cname = lab2cname or {}
        self.reset()

    def reset(self) -> None:
        """Forget all predictions."""
        self._correct = 0
        self._total = 0
        self._y_true: list[int] = []
        self._y_pred: list[int] = []

    def process(self, mo: torch.Tensor, gt: torch.Tensor) -> None:
        """Add a batch: logits (B, C) and labels (B,)."""
        predicted = mo.argmax(dim=1)  # (B,)
        self._correct += int((predicted == gt).sum())
        self._total += gt.shape[0]
        self._y_true += gt.tolist()
        self._y_pred += predicted.tolist()

    def evaluate(self) -> OrderedDict[str, float]:
        """Print the result and return accuracy, error_rate, macro_f1 (percent; F1 over the labels present).

        With TEST.PER_CLASS_RESULT also perclass_accuracy, the mean over the labels present.

        Raises:
            ValueError: nothing was processed.
        """
        if self._total == 0:
            raise ValueError("there is nothing to evaluate: no batch was processed; is the split empty?")
        from sklearn.metrics import f1_score  # takes seconds to import

        counts = self._confusion()  # (N, N)
        accuracy = 100.0 * self._correct / self._total
        error = 100.0 - accuracy
        present = sorted(set(self._y_true))
        macro_f1 = 100.0 * float(f1_score(self._y_true, self._y_pred, labels=present, average="macro"))
        print(
            "=> result\n"
            f"* total: {self._total:,}\n"
            f"* correct: {self._correct:,}\n"
            f"* accuracy: {accuracy:.1f}%\n"
            f"* error: {error:.1f}%\n"
            f"* macro_f1: {macro_f1:.1f}%"
        )
        results = OrderedDict(accuracy=accuracy, error_rate=error, macro_f1=macro_f1)
        if self.cfg.TEST.PER_CLASS_RESULT:
            results["perclass_accuracy"] = self._print_per_class(counts)
        if self.cfg.TEST.COMPUTE_CMAT:
            self._save_cmat(counts)
        return results

    def _confusion(self) -> torch.Tensor:
        """Counts (N, N), true label by predicted label, N above the largest label seen."""
        from sklearn.metrics import confusion_matrix

        size = max(*self._y_true, *self._y_pred) + 1
        return torch.from_numpy(confusion_matrix(self._y_true, self._y_pred, labels=range(size)))

    def _print_per_class(self, counts: torch.Tensor) -> float:
        print("=> per-class result")
        accuracies = []
        for label in counts.sum(1).nonzero().flatten().tolist():
            total, correct = int(counts[label].sum()), int(counts[label, label])
            accuracies.append(100.0 * correct / total)
            name = self._lab2cname.get(label, "?")
            print(f"* class: {label} ({name})\ttotal: {total:,}\tcorrect: {correct:,}\tacc: {accuracies[-1]:.1f}%")
        mean = sum(accuracies) / len(accuracies)
        print(f"* average: {mean:.1f}%")
        return mean

    def _save_cmat(self, counts: torch.Tensor) -> None:
        """Store rows that sum to 1 (a label without images: to 0)."""
        matrix = counts.double() / counts.sum(1, keepdim=True).clamp_min(1)  # (N, N)
        path = os.path.join(self.cfg.OUTPUT_DIR, "cmat.pt")
        with atomic_write(path) as temporary:
            torch.save(matrix, temporary)
        print(f"Confusion matrix is saved to {path}")
