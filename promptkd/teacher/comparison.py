"""Several teachers side by side, before a student learns from them: accuracy of each and of the mixture, agreement."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor

from promptkd.engine.evaluator import all_logits
from promptkd.engine.losses import symmetric_kl
from promptkd.engine.task import Task
from promptkd.model.precision import Precision
from promptkd.results.numbers import harmonic_mean
from promptkd.teacher.member import Member
from promptkd.teacher.mixture import Mixture

log = logging.getLogger(__name__)

MOST_IMAGES = 5000  # that are looked at; of more, some of each part of the list


@dataclass(frozen=True)
class Answers:
    """What K teachers say of the same N images.

    Attributes:
        logits: K of (N, C), each by a teacher's own scale.
        labels: (N,) of the C classes; negative where nobody knows.
        images: "validation" or "unlabelled": which they are.
    """

    logits: list[Tensor]
    labels: Tensor
    images: str


def ask(task: Task, members: Sequence[Member], precision: Precision) -> Answers | None:
    """The teachers' logits of the validation images, or else of the images that train; None where there are neither."""
    dataset = task.manager.dataset
    kind, items = "validation", list(getattr(dataset, "val", None) or ())
    if not items:
        kind, items = "unlabelled", list(task.train_loader.dataset.data_source)
    items = items[:: -(-len(items) // MOST_IMAGES) or 1]
    if not items:
        return None
    classes = len(task.all_classnames)

    def classify(images: Tensor) -> Tensor:
        """All teachers' logits side by side: (B, 3, H, W) -> (B, K * C)."""
        return torch.cat([one.logits(images) for one in members], dim=1)

    rows, labels = all_logits(task.loader(items), classify, len(members) * classes, precision)
    if kind != "validation" or not task.labelled:
        labels = torch.full_like(labels, -1)
    together = rows.unflatten(1, (len(members), classes))  # (N, K, C)
    return Answers(list(together.unbind(dim=1)), labels, kind)


def compare(answers: Answers, groups: dict[str, list[int]], mixture: Mixture) -> dict[str, Any]:
    """The teachers and their mixture in numbers, percent but for "kl" (nats) and "share" (0 to 1).

    Args:
        answers: of the teachers.
        groups: name -> labels of a class group.
        mixture: of these.

    Returns:
        "each": K of {"accuracy": {class group: accuracy}, "share": mean weight}; "mixture_accuracy": {class group:
        accuracy}; "compared_on": which images, and how many; "pairs": for two teachers each ("between", numbers from 1)
        the share of images with the same likeliest class ("agreement") and the mean of KL in both directions ("kl").
    """
    shares = mixture.shares(answers.logits).mean(dim=1)  # (K,)
    each = [{"accuracy": _accuracies(one, answers.labels, groups), "share": float(share)}
            for one, share in zip(answers.logits, shares, strict=True)]  # fmt: skip
    pairs = []
    for (i, first), (j, second) in itertools.combinations(enumerate(answers.logits, 1), 2):
        same = (first.argmax(dim=-1) == second.argmax(dim=-1)).float().mean()
        warmth = mixture.temperature
        pairs.append({"between": [i, j], "agreement": 100 * float(same),
                      "kl": float(symmetric_kl(first / warmth, second / warmth))})  # fmt: skip
    return {
        "each": each,
        "mixture_accuracy": _accuracies(mixture(answers.logits), answers.labels, groups),
        "compared_on": {"images": answers.images, "number": len(answers.labels)},
        "pairs": pairs,
    }


def _accuracies(logits: Tensor, labels: Tensor, groups: dict[str, list[int]]) -> dict[str, float]:
    """Class group -> accuracy (percent) among its own classes, and "hm"; {} of images without labels."""
    found = {}
    for name, classes in groups.items():
        place = torch.tensor(classes)
        inside = torch.isin(labels, place)
        if inside.any():
            right = place[logits[inside][:, place].argmax(dim=-1)] == labels[inside]
            found[name] = 100 * float(right.float().mean())
    if {"base", "new"} <= found.keys():
        found["hm"] = harmonic_mean(found["base"], found["new"])
    return found


def table(members: Sequence[Member], found: dict[str, Any], mixture: Mixture) -> str:
    """The comparison as a table for people."""
    groups = list(found["mixture_accuracy"])
    with_first = {pair["between"][1]: pair for pair in found["pairs"] if pair["between"][0] == 1}
    rows: list[list[Any]] = []
    for number, (member, values) in enumerate(zip(members, found["each"], strict=True), 1):
        pair, about = with_first.get(number, {}), member.teacher.about
        rows.append([f"{number} {about['trainer']} {about['backbone']}", *(values["accuracy"][one] for one in groups),
                     values["share"], pair.get("agreement"), pair.get("kl")])  # fmt: skip
    rows.append([f"mixture ({mixture.rule})", *(found["mixture_accuracy"][group] for group in groups)])
    heads = ["teacher", *(f"{group} %" for group in groups), "mean weight", "agrees with 1 %", "KL to 1"]
    return tabulate(rows, headers=heads, floatfmt=".2f")


def of_teachers(task: Task, members: Sequence[Member], mixture: Mixture, precision: Precision) -> dict[str, Any] | None:
    """Compares teachers and logs the table; warns where the mixture is worse than the first teacher alone.

    Returns:
        What `compare` does; None where there is no image to compare them on.
    """
    if (answers := ask(task, members, precision)) is None:
        return None
    found = compare(answers, task.groups, mixture)
    log.info("Teachers on %d %s images:\n%s", len(answers.labels), answers.images, table(members, found, mixture))
    together, first = found["mixture_accuracy"], found["each"][0]["accuracy"]
    key = "hm" if "hm" in together else next(iter(together), "")
    if key and together[key] < first[key]:
        log.warning(
            "the mixture (%s %.1f %%) is worse on these images than its first teacher alone (%.1f %%): try another "
            "TEACHER_MIX, or fewer teachers", key, together[key], first[key],
        )  # fmt: skip
    return found
