"""Runs -> summaries: which runs belong to one row of a table, and which settings tell rows apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from promptkd.results.measured import added_to
from promptkd.results.record import RunRecord
from promptkd.results.search import Run
from promptkd.results.settings import measures
from promptkd.tables.summaries import ALL, ELSEWHERE, NOTHING, Method, Summaries, Summary

TEACHER = "TRAINER.PROMPTKD.TEACHER"  # a path, which differs between data sets and, where each has its own, seeds
TEACHERS = "TRAINER.PROMPTKD.TEACHERS"  # several of them, in its place
POOL = ("POOL.IMBALANCE", "POOL.DROP_CLASSES", "POOL.FOREIGN_SHARE")  # a part of each row's name
# Settings in other columns of a row, or different between seeds of one method: never a reason for another row.
_NOT_A_VARIANT = {"SEED", "DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "TRAINER.NAME",
                  "MODEL.BACKBONE.NAME", "TRAINER.MODAL", TEACHER, TEACHERS, *POOL}  # fmt: skip


def short(backbone: str) -> str:
    """A backbone's name; of a path, the file's."""
    path = PurePosixPath(backbone)
    return path.name if path.suffix in (".pt", ".pth", ".safetensors", ".bin") or path.is_absolute() else backbone


def method_of(record: RunRecord) -> Method:
    """The row that a run belongs to, before rows are split by their settings."""
    name = record.teacher_name(short) or ("unknown teacher" if record.teacher else "")
    shots = record.shots if record.shots > 0 else ALL
    if record.learned_parameters == 0 and not record.learned_on:
        shots = NOTHING  # whatever few-shot list lay ready
    return Method(
        record.protocol,
        record.transductive,
        record.trainer,
        short(record.backbone),
        name,
        shots,
        record.selection + ("" if record.split == "test" else ", measured on validation images"),
        (record.learned_on or "") if record.protocol in ELSEWHERE else "",
        pool=", ".join(filter(None, [pool_of(record.settings), *seen_of(record)])),
        foreign=foreign_of(record),
    )


def foreign_of(record: RunRecord) -> str:
    """The repository and commit of somebody's code that was run, as `CoOp@ff61507`; "" of a run of ours."""
    about = record.foreign or {}
    commit = str(about.get("commit") or about.get("digest", ""))[:7]
    changed = "+" if about.get("changed") else ""
    return f"{about.get('repository', '')}@{commit}{changed}" if about else ""


def pool_of(settings: Mapping[str, Any]) -> str:
    """How a run's unlabelled images differ from the benchmark's, "" where they do not: `pool 1:10, 30 % foreign`."""
    ratio, dropped, share = (settings.get(key) for key in POOL)
    parts = [f"1:{ratio:g}"] if isinstance(ratio, (int, float)) else []
    parts += [f"without {dropped} classes"] if dropped else []
    parts += [f"{100 * share:g} % foreign"] if isinstance(share, (int, float)) else []
    return f"pool {', '.join(parts)}" if parts else ""


def seen_of(record: RunRecord) -> list[str]:
    """What a row's name says of a run that saw more than its rivals: the very test images, or each one's class group.

    Every method is measured on each class group among its own classes; one whose labels are made anew for each group
    also adapts to it.
    """
    seen = record.seen or {}
    labels = seen.get("pseudo_labels")
    by_group = record.protocol == "base2new" and isinstance(labels, dict) and {"base", "new"} <= labels.keys()
    tested = seen.get("from") in ("test images", "test split")  # the second in results of before
    notes = {"learned from the test images": tested, "adapted to each class group": by_group}
    return [note for note, holds in notes.items() if holds]


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
    teachers = {_directory_name(place) for run in runs for place in places_of(run.record)}
    summaries: Summaries = {}
    remarks: list[str] = []
    for method, members in sorted(grouped.items()):
        for variant, alike in _variants(members).items():
            teaches = all(_directory_name(run.directory) in teachers for run in alike)
            row = summaries.setdefault(replace(method, variant=variant, teaches=teaches), {})
            # a training counts before an evaluation, and one that was measured in addition before one that was not
            for run in sorted(alike, key=lambda run: (run.record.eval_only, not added_to(run.record))):
                if remark := _counted(row.setdefault(run.record.dataset, Summary()), run):
                    remarks.append(remark)
    return summaries, remarks


def _counted(summary: Summary, run: Run) -> str:
    """Counts a run among those of its method and data set; of a second one of its seed the remark on that.

    Where its model is the first one's, by all accuracies, what it measured in addition counts.
    """
    first = next((one for one in summary.runs if one.record.seed == run.record.seed), None)
    if first is None:
        summary.runs.append(run)
        return ""
    if (added := added_to(run.record)) and first.record.accuracies == run.record.accuracies:
        summary.again.append(run)
        return f"{run.path}: {first.path} again, measured in addition: only its {', '.join(added)} may count"
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
        differing |= set().union(*words_of_each) - words_of_each[0].intersection(*words_of_each)
    return ["+".join(word for word in words if word in differing) or words[-1] for _, words in paths]


def taught_by(record: RunRecord) -> str:
    """The path or name of a student's teacher, of several joined by "+"; "" where there is none."""
    return "+".join(places_of(record))


def places_of(record: RunRecord) -> list[str]:
    """The paths or names of a student's teachers, [""] where there are none."""
    several = record.settings.get(TEACHERS)
    if isinstance(several, list) and several:
        return [str(one) for one in several]
    return [str(record.settings.get(TEACHER) or (record.teacher or {}).get("source", ""))]


def _directory_name(directory: str | Path) -> tuple[str, ...]:
    """The part of a run's path that stays when the output moves: data set, shots, method, recipe and seed."""
    return Path(directory).absolute().parts[-5:]


def _differing(records: Sequence[RunRecord]) -> list[str]:
    """Settings that differ between runs of one data set; recipes may give each data set its own."""
    keys: set[str] = set()
    for dataset in {record.dataset for record in records}:
        settings = [record.settings for record in records if record.dataset == dataset]
        for key in filter(lambda one: not measures(one), set().union(*settings) - _NOT_A_VARIANT):
            if len({str(values.get(key)) for values in settings}) > 1:
                keys.add(key)
    return sorted(keys)
