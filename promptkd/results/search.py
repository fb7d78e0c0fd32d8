"""The runs under an output folder, read from their results.json; what cannot be counted is named and left out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

FORMAT = 1
# What a table needs, and the types it may have.
FIELDS: dict[str, tuple[type, ...]] = {
    "trainer": (str,), "backbone": (str,), "teacher": (dict, type(None)), "dataset": (str,), "protocol": (str,),
    "transductive": (bool,), "shots": (int,), "seed": (int,), "selection": (str,), "eval_only": (bool,),
    "metrics": (dict,), "config_hash": (str,), "finished": (str,),
}  # fmt: skip
# What a table or the page reads where it is there, and the types it may have.
OPTIONAL: dict[str, tuple[type, ...]] = {
    "settings": (dict,), "learned_on": (str, type(None)), "data_root": (str,), "versions": (dict, type(None)),
    "command": (list, type(None)), "learned_parameters": (int, float, type(None)),
}  # fmt: skip
GROUPS = ("base", "new", "all")


@dataclass(frozen=True)
class Run:
    """One results.json that counts."""

    path: Path
    result: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        """Entries of results.json as attributes."""
        try:
            return self.__dict__["result"][name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def values(self) -> dict[str, float]:
        """Percentages of the tables: "base", "new" and "hm", or "all"."""
        found = {group: float(self.metrics[group]["accuracy"]) for group in GROUPS if group in self.metrics}
        if {"base", "new"} <= found.keys():
            found["hm"] = harmonic_mean(found["base"], found["new"])
        return found


@dataclass(frozen=True)
class LeftOut:
    """A results.json that does not count, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def harmonic_mean(base: float, new: float) -> float:
    """`2 b n / (b + n)` of two accuracies in percent, 0 where either is 0 (CoCoOp, arXiv 2203.05557)."""
    return 2 * base * new / (base + new) if base > 0 and new > 0 else 0.0


def find(*outputs: str | Path) -> tuple[list[Run], list[LeftOut]]:
    """Every results.json under the folders: those that count, sorted by path, and those that do not.

    Of several with one configuration hash that learned on one data set the first that finished counts, and a run
    before its evaluations. Links to folders are followed.

    Raises:
        FileNotFoundError: an output folder is not there.
    """
    runs, left_out, seen = [], [], set()
    for path in _files(outputs):
        if path.resolve() in seen:
            continue  # one file, linked from several folders, is no duplicate
        seen.add(path.resolve())
        try:
            runs.append(Run(path, read(path)))
        except ValueError as error:
            left_out.append(LeftOut(path, str(error)))
    kept: dict[tuple[str, str | None], Run] = {}
    for run in sorted(runs, key=lambda run: (run.eval_only, run.finished, run.path.as_posix())):
        # the hash does not tell what an evaluation's model learned on
        first = kept.setdefault((run.config_hash, run.result.get("learned_on")), run)
        if first is not run:
            again = run.eval_only and not first.eval_only
            kind = f"evaluation of {first.path}" if again else f"duplicate: {first.path} has the same configuration"
            left_out.append(LeftOut(run.path, kind + ("" if first.values == run.values else ", with other numbers")))
    return sorted(kept.values(), key=lambda run: run.path), sorted(left_out, key=lambda item: item.path)


