"""Runs -> cells (a method on a data set: mean and standard deviation over seeds) -> tables of text."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from tools.runs import Run, harmonic_mean

METRICS = {"base": "base", "new": "new", "hm": "HM", "all": "accuracy"}  # as in Run.values -> heading
ALL, NOTHING = -1, 0
PROTOCOLS = ("base2new", "fewshot", "cross", "dg", "all")
# Settings that a row's other columns tell, or that differ between seeds of one method: never a reason for another row.
_NOT_A_VARIANT = {"SEED", "DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "TRAINER.NAME",
                  "MODEL.BACKBONE.NAME", "TRAINER.MODAL", "TRAINER.PROMPTKD.TEACHER"}  # fmt: skip


@dataclass(frozen=True, order=True)
class Method:
    """A row: runs that differ in data set and seed alone."""

    protocol: str
    transductive: bool
    trainer: str
    backbone: str
    teacher: str  # "trainer backbone", "" where there is none
    shots: int  # training images a class; NOTHING: none, ALL: every training image
    selection: str
    variant: tuple[tuple[str, str], ...] = ()  # settings in which it differs from another row

    @property
    def label(self) -> str:
        """`PromptKD ViT-B/16 <- PromptSRC ViT-L/14 (KD_WEIGHT 200)`."""
        text = f"{self.trainer} {self.backbone}" + (f" <- {self.teacher}" if self.teacher else "")
        notes = [f"{key.rpartition('.')[2]} {value}" for key, value in self.variant]
        notes += [] if self.selection == "last epoch" else [self.selection]
        return f"{text} ({', '.join(notes)})" if notes else text

    @property
    def images(self) -> str:
        """Training images a class."""
        return {ALL: "all", NOTHING: "0"}.get(self.shots, str(self.shots))


@dataclass
class Cell:
    """One method on one data set."""

    runs: list[Run] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        return sorted(run.seed for run in self.runs)

    def mean(self, metric: str) -> float | None:
        """Percent; of "hm" the harmonic mean of the mean accuracies, as the papers do. None where there is none."""
        if metric == "hm":
            base, new = self.mean("base"), self.mean("new")
            return None if base is None or new is None else harmonic_mean(base, new)
        values = self._values(metric)
        return statistics.fmean(values) if values else None

    def std(self, metric: str) -> float | None:
        """Sample standard deviation (n - 1) over seeds, of "hm" over the seeds' own; None below two seeds."""
        values = self._values(metric)
        return statistics.stdev(values) if len(values) > 1 else None

    def text(self, metric: str) -> str:
        """`75.30 +- 0.42`, or "-" where there is nothing."""
        return show(self.mean(metric), self.std(metric))

    def _values(self, metric: str) -> list[float]:
        return [run.values[metric] for run in self.runs if metric in run.values]


@dataclass(frozen=True)
class Table:
    """Text cells under a title."""

    title: str
    headers: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


def show(mean: float | None, std: float | None) -> str:
    """A percentage as text."""
    if mean is None:
        return "-"
    return f"{mean:.2f}" if std is None else f"{mean:.2f} +- {std:.2f}"


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
    return Method(run.protocol, run.transductive, run.trainer, short(run.backbone), named, shots, run.selection)


Cells = dict[Method, dict[str, Cell]]


def cells(runs: Iterable[Run]) -> tuple[Cells, list[str]]:
    """Method -> data set -> cell, and remarks on runs that could not be told apart.

    Runs of one method and data set that differ in a setting (`settings` of results.json) become rows of their own,
    named by it: numbers of different settings are never averaged.
    """
    grouped: dict[Method, list[Run]] = {}
    for run in runs:
        grouped.setdefault(method_of(run), []).append(run)
    found: Cells = {}
    remarks: list[str] = []
    for method, members in sorted(grouped.items()):
        keys = _differing(members)
        for run in members:
            settings = run.result.get("settings", {})
            variant = tuple((key, str(settings.get(key))) for key in keys)
            row = found.setdefault(Method(*list(vars(method).values())[:-1], variant), {})
            cell = row.setdefault(run.dataset, Cell())
            if run.seed in cell.seeds:
                remarks.append(f"{run.path}: another configuration of seed {run.seed} that no setting tells apart")
                continue
            cell.runs.append(run)
    return found, remarks


def _differing(runs: Sequence[Run]) -> list[str]:
    """Settings that differ between runs of one data set; recipes may give each data set its own."""
    keys: set[str] = set()
    for dataset in {run.dataset for run in runs}:
        settings: list[dict[str, Any]] = [run.result.get("settings", {}) for run in runs if run.dataset == dataset]
        for key in set().union(*settings) - _NOT_A_VARIANT:
            if len({str(values.get(key)) for values in settings}) > 1:
                keys.add(key)
    return sorted(keys)


def metrics_of(methods: Iterable[Method], found: Cells) -> list[str]:
    """The metrics that any cell of these methods has, in the order of METRICS."""
    runs = [run for method in methods for cell in found[method].values() for run in cell.runs]
    present = {name for run in runs for name in run.values}
    return [name for name in METRICS if name in present]


def kinds(found: Cells) -> list[tuple[str, bool]]:
    """(protocol, transductive) of the tables, inductive first: the two never share a table."""
    order = {name: i for i, name in enumerate(PROTOCOLS)}
    return sorted({(m.protocol, m.transductive) for m in found}, key=lambda k: (order.get(k[0], 99), k[0], k[1]))


def title_of(protocol: str, transductive: bool) -> str:
    """What a table compares."""
    learned = "TRANSDUCTIVE: learned from unlabelled images of the tested classes" if transductive else "inductive"
    return f"{protocol}, {learned}"


def method_by_dataset(found: Cells) -> list[Table]:
    """One table for each protocol and for transductive runs apart: a row for each method and data set."""
    tables = []
    for protocol, transductive in kinds(found):
        methods = [m for m in found if (m.protocol, m.transductive) == (protocol, transductive)]
        metrics = metrics_of(methods, found)
        rows = [
            [method.label, dataset, method.images, *(cell.text(metric) for metric in metrics), str(len(cell.runs))]
            for method in methods
            for dataset, cell in sorted(found[method].items())
        ]
        headers = ["method", "data set", "shots", *(METRICS[metric] for metric in metrics), "seeds"]
        tables.append(Table(title_of(protocol, transductive), headers, rows))
    return tables
