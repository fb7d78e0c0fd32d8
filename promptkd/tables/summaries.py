"""Runs -> cells: one method on one data set, its mean and standard deviation over seeds."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from promptkd.results.search import Run, harmonic_mean

METRICS = {"base": "base", "new": "new", "hm": "HM", "all": "accuracy"}  # as in Run.values -> heading
PROTOCOLS = ("base2new", "fewshot", "cross", "dg", "all")
ELSEWHERE = ("cross", "dg")  # learn on one data set, are tested on others
ALL, NOTHING = -1, 0  # Method.shots of a run on every training image, and of a method that learns nothing
TEACHER = "TRAINER.PROMPTKD.TEACHER"  # a path, which differs between data sets and, where each has its own, seeds
# Settings that a row's other columns tell, or that differ between seeds of one method: never a reason for another row.
_NOT_A_VARIANT = {"SEED", "DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "TRAINER.NAME",
                  "MODEL.BACKBONE.NAME", "TRAINER.MODAL", TEACHER}  # fmt: skip


@dataclass(frozen=True, order=True)
class Method:
    """A row: runs that differ in data set and seed alone."""

    protocol: str
    transductive: bool
    trainer: str
    backbone: str
    teacher: str  # "trainer backbone", "" where there is none
    shots: int  # training images a class, or NOTHING, or ALL
    selection: str
    source: str = ""  # of cross and dg: the data set it learned on; "" where it learned nothing, or nobody knows
    variant: tuple[tuple[str, str], ...] = ()  # settings in which it differs from another row
    teaches: bool = False  # all its runs are teachers of students here: one seed serves theirs, and it is no rival

    @property
    def label(self) -> str:
        """`PromptKD ViT-B/16 <- PromptSRC ViT-L/14 (KD_WEIGHT 200)`."""
        text = f"{self.trainer} {self.backbone}" + (f" <- {self.teacher}" if self.teacher else "")
        notes = [f"{key.rpartition('.')[2]} {value}" for key, value in self.variant]
        notes += [] if self.selection == "last epoch" else [self.selection]
        return f"{text} ({', '.join(notes)})" if notes else text

    @property
    def described(self) -> str:
        """The label, and what it learned from: `CoOp ViT-B/16, 16 shots, ImageNet`."""
        learned = [f"{self.shots} {'shot' if self.shots == 1 else 'shots'}"] if self.shots > 0 else []
        return ", ".join([self.label, *learned, *filter(None, [self.source])])

    def averages(self, dataset: str) -> bool:
        """Whether a data set belongs to its average: not the one that a row of cross or dg learned on."""
        return self.protocol not in ELSEWHERE or dataset != (self.source or "ImageNet")

    @property
    def images(self) -> str:
        """Training images a class, as text."""
        return {ALL: "all", NOTHING: "0"}.get(self.shots, str(self.shots))


@dataclass
class Cell:
    """One method on one data set."""

    runs: list[Run] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        """Seeds that count, sorted."""
        return sorted(run.seed for run in self.runs)

    def mean(self, metric: str) -> float | None:
        """Percent; of "hm" the harmonic mean of the mean accuracies, as the papers do. None where there is none."""
        if metric == "hm":
            base, new = self.mean("base"), self.mean("new")
            return None if base is None or new is None else harmonic_mean(base, new)
        values = self.by_seed(metric)
        return statistics.fmean(values.values()) if values else None

    def std(self, metric: str) -> float | None:
        """Sample standard deviation (n - 1) over seeds, of "hm" over the seeds' own; None below two seeds."""
        values = self.by_seed(metric)
        return statistics.stdev(values.values()) if len(values) > 1 else None

    def by_seed(self, metric: str) -> dict[int, float]:
        """Seed -> percent."""
        return {run.seed: run.values[metric] for run in self.runs if metric in run.values}


class Average(Cell):
    """One method over data sets: means of the data sets' means; HM of the average base and new, as the papers do.

    Args:
        cells: data set -> cell.
        lacking: data sets without which there is no average.
    """

    def __init__(self, cells: Mapping[str, Cell], lacking: Sequence[str] = ()) -> None:
        super().__init__([run for cell in cells.values() for run in cell.runs])
        self.datasets = sorted(cells)
        self.lacking = list(lacking)
        self._cells = list(cells.values())

    @property
    def seeds(self) -> list[int]:
        """Seeds that every data set has."""
        return sorted(set.intersection(*(set(cell.seeds) for cell in self._cells))) if self._cells else []

    def mean(self, metric: str) -> float | None:
        """Percent; None where a data set has none."""
        if metric == "hm":
            return super().mean(metric)
        means = [cell.mean(metric) for cell in self._cells]
        known = [mean for mean in means if mean is not None]
        return statistics.fmean(known) if known and len(known) == len(means) and not self.lacking else None

    def by_seed(self, metric: str) -> dict[int, float]:
        """Seed -> average of that seed, of the seeds that every data set has."""
        if metric == "hm":
            base, new = self.by_seed("base"), self.by_seed("new")
            return {seed: harmonic_mean(base[seed], new[seed]) for seed in base if seed in new}
        values = [cell.by_seed(metric) for cell in self._cells]
        seeds = [] if self.lacking else [seed for seed in self.seeds if all(seed in own for own in values)]
        return {seed: statistics.fmean(own[seed] for own in values) for seed in seeds}


