"""The numbers of a run record: what they may be, and the harmonic mean. Errors begin as `RunRecord.read` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptkd import bounded

GROUPS = ("base", "new", "all")  # class groups, in the order of tables


def harmonic_mean(base: float, new: float) -> float:
    """`2 b n / (b + n)` of two accuracies in percent, 0 where either is 0 (CoCoOp, arXiv 2203.05557, section 4.1)."""
    return 2 * base * new / (base + new) if base > 0 and new > 0 else 0.0


def check_metrics(metrics: Mapping[str, Any]) -> None:
    """Refuses metrics that are not whole: a class group with its accuracy, and hm where base and new are."""
    if not metrics:
        raise ValueError("predictions only: it had no labelled test images")
    groups = [group for group in GROUPS if group in metrics]
    if not groups:
        raise ValueError(f"partial: metrics have none of {', '.join(GROUPS)}")
    for group in groups:
        values = metrics[group]
        accuracy = values.get("accuracy") if isinstance(values, dict) else None
        if not isinstance(accuracy, (int, float)) or isinstance(accuracy, bool):
            raise ValueError(f"partial: no accuracy of {group}")
        if not _is_percentage(accuracy):
            raise ValueError(f"broken: accuracy of {group} is {bounded.shown(accuracy)}, no percentage")
    if {"base", "new"} <= metrics.keys() and "hm" in metrics:
        hm = harmonic_mean(metrics["base"]["accuracy"], metrics["new"]["accuracy"])
        if not _is_percentage(metrics["hm"]) or not abs(metrics["hm"] - hm) < 0.01:
            raise ValueError(f"broken: hm is {bounded.shown(metrics['hm'])}, but that of its base and new is {hm:.2f}")
    for group, values in metrics.items():
        classes = values.get("per_class", {}) if isinstance(values, dict) else {}
        if not isinstance(classes, dict) or not all(map(_is_percentage, classes.values())):
            raise ValueError(f"broken: per_class of {group} is no mapping of classes to percentages")


def check_teacher(teacher: Mapping[str, Any]) -> None:
    """Refuses a teacher whose accuracies are no percentages."""
    metrics = teacher.get("metrics") or {}
    groups = [value for value in metrics.values() if isinstance(value, dict)] if isinstance(metrics, dict) else [{}]
    if not all(_is_percentage(group.get("accuracy")) for group in groups):
        raise ValueError("broken: teacher.metrics is no mapping of class groups to their accuracies")


def check_temperature(found: Mapping[str, Any]) -> None:
    """Refuses a temperature that is no number above 0."""
    value = found.get("value")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e6:
        raise ValueError(f"broken: temperature.value is {bounded.shown(value)}, no number above 0")


def check_changed(name: str, measured: Mapping[str, Any]) -> None:
    """Refuses accuracies on attacked or corrupted images (`name`) that are no percentages."""
    groups, hm = measured.get("groups", {}), measured.get("hm", {})
    parts = [*groups.values(), hm] if isinstance(groups, dict) and isinstance(hm, dict) else [None]
    for values in parts:
        percent = [value for name, value in values.items() if name != "images"] if isinstance(values, dict) else [None]
        if not all(map(_is_percentage, percent)):
            raise ValueError(f"broken: {name} is no mapping of class groups to percentages")
        if name == "corruptions" and values and "corrupted" not in values:
            raise ValueError("broken: corruptions has a class group without its mean")


def _is_percentage(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 100  # NaN is none
