"""Accuracy on corrupted images: each kind at each severity, for each class group."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from torch import Tensor
from yacs.config import CfgNode

from promptkd.bounded import shown
from promptkd.data.corruptions import KINDS, corrupted
from promptkd.engine.robust.attacks import PixelSpace, evaluating
from promptkd.engine.robust.measuring import Perturb, accuracies
from promptkd.engine.robust.samples import loader_of_sample
from promptkd.engine.task import Task
from promptkd.model.prompted_clip import PromptedClip
from promptkd.results.numbers import harmonic_means
from promptkd.texts import closest


def kinds_of(cfg: CfgNode) -> list[str]:
    """The kinds that TEST.CORRUPT.KINDS names; "all" stands for each.

    Raises:
        ValueError: there is no such kind; the message has the closest.
    """
    named = [word.strip() for word in cfg.TEST.CORRUPT.KINDS.split(",") if word.strip()]
    for name in named:
        if name != "all" and name not in KINDS:
            close = closest(name, KINDS)
            hint = f"; closest: {close}" if close else ""
            raise ValueError(
                f"TEST.CORRUPT.KINDS {shown(name)} is no corruption{hint}. Give all, or {', '.join(KINDS)}"
            )
    return list(KINDS) if "all" in named else named


def measure_corruptions(
    task: Task, model: PromptedClip, classify: Callable[[Tensor], Tensor], cfg: CfgNode
) -> dict[str, Any]:
    """Accuracy on a fixed, class-balanced choice of test images under each kind and severity.

    Args:
        task: class groups and test images.
        model: whose CLIP the classifier uses.
        classify: images (B, 3, H, W) -> logits (B, C) of all classes.
        cfg: its TEST.CORRUPT.

    Returns:
        "severities"; "groups": class group -> images, clean, corrupted (the mean of all below), and each kind's mean;
        "hm" of clean and corrupted where base and new are measured; "by_severity": class group -> kind -> percent at
        each severity.
    """
    options, kinds = cfg.TEST.CORRUPT, kinds_of(cfg)
    severities, space = list(options.SEVERITIES), PixelSpace.of(model)
    changes = {f"{kind}/{one}": by_corruption(kind, one) for kind in kinds for one in severities}
    groups: dict[str, dict[str, Any]] = {}
    by_severity: dict[str, dict[str, list[float]]] = {}
    with evaluating(model.prompts), model.precision.autocast():
        for group, labels in task.groups.items():
            loader = loader_of_sample(task, labels, options.IMAGES)
            values = accuracies(classify, loader, labels, changes, space, f"Corrupt {group}", lost=False)
            by_severity[group] = {kind: [values[f"{kind}/{one}"] for one in severities] for kind in kinds}
            means = {kind: statistics.fmean(each) for kind, each in by_severity[group].items()}
            groups[group] = {"images": values["images"], "clean": values["clean"]}
            groups[group] |= {"corrupted": statistics.fmean(means.values())} | means
    found: dict[str, Any] = {"severities": severities, "groups": groups, "by_severity": by_severity}
    if means := harmonic_means(groups, ["clean", "corrupted"]):
        found["hm"] = means
    return found


def by_corruption(kind: str, severity: int) -> Perturb:
    """A corruption in the place of an attack; see `corrupted`."""
    return lambda logits, pixels, labels: corrupted(pixels, kind, severity) - pixels