Cells = dict[Method, dict[str, Cell]]


def short(backbone: str) -> str:
    """A backbone's name; of a path, the file's."""
    path = PurePosixPath(backbone)
    return path.name if path.suffix in (".pt", ".pth", ".safetensors", ".bin") or path.is_absolute() else backbone


def method_of(run: Run) -> Method:
    """The row that a run belongs to, before rows are split by their settings."""
    teacher = run.teacher or {}
    named = " ".join([str(teacher.get("trainer", "")), short(str(teacher.get("backbone", "")))]).strip()
    if teacher and not named:  # an evaluation knows the class vectors only
        named = str(teacher.get("made_by", "unknown teacher"))
    shots = run.shots if run.shots > 0 else ALL
    if run.result.get("learned_parameters") == 0:
        shots = NOTHING  # whatever few-shot list lay ready
    source = (run.result.get("learned_on") or "") if run.protocol in ELSEWHERE else ""
    return Method(run.protocol, run.transductive, run.trainer, short(run.backbone), named, shots, run.selection, source)


def cells_of(runs: Iterable[Run]) -> tuple[Cells, list[str]]:
    """Method -> data set -> cell, and remarks on runs that could not be told apart.

    Runs of one method and data set that differ in a setting (`settings` of results.json) become rows of their own,
    named by it: numbers of different settings are never averaged. So do students of one seed whose teachers differ.
    """
    grouped: dict[Method, list[Run]] = {}
    runs = list(runs)
    for run in runs:
        grouped.setdefault(method_of(run), []).append(run)
    teachers = {_place(taught_by(run)) for run in runs}
    found: Cells = {}
    remarks: list[str] = []
    for method, members in sorted(grouped.items()):
        for variant, own in _variants(members).items():
            teaches = all(_place(run.path.parent) in teachers for run in own)
            cells = found.setdefault(replace(method, variant=variant, teaches=teaches), {})
            for run in sorted(own, key=lambda run: run.eval_only):  # what was trained counts before an evaluation
                cell = cells.setdefault(run.dataset, Cell())
                if first := next((one for one in cell.runs if one.seed == run.seed), None):
                    what = "run" if first.config_hash == run.config_hash else "configuration"
                    remarks.append(
                        f"{run.path}: another {what} of seed {run.seed} that no setting tells from {first.path}"
                    )
                    continue
                cell.runs.append(run)
    return found, remarks


def _variants(runs: Sequence[Run]) -> dict[tuple[tuple[str, str], ...], list[Run]]:
    """What tells rows of one method apart -> the runs of each."""
    keys = _differing(runs)
    rows: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in runs:
        settings = run.result.get("settings", {})
        rows.setdefault(tuple((key, str(settings.get(key))) for key in keys), []).append(run)
    split: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for variant, own in rows.items():
        for run, teacher in zip(own, _teachers(own), strict=True):
            split.setdefault((*variant, (TEACHER, teacher)) if teacher else variant, []).append(run)
    return split


def _teachers(runs: Sequence[Run]) -> list[str]:
    """What of its teacher's path makes each run another one than a run of the same data set and seed; "" for nothing.

    The first way to read the paths that tells most runs apart: not at all, by their words but the seed's, by all
    their words, or whole.
    """
    readings: list[list[str]] = [[""] * len(runs)]
    if len({(run.dataset, run.seed) for run in runs}) < len(runs):
        ways: list[Callable[[str], list[str]]] = [
            lambda path: [word for word in re.split(r"[/+]", path) if not re.fullmatch(r"seed_?\d+", word)],
            lambda path: re.split(r"[/+]", path),
            lambda path: [path],
        ]
        readings += [_unshared([(run.dataset, way(taught_by(run))) for run in runs]) for way in ways]
    places = [(run.dataset, run.seed) for run in runs]
    return max(readings, key=lambda labels: len(set(zip(labels, places, strict=True))))


def _unshared(paths: Sequence[tuple[str, list[str]]]) -> list[str]:
    """(data set, words of a path) -> the words that not every path of the same data set has, or its last word."""
    some: set[str] = set()
    for dataset in {dataset for dataset, _ in paths}:
        own = [set(words) for name, words in paths if name == dataset]
        some |= set.union(*own) - set.intersection(*own)
    return ["+".join(word for word in words if word in some) or words[-1] for _, words in paths]


def taught_by(run: Run) -> str:
    """The path or name of a student's teacher, "" where there is none."""
    return str(run.result.get("settings", {}).get(TEACHER) or (run.teacher or {}).get("source", ""))


def _place(folder: str | Path) -> tuple[str, ...]:
    """A run's folder, by what stays when the output moves: data set, shots, method, recipe and seed."""
    return Path(folder).absolute().parts[-5:]


def _differing(runs: Sequence[Run]) -> list[str]:
    """Settings that differ between runs of one data set; recipes may give each data set its own."""
    keys: set[str] = set()
    for dataset in {run.dataset for run in runs}:
        settings: list[dict[str, Any]] = [run.result.get("settings", {}) for run in runs if run.dataset == dataset]
        for key in set().union(*settings) - _NOT_A_VARIANT:
            if len({str(values.get(key)) for values in settings}) > 1:
                keys.add(key)
    return sorted(keys)
