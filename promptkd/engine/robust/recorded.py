"""What a run records of its classifier beside accuracy: under attack, on corrupted images, its temperature."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabulate import tabulate
from yacs.config import CfgNode

from promptkd.engine.evaluator import Classifier, Evaluator
from promptkd.engine.robust import autoattack
from promptkd.engine.robust.gallery import Gallery
from promptkd.engine.robust.measuring import RobustOptions, measure_robustness
from promptkd.engine.robust.shift import measure_corruptions
from promptkd.engine.task import Task
from promptkd.model.prompted_clip import PromptedClip

log = logging.getLogger(__name__)
WIDEST = 8  # columns of a table that fit a terminal


@dataclass
class Measured:
    """What was measured on changed images.

    Attributes:
        fields: of the record.
        gallery: pictures of attacked images, which are not written yet.
    """

    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    gallery: Gallery | None = None

    def save(self, directory: str | Path) -> dict[str, dict[str, Any]]:
        """Writes the pictures below a run's folder, and returns the fields with them."""
        if self.gallery is None:
            return self.fields
        return self.fields | {"robustness": self.fields["robustness"] | {"examples": self.gallery.save(directory)}}


def fitted_temperature(
    cfg: CfgNode, task: Task, model: PromptedClip, classifier: Callable[[Sequence[str]], Classifier]
) -> dict[str, Any] | None:
    """The temperature that TEST.TEMPERATURE asks for; None for none. See `fit_temperature`.

    Args:
        cfg, task, model: of the run.
        classifier: gives what classifies images among some names.
    """
    if not cfg.TEST.TEMPERATURE:
        return None
    found = Evaluator(task, model.precision).temperature(classifier(task.classnames))
    ece = (found["ece_before"], found["ece_after"])
    log.info("Temperature: %.3f; ECE on the validation images: %.1f %%, with it %.1f %%", found["value"], *ece)
    return found


def check_changed_images(cfg: CfgNode, task: Task) -> None:
    """Refuses what TEST.ROBUST cannot measure on these class groups, before anything is trained.

    Where there are no labelled test images, a line says that nothing will be measured.

    Raises:
        ValueError: AutoAttack, and too few classes.
    """
    asked = {"TEST.ROBUST": cfg.TEST.ROBUST.ATTACK, "TEST.CORRUPT": cfg.TEST.CORRUPT.KINDS}
    names = [name for name, value in asked.items() if value]
    if names and task.evaluation_loader is None:
        lacks = f"{task.data_name} has no labelled test images"
        log.warning("%s: %s, so nothing is measured on changed ones", " and ".join(names), lacks)
    elif cfg.TEST.ROBUST.ATTACK == "autoattack":
        autoattack.check_classes(task.groups)


def measure_changed(cfg: CfgNode, task: Task, model: PromptedClip, classify: Classifier) -> Measured:
    """What TEST.ROBUST and TEST.CORRUPT ask for; nothing where they ask for nothing."""
    found = Measured()
    if cfg.TEST.ROBUST.ATTACK:
        options = RobustOptions.of(cfg)
        found.gallery = Gallery(options.pictured, cfg.DATASET.ROOT)
        found.fields["robustness"] = measure_robustness(task, model, classify, options, found.gallery)
    if cfg.TEST.CORRUPT.KINDS:
        found.fields["corruptions"] = measure_corruptions(task, model, classify, cfg)
    return found


def table_of_changed(found: dict[str, Any]) -> str:
    """Accuracies on images as they are and on changed ones, as a small table; percentages."""
    rows = [{"group": group} | values for group, values in found["groups"].items()]
    if len(rows[0]) > WIDEST:  # kinds of corruptions are lines, then
        names = [name for name in rows[0] if name != "group"]
        rows = [{"": name} | {row["group"]: row[name] for row in rows} for name in names]
    else:
        rows += [{"group": "hm"} | found["hm"]] if "hm" in found else []
    return tabulate(rows, headers="keys", floatfmt=".2f")
