"""Classification with more measures: what forks of Dassl add to it."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch.nn import functional as F

from .build import EVALUATOR_REGISTRY
from .evaluator import Classification

BINS = 15  # of the calibration error


@EVALUATOR_REGISTRY.register()
class DetailedClassification(Classification):
    """As Classification, and the mean over classes, the five likeliest, calibration and likelihood.

    `TEST.EVALUATOR DetailedClassification` asks for it. Logits are taken as they are given, so the last two speak of a
    trainer that gives logits, not probabilities.
    """

    def reset(self) -> None:
        """Forget all predictions."""
        super().reset()
        self._in_five = 0
        self._log_likelihood = 0.0
        self._confidences: list[float] = []

    def process(self, mo: torch.Tensor, gt: torch.Tensor) -> None:
        """Add a batch: logits (B, C) and labels (B,)."""
        super().process(mo, gt)
        log_probabilities = F.log_softmax(mo.float(), dim=1)
        self._in_five += int((mo.topk(min(5, mo.shape[1]), dim=1).indices == gt[:, None]).sum())
        self._log_likelihood += log_probabilities.gather(1, gt[:, None]).sum().item()
        self._confidences += log_probabilities.amax(1).exp().tolist()

    def evaluate(self) -> OrderedDict[str, float]:
        """Return Classification's numbers, then balanced_accuracy, top5_accuracy, ece (percent) and nll.

        balanced_accuracy is the mean over the labels present; ece the expected calibration error in 15 equal bins
        (Guo et al., arXiv 1706.04599, equation 3); nll the mean negative log-likelihood, in nats.

        Raises:
            ValueError: nothing was processed.
        """
        results = super().evaluate()
        counts = self._confusion().double()
        present = counts.sum(1) > 0
        details = OrderedDict(
            balanced_accuracy=100.0 * float((counts.diagonal()[present] / counts.sum(1)[present]).mean()),
            top5_accuracy=100.0 * self._in_five / self._total,
            ece=self._calibration_error(),
            nll=-self._log_likelihood / self._total,
        )
        for name, value in details.items():
            print(f"* {name}: {value:.2f}{'' if name == 'nll' else '%'}")
        return OrderedDict(**results, **details)

    def _calibration_error(self) -> float:
        confidences = torch.tensor(self._confidences, dtype=torch.double)
        right = torch.tensor(self._y_true) == torch.tensor(self._y_pred)
        bins = (confidences * BINS).ceil().long().clamp(1, BINS) - 1  # (N,), bin i is (i / BINS, (i + 1) / BINS]
        gaps = torch.zeros(BINS, dtype=torch.double).index_add(0, bins, confidences - right.double())
        return 100.0 * float(gaps.abs().sum()) / len(confidences)