def read(path: Path) -> dict[str, Any]:
    """One results.json.

    Raises:
        ValueError: it is broken, not one of this project's, of another format, or not whole; the message says which.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"broken: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ValueError("broken: no text") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"broken: no JSON from line {error.lineno} on ({error.msg})") from error
    except RecursionError as error:
        raise ValueError("broken: nested too deep") from error
    if not isinstance(result, dict) or "format" not in result or not {"trainer", "metrics"} & result.keys():
        raise ValueError("foreign: no result of train.py")
    if result["format"] != FORMAT:
        raise ValueError(f"format {result['format']!r}: this version reads {FORMAT}")
    if missing := [key for key in FIELDS if key not in result]:
        raise ValueError(f"partial: lacks {', '.join(missing)}")
    for key, types in (FIELDS | OPTIONAL).items():
        value = result.get(key)
        if key in result and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
            raise ValueError(f"broken: {key} is {_clipped(value)}")
    _check_metrics(result["metrics"])
    _check_teacher(result["teacher"] or {})
    return result


def _check_metrics(metrics: Mapping[str, Any]) -> None:
    if not metrics:
        raise ValueError("predictions only: it had no labelled test images")
    groups = [group for group in GROUPS if group in metrics]
    if not groups:
        raise ValueError(f"partial: metrics have none of {', '.join(GROUPS)}")
    for group in groups:
        values = metrics[group]
        accuracy = values.get("accuracy") if isinstance(values, dict) else None
        if not isinstance(accuracy, (int, float)) or isinstance(accuracy, bool):
            raise ValueError(f"partial: no accuracy of {group}")
        if not _is_percentage(accuracy):
            raise ValueError(f"broken: accuracy of {group} is {_clipped(accuracy)}, no percentage")
    if {"base", "new"} <= metrics.keys() and "hm" in metrics:
        hm = harmonic_mean(metrics["base"]["accuracy"], metrics["new"]["accuracy"])
        if not _is_percentage(metrics["hm"]) or not abs(metrics["hm"] - hm) < 0.01:
            raise ValueError(f"broken: hm is {_clipped(metrics['hm'])}, but that of its base and new is {hm:.2f}")
    for group, values in metrics.items():
        classes = values.get("per_class", {}) if isinstance(values, dict) else {}
        if not isinstance(classes, dict) or not all(map(_is_percentage, classes.values())):
            raise ValueError(f"broken: per_class of {group} is no mapping of classes to percentages")


def _check_teacher(teacher: Mapping[str, Any]) -> None:
    metrics = teacher.get("metrics") or {}
    groups = [value for value in metrics.values() if isinstance(value, dict)] if isinstance(metrics, dict) else [{}]
    if not all(_is_percentage(group.get("accuracy")) for group in groups):
        raise ValueError("broken: teacher.metrics is no mapping of class groups to their accuracies")


def _is_percentage(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 100  # NaN is none


def _clipped(value: Any) -> str:
    """A value on one line that a terminal can hold."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _files(outputs: Sequence[str | Path]) -> Iterator[Path]:
    """Each results.json once, by its own path rather than a link's where both lie under the folders."""
    visited: set[str] = set()
    for output in map(Path, outputs):
        if not output.is_dir():
            raise FileNotFoundError(f"no output folder {output}: run train.py or tools.sweep first, or name another")
    later = [str(output) for output in outputs]
    for top in later:  # grows by the links that are found
        for folder, inner, files in os.walk(top):
            real = os.path.realpath(folder)
            if real in visited:  # folders given twice or inside each other, and links that go in circles
                inner.clear()
                continue
            visited.add(real)
            inner.sort()
            later += [path for path in (os.path.join(folder, name) for name in inner) if os.path.islink(path)]
            if "results.json" in files:
                yield Path(folder) / "results.json"


def entry(result: Mapping[str, Any], key: str) -> Any:
    """An entry of results.json by its dotted name; keys that have dots themselves are found too.

    Raises:
        KeyError: there is none.
    """
    if key in result:
        return result[key]
    head, _, rest = key.partition(".")
    if rest and isinstance(result.get(head), Mapping):
        return entry(result[head], rest)
    raise KeyError(key)


def where(runs: Sequence[Run], conditions: Sequence[str]) -> list[Run]:
    """The runs that meet all conditions `KEY=VALUE[,VALUE...]`, as `seed=1,2` or `teacher.backbone=ViT-L/14`.

    Text is compared without regard to case; an entry that a run lacks matches no value.

    Raises:
        ValueError: a condition of another form, or a key that no run has; the message gives the closest.
    """
    for condition in conditions:
        key, sign, wanted = condition.partition("=")
        if not (key and sign):
            raise ValueError(f"--where {condition!r}: write KEY=VALUE, as trainer=PromptKD")
        values = {value.strip().lower() for value in wanted.split(",")}
        found = [(run, _shown(run.result, key)) for run in runs]
        if runs and all(value is None for _, value in found):
            names = sorted({name for run in runs for name in run.result})
            close = get_close_matches(key, names, n=1, cutoff=0.5)
            hint = f"closest: {close[0]}" if close else f"there are {', '.join(names)}"
            raise ValueError(f"--where {condition!r}: no run has an entry {key}; {hint}")
        runs = [run for run, value in found if value in values]
    return list(runs)


def _shown(result: Mapping[str, Any], key: str) -> str | None:
    try:
        return str(entry(result, key)).lower()
    except KeyError:
        return None
