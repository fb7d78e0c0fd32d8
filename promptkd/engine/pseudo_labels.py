"""Labels that a method gives to images that have none: plain functions of probabilities."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from promptkd.data.pools import FOREIGN, UNKNOWN

log = logging.getLogger(__name__)


class PseudoLabel(NamedTuple):
    """An image's number in its list, the label that it was given, and how sure that label is (0 to 1)."""

    row: int
    label: int
    confidence: float


def most_confident(probabilities: Tensor, paths: Sequence[str], count: int) -> list[PseudoLabel]:
    """For each class the images that are surest to show it, among those whose likeliest class it is.

    UPL, arXiv 2204.03649, section 3.3. An image is chosen once at most, and a class that is no image's likeliest gets
    none. Equal confidences go by path, so that the order of files on a disk has no say.

    Args:
        probabilities: (N, C).
        paths: of the N images.
        count: K, images a class at most.

    Returns:
        Class by class, the surest first.
    """
    confidence, likeliest = probabilities.float().max(dim=-1)  # (N,) each
    order = sorted(range(len(paths)), key=lambda row: (-confidence[row].item(), paths[row]))
    labels = likeliest.tolist()
    chosen: list[PseudoLabel] = []
    for label in range(probabilities.shape[1]):
        rows = [row for row in order if labels[row] == label][:count]
        chosen += [PseudoLabel(row, label, confidence[row].item()) for row in rows]
    return chosen


def described(chosen: Sequence[PseudoLabel], truth: Sequence[int], classnames: Sequence[str]) -> dict[str, Any]:
    """What results.json says of pseudo-labels.

    Args:
        chosen: the labels.
        truth: true label of each image of the list; UNKNOWN where nobody knows it, FOREIGN where no class is right.
        classnames: C names.

    Returns:
        "count", "accuracy" (percent; None where truth is not known), "foreign" (chosen images of no class, where the
        list has any), "per_class" (images that each class got), and "classes_without".
    """
    known = [one for one in chosen if truth[one.row] != UNKNOWN]
    right = sum(truth[one.row] == one.label for one in known)
    counts = torch.bincount(torch.tensor([one.label for one in chosen], dtype=torch.long), minlength=len(classnames))
    foreign = sum(truth[one.row] == FOREIGN for one in chosen)
    return {
        "count": len(chosen),
        "accuracy": 100 * right / len(known) if known else None,
        **({"foreign": foreign} if FOREIGN in truth else {}),
        "per_class": dict(zip(classnames, counts.tolist(), strict=True)),
        "classes_without": [name for name, count in zip(classnames, counts.tolist(), strict=True) if not count],
    }


def log_labels(about: Mapping[str, Any], images: int, shots: int) -> None:
    """Logs what pseudo-labels there are, and which classes have none or few.

    Args:
        about: what `described` gives.
        images: of the pool.
        shots: images a class that were wanted.
    """
    accuracy = "" if about["accuracy"] is None else f", {about['accuracy']:.1f} % of them right"
    log.info("Pseudo-labels: %d of %d images%s", about["count"], images, accuracy)
    without, total = about["classes_without"], len(about["per_class"])
    few = sum(0 < count < shots for count in about["per_class"].values())
    if few:
        log.info("%d of %d classes have fewer than %d images", few, total, shots)
    if without:
        shown = ", ".join(without[:10]) + (", ..." if len(without) > 10 else "")
        log.warning("%d of %d classes are predicted for no image, and train on none: %s", len(without), total, shown)
