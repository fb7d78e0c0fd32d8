"""The numbers of a run record: what they may be, and the harmonic mean. Errors begin as `RunRecord.read` says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from promptkd import bounded

GROUPS = ("base", "new", "all")  # class groups, in the order of tables
PICTURE = r"attacked/[0-9a-f]{16}\.png"  # of an attacked image, below its run's folder


def harmonic_mean(base: float, new: float) -> float:
    """`2 b n / (b + n)` of two accuracies in percent, 0 where either is 0 (CoCoOp, arXiv 2203.05557, section 4.1)."""
    return 2 * base * new / (base + new) if base > 0 and new > 0 else 0.0


def harmonic_means(groups: Mapping[str, Mapping[str, Any]], names: Iterable[str] = ()) -> dict[str, float]:
    """Of base and new, of each measure that both have (or of those that are named); {} where one is not measured.

    Args:
        groups: class group -> measure -> percent; a number of "images" is none.
        names: of the measures.
    """
    if not {"base", "new"} <= groups.keys():
        return {}
    base, new = groups["base"], groups["new"]
    both = [name for name in names or base if name in base and name in new and name != "images"]
    return {name: harmonic_mean(float(base[name]), float(new[name])) for name in both}


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
        if not is_percentage(accuracy):
            raise ValueError(f"broken: accuracy of {group} is {bounded.shown(accuracy)}, no percentage")
    if {"base", "new"} <= metrics.keys() and "hm" in metrics:
        hm = harmonic_mean(metrics["base"]["accuracy"], metrics["new"]["accuracy"])
        if not is_percentage(metrics["hm"]) or not abs(metrics["hm"] - hm) < 0.01:
            raise ValueError(f"broken: hm is {bounded.shown(metrics['hm'])}, but that of its base and new is {hm:.2f}")
    for group, values in metrics.items():
        classes = values.get("per_class", {}) if isinstance(values, dict) else {}
        if not isinstance(classes, dict) or not all(map(is_percentage, classes.values())):
            raise ValueError(f"broken: per_class of {group} is no mapping of classes to percentages")


def check_teacher(teacher: Mapping[str, Any]) -> None:
    """Refuses a teacher whose accuracies are no percentages."""
    metrics = teacher.get("metrics") or {}
    groups = [value for value in metrics.values() if isinstance(value, dict)] if isinstance(metrics, dict) else [{}]
    if not all(is_percentage(group.get("accuracy")) for group in groups):
        raise ValueError("broken: teacher.metrics is no mapping of class groups to their accuracies")
    several = teacher.get("teachers", [])
    accuracies = [one.get("accuracy", {}) if isinstance(one, dict) else None for one in several] if isinstance(
        several, list) else [None]  # fmt: skip
    for found in [*accuracies, teacher.get("mixture_accuracy", {})]:
        if not isinstance(found, dict) or not all(map(is_percentage, found.values())):
            raise ValueError("broken: teacher.teachers is no list of teachers with their accuracies")


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
        if not all(map(is_percentage, percent)):
            raise ValueError(f"broken: {name} is no mapping of class groups to percentages")
        if name == "corruptions" and values and "corrupted" not in values:
            raise ValueError("broken: corruptions has a class group without its mean")
    zeros = measured.get("zero_gradients", {})
    if not isinstance(zeros, dict) or not all(map(is_percentage, zeros.values())):
        raise ValueError(f"broken: zero_gradients of {name} is no mapping of class groups to percentages")
    if not isinstance(measured.get("doubts", []), list):
        raise ValueError(f"broken: doubts of {name} are no list")
    _check_severities(measured)
    _check_examples(measured.get("examples", []))


def _check_severities(measured: Mapping[str, Any]) -> None:
    """Refuses `by_severity` that is not class group -> kind -> a percentage for each of the severities."""
    severities, groups = measured.get("severities", []), measured.get("by_severity", {})
    if not isinstance(severities, list) or not all(isinstance(one, int) and 1 <= one <= 5 for one in severities):
        raise ValueError("broken: severities are no numbers from 1 to 5")
    kinds = list(groups.values()) if isinstance(groups, dict) else [None]
    rows = [row for one in kinds for row in (one.values() if isinstance(one, dict) else [None])]
    whole = [isinstance(row, list) and len(row) == len(severities) and all(map(is_percentage, row)) for row in rows]
    if not all(whole):
        raise ValueError("broken: by_severity has not a percentage for each class group, kind and severity")


def _check_examples(examples: Any) -> None:
    """Refuses pictures of attacked images that are none of those that a run writes; see engine/robust/gallery.py."""
    if not isinstance(examples, list) or not all(isinstance(one, dict) for one in examples):
        raise ValueError("broken: examples is no list of pictures")
    for one in examples:
        if not all(isinstance(one.get(key), str) for key in ("path", "group", "attack", "label", "prediction")):
            raise ValueError("broken: an example lacks a text")
        if not all(is_percentage(one.get(key)) for key in ("before", "after")):
            raise ValueError("broken: an example lacks a probability in percent")
        if not re.fullmatch(PICTURE, str(one.get("picture"))):
            raise ValueError(f"broken: {bounded.shown(one.get('picture'))} is no picture of a run")


def is_percentage(value: Any) -> bool:
    """Whether a value is a number from 0 to 100."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 100  # NaN is none
