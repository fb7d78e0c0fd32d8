"""The record of one run, results.json: its fields, and how it is read and written.

docs/results.md explains each field. Accuracies are percentages.
"""

from __future__ import annotations

import logging
import os
import statistics
import typing
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any

from promptkd import bounded, files
from promptkd.results import kept, origins
from promptkd.results.numbers import (
    GROUPS,
    check_changed,
    check_metrics,
    check_teacher,
    check_temperature,
    harmonic_mean,
    harmonic_means,
    is_percentage,
)

log = logging.getLogger(__name__)

FILE_NAME = "results.json"
ASIDE = "results.json.damaged"  # where one goes that could not be read
LOCK = ".results.lock"  # beside it: who reads, changes and writes it holds this file's lock
FORMAT = 1
CONFIDENCE = ("ece", "auroc_other_data")  # measures of each class group
CORRUPTED = "corrupted"  # of the names of what was measured on corrupted images
# An evaluation does not know these: in the directory of the run that it evaluates, training's stay.
_OF_TRAINING = ("teacher", "seen", "train_seconds", "train_images_per_second", "eval_only", "model_dir")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run did and measured; the fields with a default are those that results.json may lack.

    The order of the fields is that of the file.
    """

    trainer: str
    backbone: str
    teacher: dict[str, Any] | None
    dataset: str
    protocol: str
    transductive: bool
    template: str | None = None
    learned_on: str | None = None
    foreign: dict[str, Any] | None = None  # repository, commit, bridges of a run of somebody's code (docs/foreign.md)
    shots: int
    fewshot_sha256: str | None = None
    train_images: int | None = None
    unlabelled_images: int | None = None
    seen: dict[str, Any] | None = None  # of a method that learned from images without labels
    seed: int
    epochs: int | None = None
    selection: str
    split: str = "test"  # "val": the numbers are of validation images, and in no table with those of test images
    eval_only: bool
    model_dir: str | None = None  # directory of the run that an evaluation in a directory of its own measured
    metrics: dict[str, Any]  # class group -> accuracy, macro_f1, ..., per_class; "hm" -> harmonic mean of base and new
    other_data: dict[str, Any] | None = None  # images of other things, of auroc_other_data: "source", "images"
    temperature: dict[str, Any] | None = None  # fitted on validation images: "value", and what it changed
    robustness: dict[str, Any] | None = None  # accuracy under attack: the attack, class group -> accuracies, "hm"
    corruptions: dict[str, Any] | None = None  # accuracy on corrupted images: class group -> accuracies, "hm"
    learned_parameters: int | None = None
    learned_sha256: str | None = None  # of what was learned, as it was measured: its first 16 digits
    train_seconds: float | None = None
    train_images_per_second: float | None = None
    eval_images_per_second: float | None = None
    peak_memory_mb: float | None = None
    config_hash: str
    settings: dict[str, Any] = field(default_factory=dict)  # dotted key -> value, what config_hash is of
    data_root: str = "."
    finished: str
    versions: dict[str, Any] | None = None
    device: str | None = None
    arithmetic: str | None = None  # type of the products: "float32", "bfloat16" or "float16"
    processes: int | None = None
    commit: str | None = None
    command: list[Any] | None = None

    @classmethod
    def read(cls, path: str | Path, needs_metrics: bool = True) -> RunRecord:
        """The record in a results.json.

        Args:
            path: the file.
            needs_metrics: whether a run that measured nothing, for want of labelled test images, is an error.

        Raises:
            ValueError: it is broken, not one of this project's, of another format, or not whole; the message says
                which, and begins as a sentence that has the file for its subject goes on after "is".
        """
        return cls.from_dict(_parsed(Path(path)), needs_metrics)

    @classmethod
    def from_dict(cls, entries: Any, needs_metrics: bool = True) -> RunRecord:
        """The record of parsed JSON; entries that it has no field for are left out. Raises what `read` does."""
        if not isinstance(entries, dict) or "format" not in entries or not {"trainer", "metrics"} & entries.keys():
            raise ValueError("foreign: no result of train.py")
        if entries["format"] != FORMAT:
            raise ValueError(f"format {bounded.shown(entries['format'])}: this version reads {FORMAT}")
        if lacking := [one.name for one in fields(cls) if _is_required(one) and one.name not in entries]:
            raise ValueError(f"partial: lacks {', '.join(lacking)}")
        known = {one.name: entries[one.name] for one in fields(cls) if one.name in entries}
        for name, value in known.items():
            types = _types()[name]
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
                raise ValueError(f"broken: {name} is {bounded.shown(value)}")
        if needs_metrics or known["metrics"]:
            check_metrics(known["metrics"])
        check_teacher(known["teacher"] or {})
        check_temperature(known.get("temperature") or {"value": 1.0})
        check_changed("robustness", known.get("robustness") or {})
        check_changed("corruptions", known.get("corruptions") or {})
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """The content of results.json."""
        return {"format": FORMAT} | {one.name: getattr(self, one.name) for one in fields(self)}

    def write(self, directory: str | Path) -> Path:
        """Writes results.json, whole or not at all, and returns its path.

        Where an evaluation is written over the record of the training in the same directory, what only training
        knows stays: the teacher, the time that it took. What was measured later of the same model stays too, see
        `kept.joined`. One that is damaged is kept as results.json.damaged.

        Raises:
            ValueError: the directory has a result of another configuration, or one that is nobody's of this project.
            OSError: the directory cannot be written to.
        """
        path, record = Path(directory) / FILE_NAME, self
        with files.locked(path.with_name(LOCK)):
            earlier = check_result(directory, self.config_hash)
            if earlier is None and path.is_file():
                os.replace(path, path.with_name(ASIDE))
                log.warning("%s was damaged: it is kept as %s, and written anew", path, ASIDE)
            if earlier is not None and self.eval_only and not earlier.eval_only:
                record = replace(self, **{name: getattr(earlier, name) for name in _OF_TRAINING})
            record._put(directory, earlier)
        return path

    def _put(self, directory: str | Path, earlier: RunRecord | None) -> None:
        """Writes results.json, joined with an earlier one; the directory's lock is held."""
        record = self if earlier is None else kept.joined(earlier, self)
        files.write_json(Path(directory) / FILE_NAME, record.to_dict())
        kept.remove_orphans(directory, record)

    def teacher_name(self, short: Callable[[str], str] = str) -> str:
        """Method and CLIP of a student's teacher; of several `PromptSRC ViT-L/14 + ZeroshotCLIP RN50, entropy`.

        An evaluation knows what made the class vectors, at most; "" where nothing is known.

        Args:
            short: makes a CLIP's name, which may be a file's, shorter.
        """
        teacher = self.teacher or {}
        several = [one for one in teacher.get("teachers", []) if isinstance(one, dict)]
        names = [
            f"{one.get('trainer', '')} {short(str(one.get('backbone', '')))}".strip() for one in several or [teacher]
        ]
        mix = f", {teacher.get('mix', 'mixed')}" if several else ""
        return f"{' + '.join(names)}{mix}" or str(teacher.get("made_by", ""))

    @property
    def measures(self) -> dict[str, dict[str, Any]]:
        """Each class group's measures (accuracy, macro_f1, ...), without the harmonic mean."""
        return {group: values for group, values in self.metrics.items() if isinstance(values, dict)}

    @property
    def accuracies(self) -> dict[str, float]:
        """The percentages of the tables: those of "base", "new" and their harmonic mean "hm", or that of "all"."""
        percent = {group: float(self.metrics[group]["accuracy"]) for group in GROUPS if group in self.metrics}
        if {"base", "new"} <= percent.keys():
            percent["hm"] = harmonic_mean(percent["base"], percent["new"])
        return percent

    @property
    def under_attack(self) -> dict[str, float]:
        """The percentages of `robustness` and the mean of `corruptions`: "base/clean", "hm/pgd10_eps1", ..."""
        shifted = (self.corruptions or {}).get("groups", {})
        percent = {f"{group}/corrupted": float(values["corrupted"]) for group, values in shifted.items()}
        attacked = (self.robustness or {}).get("groups", {})
        for group, values in attacked.items():
            percent |= {f"{group}/{name}": float(value) for name, value in values.items() if name != "images"}
        means = harmonic_means(attacked) | harmonic_means(shifted, ["corrupted"])
        return percent | {f"hm/{name}": value for name, value in means.items()}

    @property
    def under_corruptions(self) -> dict[str, float]:
        """Means of `corruptions`: "base/corrupted/0" of clean images, ".../3" of a severity, ".../fog" of a kind."""
        measured = self.corruptions or {}
        means: dict[str, dict[str, float]] = {}
        for group, kinds in measured.get("by_severity", {}).items():
            clean = measured.get("groups", {}).get(group, {}).get("clean")
            means[group] = {} if clean is None else {"0": float(clean)}
            means[group] |= {kind: statistics.fmean(values) for kind, values in kinds.items() if values}
            by_severity = zip(*kinds.values(), strict=True)
            means[group] |= {
                str(n): statistics.fmean(each)
                for n, each in zip(measured.get("severities", ()), by_severity, strict=False)
            }
        means |= {"hm": harmonic_means(means)}
        return {f"{group}/{CORRUPTED}/{name}": value for group, one in means.items() for name, value in one.items()}

    @property
    def confidence(self) -> dict[str, float]:
        """Percentages of each class group that say how far its confidence can be believed: "base/ece", ..."""
        return {
            f"{group}/{name}": float(values[name])
            for group, values in self.measures.items()
            for name in CONFIDENCE
            if is_percentage(values.get(name))
        }


