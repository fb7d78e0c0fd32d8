"""Whether a classifier's confidence can be believed: measures of the logits that an evaluation has anyway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from promptkd.results.calibration import expected_calibration_error

LEAST, MOST = 0.05, 20.0  # temperatures that are tried


class Confidence:
    """Gathers logits of one class group, batch by batch."""

    def __init__(self) -> None:
        self._confidences: list[float] = []
        self._right: list[bool] = []
        self._outside: list[float] = []
        self._other_data: list[float] = []
        self._squares = 0.0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Images of the group's c classes: (b, c) logits, (b,) labels from 0 to c - 1."""
        p = logits.softmax(dim=-1)
        highest = p.max(dim=-1)
        self._confidences += highest.values.tolist()
        self._right += (highest.indices == labels).tolist()
        self._squares += float(((p - F.one_hot(labels, p.shape[1])) ** 2).sum())

    def add_outside(self, logits: Tensor) -> None:
        """Images of other classes, which the group's classifier does not know: (b, c) logits."""
        self._outside += logits.softmax(dim=-1).amax(dim=-1).tolist()

    def add_other_data(self, logits: Tensor) -> None:
        """Images of another data set, of none of the group's classes: (b, c) logits."""
        self._other_data += logits.softmax(dim=-1).amax(dim=-1).tolist()

    def measures(self) -> dict[str, float]:
        """What is known of the group's confidence; {} without images.

        Returns:
            "ece" in percent (Guo et al., arXiv 1706.04599, equation 3, 15 bins); "brier", the mean squared distance of
            probabilities and label (0 to 2; Brier, 1950); and where images of other classes were seen "auroc_outside"
            in percent: how often one of them has a lower highest probability than one of the group's (50: chance);
            and where images of another data set were, "auroc_other_data".
        """
        if not self._confidences:
            return {}
        found = {"ece": expected_calibration_error(self._confidences, self._right) or 0.0}
        found["brier"] = self._squares / len(self._confidences)
        if self._outside:
            found["auroc_outside"] = self._auroc(self._outside)
        if self._other_data:
            found["auroc_other_data"] = self._auroc(self._other_data)
        return found

    def _auroc(self, others: list[float]) -> float:
        """How well the highest probability tells the group's images from others, in percent."""
        known = [1] * len(self._confidences) + [0] * len(others)
        return 100 * float(roc_auc_score(known, self._confidences + others))


def fit_temperature(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """The temperature that makes labels likeliest (Guo et al., arXiv 1706.04599, section 4.2): predictions stay.

    Args:
        logits: (N, C) of validation images.
        labels: (N,).

    Returns:
        "value" T, by which logits are divided; "images"; and before and after of "nll" (nats) and "ece" (percent).
    """
    logits = logits.double()

    def nll(log_t: float) -> float:
        return float(F.cross_entropy(logits / torch.tensor(log_t).exp(), labels))

    # The likelihood has one peak in 1 / T: golden sections of log T close in on it.
    low, high = float(torch.tensor(LEAST).log()), float(torch.tensor(MOST).log())
    ratio = (5**0.5 - 1) / 2
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if nll(left) < nll(right) else (left, high)
    value = float(torch.tensor((low + high) / 2).exp())
    found: dict[str, Any] = {"value": value, "images": len(labels)}
    for name, scale in (("before", 1.0), ("after", value)):
        p = (logits / scale).softmax(dim=-1).max(dim=-1)
        right_ones: Sequence[bool] = (p.indices == labels).tolist()
        found[f"nll_{name}"] = float(F.cross_entropy(logits / scale, labels))
        found[f"ece_{name}"] = expected_calibration_error(p.values.tolist(), right_ones)
    return found
