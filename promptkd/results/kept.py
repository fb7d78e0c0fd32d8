"""What is measured of a finished run beside its accuracy: kept when its record is written again, joined with more.

Accuracy under attack and on corrupted images, and how well images of other data are told. It belongs to the model and
to the test images of a record.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptkd.results.doubts import doubts, radii
from promptkd.results.numbers import PICTURE, harmonic_means

if TYPE_CHECKING:
    from promptkd.results.record import RunRecord

log = logging.getLogger(__name__)

FIELDS = ("robustness", "corruptions", "other_data")
OTHER_DATA = "auroc_other_data"  # of each class group's metrics, beside the field other_data
_OF_ATTACK = ("attack", "eps")  # what may differ between two attacks that are joined


def joined(earlier: RunRecord, now: RunRecord) -> RunRecord:
    """A record with what an earlier one of the same run has measured in addition.

    Radii of the same attack on the same images stand side by side. What is replaced is said in a line; so is what goes
    because it is of another model, or of other images.
    """
    if why := _another(earlier, now):
        if lost := [name for name in FIELDS if getattr(earlier, name) is not None]:
            log.warning("%s of the earlier results.json go: %s; measure anew", ", ".join(lost), why)
        return now
    metrics, other_data = now.metrics, now.other_data or earlier.other_data
    if now.other_data is None:
        metrics = {group: _with_auroc(values, earlier.metrics.get(group)) for group, values in metrics.items()}
    elif earlier.other_data and earlier.other_data.get("source") != now.other_data.get("source"):
        log.info("AUROC against %s is replaced", earlier.other_data.get("source"))
    if now.corruptions and earlier.corruptions and _described(earlier.corruptions) != _described(now.corruptions):
        log.info("Corruptions are replaced: %s", _described(earlier.corruptions))
    return replace(
        now,
        metrics=metrics,
        other_data=other_data,
        robustness=_joined_attacks(earlier.robustness, now.robustness),
        corruptions=now.corruptions or earlier.corruptions,
    )


def remove_orphans(directory: str | Path, record: RunRecord) -> None:
    """Removes the pictures of attacked images in a run's folder that its record does not name."""
    named = {one["picture"] for one in (record.robustness or {}).get("examples", ())}
    for path in sorted(Path(directory, "attacked").glob("*.png")):
        if (name := f"attacked/{path.name}") not in named and re.fullmatch(PICTURE, name):
            path.unlink(missing_ok=True)


def _another(earlier: RunRecord, now: RunRecord) -> str:
    """Why two records are of other models or images, in words; "" where they are of the same."""
    hashes = (earlier.learned_sha256, now.learned_sha256)
    if hashes[0] != hashes[1] if all(hashes) else earlier.accuracies != now.accuracies:
        return "another model was learned"
    images = [{group: values.get("images") for group, values in one.measures.items()} for one in (earlier, now)]
    return "" if images[0] == images[1] else "the test images are others"


def _with_auroc(values: Any, earlier: Any) -> Any:
    """The measures of a class group (or hm) with the AUROC that an earlier record has."""
    if not isinstance(values, dict) or not isinstance(earlier, dict) or OTHER_DATA not in earlier:
        return values
    return {OTHER_DATA: earlier[OTHER_DATA]} | values


def _described(corruptions: Mapping[str, Any]) -> str:
    """The kinds, severities and numbers of images of corruptions, for a line."""
    groups = corruptions.get("groups", {})
    kinds = dict.fromkeys(kind for each in corruptions.get("by_severity", {}).values() for kind in each)
    severities = ", ".join(map(str, corruptions.get("severities", ())))
    images = ", ".join(f"{values.get('images')} of {group}" for group, values in groups.items())
    return f"{', '.join(kinds)} at severities {severities}; images: {images}"


def _joined_attacks(earlier: dict[str, Any] | None, now: dict[str, Any] | None) -> dict[str, Any] | None:
    """Accuracies under one attack at the radii of both; where the attacks or the images differ, the later ones."""
    if earlier is None or now is None or earlier == now:
        return now or earlier
    if why := _differences(earlier, now):
        names = [name for name in next(iter(earlier.get("groups", {}).values()), {}) if name not in ("images", "clean")]
        log.info("Accuracies under attack are replaced (%s): %s", why, ", ".join(names))
        return now
    eps = sorted({*radii(earlier["attack"]), *radii(now["attack"])})
    attack = now["attack"] | {"eps": [f"{one:g}/255" for one in eps]}
    if earlier["attack"].get("attack") == "autoattack":  # and pgd beside it
        attack["attack"] = "autoattack"
    groups = {group: earlier["groups"][group] | values for group, values in now["groups"].items()}
    both = earlier | now | {"attack": attack, "groups": groups}
    if means := harmonic_means(groups):
        both["hm"] = means
    if max(radii(earlier["attack"])) > max(radii(now["attack"])):  # of the largest radius there are pictures
        both["examples"] = earlier.get("examples", [])
    return both | {"doubts": doubts(both)}


def _differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In what two measurements under attack differ but for the radii, in words; "" where they can be joined."""
    before, after = earlier.get("attack"), now["attack"]
    if not isinstance(before, dict) or not _are_radii(before.get("eps")):
        return "an attack of an earlier version"
    keys = [key for key in {**before, **after} if key not in _OF_ATTACK and before.get(key) != after.get(key)]
    texts = [f"{key} {before.get(key)}, now {after.get(key)}" for key in keys]
    images = [
        {group: values.get("images") for group, values in one.get("groups", {}).items()} for one in (earlier, now)
    ]
    if images[0] != images[1]:
        shown = [", ".join(f"{count} of {group}" for group, count in one.items()) for one in images]
        texts.append(f"images {shown[0]}; now {shown[1]}")
    return "; ".join(texts)


def _are_radii(eps: Any) -> bool:
    """Whether a value is the list of radii that a described attack has."""
    return (
        isinstance(eps, list) and bool(eps) and all(re.fullmatch(r"\d{1,3}(\.\d{1,6})?/255", str(one)) for one in eps)
    )