def update(directory: str | Path, change: Callable[[RunRecord], RunRecord]) -> Path:
    """Changes a run's results.json as it is now, while no other process writes it, and returns its path.

    Args:
        directory: of the run.
        change: the record -> the same with more measured; what it leaves out of `kept.FIELDS` stays.

    Raises:
        ValueError: there is no record that can be read.
        OSError: it cannot be written.
    """
    path = Path(directory) / FILE_NAME
    with files.locked(path.with_name(LOCK)):
        earlier = RunRecord.read(path)
        change(earlier)._put(directory, earlier)
    return path


def check_result(directory: str | Path, *hashes: str) -> RunRecord | None:
    """The record that a directory has; None for none, or for one that is damaged and may be written anew.

    Args:
        directory: a run's.
        hashes: of the configuration of the run that asks, and of that under earlier paths.

    Raises:
        ValueError: it is of another configuration, or nobody's of this project.
    """
    path = Path(directory) / FILE_NAME
    if not path.is_file():
        return None
    try:
        earlier = RunRecord.read(path, needs_metrics=False)
    except ValueError as error:
        if is_damage(error):
            return None
        raise ValueError(f"{path} is {error}: choose another --output-dir, or remove it") from error
    if earlier.config_hash not in (*hashes, *origins.earlier_hashes(directory)):
        raise ValueError(
            f"{path} is the result of another configuration ({earlier.trainer}, seed {earlier.seed}): "
            "choose another --output-dir, or give all options as they were"
        )
    return earlier


def is_damage(error: ValueError) -> bool:
    """Whether an error of `RunRecord.read` speaks of a file that was cut, or changed by accident: it can go."""
    return str(error).startswith(("broken: ", "partial: "))


def _parsed(path: Path) -> Any:
    try:
        return bounded.read_json(path, bounded.RECORD)
    except OSError as error:
        raise ValueError(f"broken: cannot be read ({error.strerror})") from error
    except ValueError as error:
        reason = str(error).removeprefix(f"{bounded.named(path)} ").replace("is not JSON", "no JSON")
        raise ValueError(f"broken: {bounded.clipped(reason, 300)}") from error


def _is_required(one: Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


@cache
def _types() -> dict[str, tuple[type, ...]]:
    """The types that each field's value in JSON may have; a whole number is a float, too."""
    allowed = {}
    for name, hint in typing.get_type_hints(RunRecord).items():
        choices = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
        plain = [typing.get_origin(choice) or choice for choice in choices]
        allowed[name] = (*plain, int) if float in plain else tuple(plain)
    return allowed
