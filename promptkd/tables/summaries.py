"""Runs -> summaries: the mean and standard deviation over seeds of one method on one data set."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from promptkd.results.record import RunRecord, harmonic_mean
from promptkd.results.search import Run

METRICS = {"base": "base", "new": "new", "hm": "HM", "all": "accuracy"}  # as in RunRecord.accuracies -> heading
PROTOCOLS = ("base2new", "fewshot", "cross", "dg", "all")
ELSEWHERE = ("cross", "dg")  # protocols that learn on one data set and test on others
ALL, NOTHING = -1, 0  # Method.shots of a run on every training image, and of a method that learns nothing
TEACHER = "TRAINER.PROMPTKD.TEACHER"  # a path, which differs between data sets and, where each has its own, seeds
# Settings in other columns of a row, or different between seeds of one method: never a reason for another row.
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
class Summary:
    """The runs of one method on one data set, one for each seed, and their mean and deviation."""

    runs: list[Run] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        """Seeds that count, sorted."""
        return sorted(run.record.seed for run in self.runs)

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
        values = {run.record.seed: run.record.accuracies for run in self.runs}
        return {seed: accuracies[metric] for seed, accuracies in values.items() if metric in accuracies}


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
        if metric == "hm":
            return super().mean(metric)
        means = [part.mean(metric) for part in self._parts]
        known = [mean for mean in means if mean is not None]
        return statistics.fmean(known) if known and len(known) == len(means) and not self.lacking else None

    def by_seed(self, metric: str) -> dict[int, float]:
        """Seed -> average of that seed, of the seeds that every data set has."""
        if metric == "hm":
            base, new = self.by_seed("base"), self.by_seed("new")
            return {seed: harmonic_mean(base[seed], new[seed]) for seed in base if seed in new}
        parts = [part.by_seed(metric) for part in self._parts]
        seeds = [] if self.lacking else [seed for seed in self.seeds if all(seed in values for values in parts)]
        return {seed: statistics.fmean(values[seed] for values in parts) for seed in seeds}


Summaries = dict[Method, dict[str, Summary]]


def short(backbone: str) -> str:
    """A backbone's name; of a path, the file's."""
    path = PurePosixPath(backbone)
    return path.name if path.suffix in (".pt", ".pth", ".safetensors", ".bin") or path.is_absolute() else backbone


def method_of(record: RunRecord) -> Method:
    """The row that a run belongs to, before rows are split by their settings."""
    teacher = record.teacher or {}
    name = " ".join([str(teacher.get("trainer", "")), short(str(teacher.get("backbone", "")))]).strip()
    if teacher and not name:  # an evaluation knows the class vectors only
        name = str(teacher.get("made_by", "unknown teacher"))
    shots = record.shots if record.shots > 0 else ALL
    if record.learned_parameters == 0:
        shots = NOTHING  # whatever few-shot list lay ready
    return Method(
        record.protocol,
        record.transductive,
        record.trainer,
        short(record.backbone),
        name,
        shots,
        record.selection,
        (record.learned_on or "") if record.protocol in ELSEWHERE else "",
    )


def summaries_of(runs: Iterable[Run]) -> tuple[Summaries, list[str]]:
    """Method -> data set -> summary, and remarks on runs that no setting tells apart.

    Runs of one method and data set with different settings (`settings` of results.json) become rows of their own,
    named by the difference: numbers of different settings are never averaged. So do students of one seed with
    different teachers.
    """
    runs = list(runs)
    grouped: dict[Method, list[Run]] = {}
    for run in runs:
        grouped.setdefault(method_of(run.record), []).append(run)
    teachers = {_directory_name(taught_by(run.record)) for run in runs}
    summaries: Summaries = {}
    remarks: list[str] = []
    for method, members in sorted(grouped.items()):
        for variant, alike in _variants(members).items():
            teaches = all(_directory_name(run.directory) in teachers for run in alike)
            row = summaries.setdefault(replace(method, variant=variant, teaches=teaches), {})
            for run in sorted(alike, key=lambda run: run.record.eval_only):  # a training counts before an evaluation
                summary = row.setdefault(run.record.dataset, Summary())
                if first := next((one for one in summary.runs if one.record.seed == run.record.seed), None):
                    remarks.append(_remark(first, run))
                else:
                    summary.runs.append(run)
    return summaries, remarks


def _remark(first: Run, run: Run) -> str:
    """Why a second run of one seed is left out."""
    what = "run" if first.record.config_hash == run.record.config_hash else "configuration"
    return f"{run.path}: another {what} of seed {run.record.seed} that no setting tells from {first.path}"


def _variants(runs: Sequence[Run]) -> dict[tuple[tuple[str, str], ...], list[Run]]:
    """The settings that tell the rows of one method apart -> the runs of each row."""
    keys = _differing([run.record for run in runs])
    rows: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in runs:
        settings = run.record.settings
        rows.setdefault(tuple((key, str(settings.get(key))) for key in keys), []).append(run)
    split: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for variant, alike in rows.items():
        for run, teacher in zip(alike, _teacher_labels([run.record for run in alike]), strict=True):
            split.setdefault((*variant, (TEACHER, teacher)) if teacher else variant, []).append(run)
    return split


def _teacher_labels(records: Sequence[RunRecord]) -> list[str]:
    """For each run the part of its teacher's path that tells it from a run of the same data set and seed.

    Of the ways to read the paths, the first that tells most runs apart: not at all (""), by their words without the
    seed's, by all their words, or whole. As an example, two students of seed 1 on one data set, taught by
    `out/A/seed1` and `out/B/seed1`, are "A" and "B"; where each seed just has a teacher of its own, there is nothing
    to tell apart, and all labels are "".
    """
    places = [(record.dataset, record.seed) for record in records]
    readings: list[list[str]] = [[""] * len(records)]
    if len(set(places)) < len(records):
        ways: list[Callable[[str], list[str]]] = [
            lambda path: [word for word in re.split(r"[/+]", path) if not re.fullmatch(r"seed_?\d+", word)],
            lambda path: re.split(r"[/+]", path),
            lambda path: [path],
        ]
        readings += [_unshared([(record.dataset, way(taught_by(record))) for record in records]) for way in ways]
    return max(readings, key=lambda labels: len(set(zip(labels, places, strict=True))))


def _unshared(paths: Sequence[tuple[str, list[str]]]) -> list[str]:
    """(data set, words of a path) -> the words that not every path of the same data set has, or its last word."""
    differing: set[str] = set()
    for dataset in {dataset for dataset, _ in paths}:
        words_of_each = [set(words) for name, words in paths if name == dataset]
        differing |= set.union(*words_of_each) - set.intersection(*words_of_each)
    return ["+".join(word for word in words if word in differing) or words[-1] for _, words in paths]


def taught_by(record: RunRecord) -> str:
    """The path or name of a student's teacher, "" where there is none."""
    return str(record.settings.get(TEACHER) or (record.teacher or {}).get("source", ""))


def _directory_name(directory: str | Path) -> tuple[str, ...]:
    """The part of a run's path that stays when the output moves: data set, shots, method, recipe and seed."""
    return Path(directory).absolute().parts[-5:]


def _differing(records: Sequence[RunRecord]) -> list[str]:
    """Settings that differ between runs of one data set; recipes may give each data set its own."""
    keys: set[str] = set()
    for dataset in {record.dataset for record in records}:
        settings = [record.settings for record in records if record.dataset == dataset]
        for key in set().union(*settings) - _NOT_A_VARIANT:
            if len({str(values.get(key)) for values in settings}) > 1:
                keys.add(key)
    return sorted(keys)
