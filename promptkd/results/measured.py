"""How a run's numbers of robustness were measured: those that were measured differently share no mean.

A way is what such a number depends on beside the model: the attack's steps, their length and start, the images, kinds
and severities of corruptions, the images of other things. Its parts are texts by name, for they come from a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptkd.results import kept
from promptkd.results.record import CONFIDENCE, CORRUPTED, RunRecord
from promptkd.texts import clipped, one_line

ATTACK, CORRUPTIONS, OTHER_DATA = "attack", "corruptions", "other data"
FAMILIES = (ATTACK, CORRUPTIONS, OTHER_DATA)  # what a run may measure beside its metrics, each by itself
IMAGES = "images"  # the part of a way that may differ between data sets
UNKNOWN = "unknown"  # to a record of before
Way = dict[str, str]


def family_of(name: str) -> str:
    """The one of FAMILIES that a measure belongs to, or "" of what every run has.

    Args:
        name: without its class group: "pgd10_eps1", "clean", "corrupted/fog"; "" of accuracy.
    """
    if name in ("", *CONFIDENCE):
        return OTHER_DATA if name == kept.OTHER_DATA else ""
    return CORRUPTIONS if name.partition("/")[0] == CORRUPTED else ATTACK


def values_of(record: RunRecord) -> dict[str, float]:
    """Every percentage of a run: "base", "base/pgd10_eps1", "hm/corrupted/fog", "new/ece", ..."""
    return record.accuracies | record.under_attack | record.under_corruptions | record.confidence


def way_of(record: RunRecord, metric: str) -> Way:
    """How one of a run's numbers was measured; {} of those that depend on the model and its test images alone.

    Args:
        record: of the run.
        metric: as in `values_of`; of "hm/..." both class groups' images are named.
    """
    group, _, name = metric.partition("/")
    if group == "hm":
        base, new = (way_of(record, f"{one}/{name}") for one in ("base", "new"))
        return {key: " and ".join(dict.fromkeys([base.get(key, ""), new.get(key, "")])) for key in base | new}
    return _WAYS[family](record, group, name) if (family := family_of(name)) else {}


def added_to(record: RunRecord) -> list[str]:
    """The fields of `kept.FIELDS` that a record has."""
    return [name for name in kept.FIELDS if getattr(record, name)]


def _attack(record: RunRecord, group: str, name: str) -> Way:
    """PGD has steps of a length, from a start; clean images, and attacks that their name defines, have the images."""
    found = record.robustness or {}
    about = found.get("attack")
    parts = ("step", "start") if name.startswith("pgd") else ()
    return _texts(about if isinstance(about, Mapping) else {}, *parts) | _images(found, group)


def _corruptions(record: RunRecord, group: str, name: str) -> Way:
    found = record.corruptions or {}
    kinds = found.get("by_severity", {}).get(group) or [
        key for key in found.get("groups", {}).get(group, {}) if key not in (IMAGES, "clean", CORRUPTED)
    ]
    severities = ", ".join(map(str, found.get("severities", ())))
    listed = {"kinds": ", ".join(sorted(map(one_line, kinds))), "severities": severities}
    return {key: text or UNKNOWN for key, text in listed.items()} | _images(found, group)


def _other_data(record: RunRecord, group: str, name: str) -> Way:
    return _texts(record.other_data or {}, "source", IMAGES)


def _images(found: Mapping[str, Any], group: str) -> Way:
    return _texts(found.get("groups", {}).get(group, {}), IMAGES)


def _texts(about: Mapping[str, Any], *parts: str) -> Way:
    return {part: clipped(about.get(part, UNKNOWN), 80) for part in parts}


_WAYS = {ATTACK: _attack, CORRUPTIONS: _corruptions, OTHER_DATA: _other_data}
