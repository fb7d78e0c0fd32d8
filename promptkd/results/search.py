"""The runs under output folders; each results.json that does not count is named, with the reason."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from promptkd.home import shown_command
from promptkd.results.measured import Way, values_of, way_of
from promptkd.results.record import FILE_NAME, RunRecord
from promptkd.texts import closest


@dataclass(frozen=True)
class Run:
    """A results.json that counts: its path and its content."""

    path: Path
    record: RunRecord

    @property
    def directory(self) -> Path:
        """The run's directory."""
        return self.path.parent

    @cached_property
    def values(self) -> dict[str, float]:
        """Every percentage of the run by its metric; see `values_of`."""
        return values_of(self.record)

    @cached_property
    def ways(self) -> dict[str, Way]:
        """Metric -> how it was measured, of those of which anything is to be said; see `way_of`."""
        return {metric: way for metric in self.values if (way := way_of(self.record, metric))}


@dataclass(frozen=True)
class LeftOut:
    """A results.json that does not count, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def find(*outputs: str | Path) -> tuple[list[Run], list[LeftOut]]:
    """Every results.json under the folders: those that count, sorted by path, and those that do not.

    Of several with one configuration hash and one data set to learn on, the first that finished counts, and a training
    before its evaluations. Links to folders are followed.

    Raises:
        FileNotFoundError: no such output folder.
    """
    runs: list[Run] = []
    left_out: list[LeftOut] = []
    seen: set[Path] = set()
    for path in _result_files(outputs):
        if path.resolve() in seen:
            continue  # one file, linked from several folders, is no duplicate
        seen.add(path.resolve())
        try:
            runs.append(Run(path, RunRecord.read(path)))
        except ValueError as error:
            left_out.append(LeftOut(path, str(error)))
    kept: dict[tuple[str, str | None], Run] = {}
    for run in sorted(runs, key=lambda run: (run.record.eval_only, run.record.finished, run.path.as_posix())):
        # the hash does not cover what an evaluation's model learned on
        first = kept.setdefault((run.record.config_hash, run.record.learned_on), run)
        if first is not run:
            left_out.append(LeftOut(run.path, _second_of(first, run)))
    return sorted(kept.values(), key=lambda run: run.path), sorted(left_out, key=lambda item: item.path)


def _second_of(first: Run, run: Run) -> str:
    """The reason to leave out a run of the same configuration as an earlier one."""
    evaluation = run.record.eval_only and not first.record.eval_only
    reason = f"evaluation of {first.path}" if evaluation else f"duplicate: {first.path} has the same configuration"
    return reason if first.record.accuracies == run.record.accuracies else f"{reason}, with other numbers"


def _result_files(outputs: Sequence[str | Path]) -> Iterator[Path]:
    """Each results.json once, by its own path rather than a link's where both lie under the folders."""
    for output in map(Path, outputs):
        if not output.is_dir():
            commands = f"{shown_command('train')} or {shown_command('sweep')}"
            raise FileNotFoundError(f"no output folder {output}: run {commands} first, or name another")
    visited: set[str] = set()
    pending = [str(output) for output in outputs]
    for top in pending:  # grows by the links on the way
        for folder, inner, names in os.walk(top):
            real = os.path.realpath(folder)
            if real in visited:  # folders given twice or inside each other, and links that go in circles
                inner.clear()
                continue
            visited.add(real)
            inner.sort()
            pending += [path for path in (os.path.join(folder, name) for name in inner) if os.path.islink(path)]
            if FILE_NAME in names:
                yield Path(folder) / FILE_NAME


def where(runs: Sequence[Run], conditions: Sequence[str]) -> list[Run]:
    """The runs that meet all conditions `KEY=VALUE[,VALUE...]`, as `seed=1,2` or `teacher.backbone=ViT-L/14`.

    Text is compared without regard to case; a run without that entry matches no value.

    Raises:
        ValueError: a condition of another form, or a key that no run has; the message gives the closest.
    """
    for condition in conditions:
        key, sign, wanted = condition.partition("=")
        if not (key and sign):
            raise ValueError(f"--where {condition!r}: write KEY=VALUE, as trainer=PromptKD")
        accepted = {value.strip().lower() for value in wanted.split(",")}
        contents = [run.record.to_dict() for run in runs]
        values = [_text_of(content, key) for content in contents]
        if runs and all(value is None for value in values):
            names = sorted({name for content in contents for name in content})
            close = closest(key, names, 0.5)
            hint = f"closest: {close}" if close else f"there are {', '.join(names)}"
            raise ValueError(f"--where {condition!r}: no run has an entry {key}; {hint}")
        runs = [run for run, value in zip(runs, values, strict=True) if value in accepted]
    return list(runs)


def entry(content: Mapping[str, Any], key: str) -> Any:
    """An entry of results.json by its dotted name; keys with dots in themselves are possible, too.

    Raises:
        KeyError: no such entry.
    """
    if key in content:
        return content[key]
    head, _, rest = key.partition(".")
    if rest and isinstance(content.get(head), Mapping):
        return entry(content[head], rest)
    raise KeyError(key)


def _text_of(content: Mapping[str, Any], key: str) -> str | None:
    """An entry as text in lower case, None where there is none."""
    try:
        return str(entry(content, key)).lower()
    except KeyError:
        return None
