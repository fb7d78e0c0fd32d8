"""Methods, and summaries of their runs: the mean and standard deviation over seeds on one data set."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from promptkd.results.measured import IMAGES, Way, family_of
from promptkd.results.numbers import harmonic_mean
from promptkd.results.search import Run

METRICS = {"base": "base", "new": "new", "hm": "HM", "all": "accuracy"}  # as in RunRecord.accuracies -> heading
ON_PAGE = ("hm", "base", "new", "all")  # on a page, which a phone cuts at the right; the papers print HM last
PROTOCOLS = ("base2new", "fewshot", "cross", "dg", "all")
ELSEWHERE = ("cross", "dg")  # protocols that learn on one data set and test on others
ALL, NOTHING = -1, 0  # Method.shots of a run on every training image, and of a method that learns nothing


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
    pool: str = ""  # how its unlabelled images differ from the benchmark's
    foreign: str = ""  # of somebody's code: its repository and commit
    teaches: bool = False  # all its runs are teachers of students here: one seed serves theirs, and it is no rival

    @property
    def label(self) -> str:
        """`PromptKD ViT-B/16 <- PromptSRC ViT-L/14 (KD_WEIGHT 200)`."""
        text = f"{self.trainer} {self.backbone}" + (f" <- {self.teacher}" if self.teacher else "")
        text = f"{text} [foreign: {self.foreign}]" if self.foreign else text
        notes = [f"{key.rpartition('.')[2]} {value}" for key, value in self.variant]
        notes += [self.pool] if self.pool else []
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
class Summary:
    """The runs of one method on one data set, one for each seed, and their mean and deviation.

    Attributes:
        runs: that count.
        again: others of the same models, which measured something in addition: see `alike`.
    """

    runs: list[Run] = field(default_factory=list)
    again: list[Run] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        """Seeds that count, sorted."""
        return sorted(run.record.seed for run in self.runs)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that all its runs have in common."""
        first, *others = [run.record.settings for run in self.runs] or [{}]
        return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}

    def mean(self, metric: str) -> float | None:
        """Percent; of "hm" the harmonic mean of the mean accuracies, as the papers do. None where there is none."""
        if metric == "hm" or metric.startswith("hm/"):
            base, new = self.mean(f"base{metric[2:]}"), self.mean(f"new{metric[2:]}")
            return None if base is None or new is None else harmonic_mean(base, new)
        values = self.by_seed(metric)
        return statistics.fmean(values.values()) if values else None

    def std(self, metric: str) -> float | None:
        """Sample standard deviation (n - 1) over seeds, of "hm" over the seeds' own; None below two seeds."""
        values = self.by_seed(metric)
        return statistics.stdev(values.values()) if len(values) > 1 else None

    def by_seed(self, metric: str) -> dict[int, float]:
        """Seed -> percent; "base/pgd10_eps1" is that of base under an attack, "base/corrupted/fog" in fog.

        {} where runs measured it in different ways: `alike` has them apart.
        """
        if self.way(metric) is None:
            return {}
        return {run.record.seed: run.values[metric] for run in reversed(self.runs) if metric in run.values}

    def way(self, metric: str) -> Way | None:
        """How its runs measured a number, {} where nothing is to be said of it; None where they did in several ways."""
        ways = [run.ways.get(metric, {}) for run in self.runs if metric in run.values]
        return (ways or [{}])[0] if all(way == ways[0] for way in ways) else None

    def alike(self, family: str) -> list[Summary]:
        """The runs that measured a family of numbers, in summaries none of whose numbers was measured in two ways.

        The one with the most seeds is the first; a run that fits several is in the first of these.
        """
        found: list[tuple[dict[str, Way], Summary]] = []
        for run in sorted([*self.runs, *self.again], key=lambda one: one.record.seed):
            ways = {metric: way for metric, way in run.ways.items() if family_of(metric.partition("/")[2]) == family}
            if not ways:
                continue
            fitting = (one for one in found if all(one[0].get(metric, way) == way for metric, way in ways.items()))
            known, summary = next(fitting, ({}, Summary()))
            if not summary.runs:
                found.append((known, summary))
            known |= ways
            summary.runs.append(run)
        return sorted((summary for _, summary in found), key=lambda one: len({*one.seeds}), reverse=True)


class Average(Summary):
    """One method over data sets: means of the data sets' means; HM of the average base and new, as the papers do.

    Args:
        summaries: data set -> summary.
        lacking: data sets without which there is no average.
    """

    def __init__(self, summaries: Mapping[str, Summary], lacking: Sequence[str] = ()) -> None:
        super().__init__([run for summary in summaries.values() for run in summary.runs])
        self.datasets = sorted(summaries)
        self.lacking = list(lacking)
        self._parts = list(summaries.values())

    @property
    def seeds(self) -> list[int]:
        """Seeds that every data set has."""
        return sorted(set.intersection(*(set(part.seeds) for part in self._parts))) if self._parts else []

    def mean(self, metric: str) -> float | None:
        """Percent; None where a data set has none."""
        if metric == "hm" or metric.startswith("hm/"):
            return super().mean(metric)
        means = [part.mean(metric) for part in self._parts] if self.way(metric) is not None else []
        known = [mean for mean in means if mean is not None]
        return statistics.fmean(known) if known and len(known) == len(means) and not self.lacking else None

    def by_seed(self, metric: str) -> dict[int, float]:
        """Seed -> average of that seed, of the seeds that every data set has."""
        if metric == "hm" or metric.startswith("hm/"):
            base, new = self.by_seed(f"base{metric[2:]}"), self.by_seed(f"new{metric[2:]}")
            return {seed: harmonic_mean(base[seed], new[seed]) for seed in base if seed in new}
        parts = [part.by_seed(metric) for part in self._parts]
        whole = not self.lacking and self.way(metric) is not None
        seeds = [seed for seed in self.seeds if all(seed in values for values in parts)] if whole else []
        return {seed: statistics.fmean(values[seed] for values in parts) for seed in seeds}

    def way(self, metric: str) -> Way | None:
        """As of a summary; each data set has its own number of images."""
        ways = [part.way(metric) for part in self._parts]
        shared = [{key: text for key, text in way.items() if key != IMAGES} for way in ways if way is not None]
        return (shared or [{}])[0] if len(shared) == len(ways) and all(one == shared[0] for one in shared) else None


Summaries = dict[Method, dict[str, Summary]]
