"""Runs of a sweep: what one is, how it ended, and what state its directory is in."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from promptkd.results import search as runs
from promptkd.results.directory import read_configuration
from promptkd.results.settings import fingerprint
from promptkd.sweep.lock import holder

LOG = "run.log"  # what a run prints
RECORD = "sweep.json"  # what is known of a run's last failure


@dataclass(frozen=True)
class Job:
    """One run: a command that leaves results.json with this configuration hash in its directory."""

    name: str
    directory: Path
    command: tuple[str, ...]
    config_hash: str
    needs: tuple[str, ...] = ()  # names of runs that must be done first: its teacher, its source
    epochs: int = 0
    eval_only: bool = False
    labelled: bool = True  # False: its images may have no labels, and its result no metrics

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"directory": self.directory.as_posix()}

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Job:
        """Takes `to_dict` back."""
        lists = {key: tuple(entries[key]) for key in ("command", "needs")}
        return cls(**(dict(entries) | lists | {"directory": Path(entries["directory"])}))


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Its state is "done", "failed", "blocked" (what it needs failed), "lost" (by its cluster, which tells nothing about
    the run), "interrupted" or "busy" (runs elsewhere).
    """

    name: str
    state: str
    detail: str = ""
    tail: tuple[str, ...] = ()  # last lines of its log
    deaths: tuple[str, ...] = ()  # how earlier attempts died, where they did
    seconds: float = 0.0
    log: str = ""


def result_of(job: Job) -> dict[str, Any] | None:
    """The run's result, where it has left a valid one of this configuration."""
    path = job.directory / "results.json"
    if not path.is_file():
        return None
    try:
        result = runs.read(path) if job.labelled else json.loads(path.read_text(encoding="utf-8"))
        same = result["config_hash"] == job.config_hash and result["eval_only"] == job.eval_only
    except (ValueError, KeyError, TypeError):
        return None
    return result if same else None


def failure_of(job: Job) -> dict[str, Any] | None:
    """What sweep.json says of the run's last failure, where there is one of this configuration."""
    try:
        record = json.loads((job.directory / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("config_hash") == job.config_hash else None


def state_of(job: Job) -> tuple[str, str]:
    """(state, detail): "done", "running", "failed", "unfinished" or "missing"."""
    if result_of(job):
        return "done", ""
    if owner := holder(job.directory):
        return "running", owner
    if failure := failure_of(job):
        return "failed", str(failure["detail"])
    done = epochs_done(job)
    return ("unfinished", f"epoch {done} of {job.epochs}") if done else ("missing", "")


def states_of(jobs: Sequence[Job]) -> dict[str, tuple[str, str]]:
    """Name -> (state, detail); "taken" is a directory that holds another configuration, which train.py would refuse."""
    states = {}
    for job in jobs:
        state, detail = state_of(job)
        if state in ("missing", "unfinished", "failed") and (other := _other(job)):
            state, detail = "taken", other
        states[job.name] = state, detail
    return states


def _other(job: Job) -> str:
    """What differs where a directory holds another configuration; "" where it does not."""
    if job.eval_only:
        return ""
    try:
        earlier = read_configuration(job.directory)
    except ValueError as error:
        return str(error)
    same = earlier is None or fingerprint(earlier) == job.config_hash
    return "" if same else f"{job.directory} holds another configuration"


def refuse_taken(states: Mapping[str, tuple[str, str]], output: str = "--output") -> None:
    """Raises ValueError where a run's directory holds another configuration; `output` is what names another place."""
    if taken := [detail for state, detail in states.values() if state == "taken"]:
        more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
        raise ValueError(f"{taken[0]}{more}: give another {output}, or remove it")


def epochs_done(job: Job) -> int:
    """Finished epochs, from the checkpoints."""
    numbers = [path.name.rpartition("-")[2] for path in job.directory.glob("*/model.pth.tar-*")]
    return max((int(number) for number in numbers if number.isdigit()), default=0)


def record_failure(job: Job, detail: str, tail: Sequence[str]) -> None:
    """Leaves sweep.json, which `failure_of` reads; `tail` is the end of the run's log."""
    record = {"config_hash": job.config_hash, "detail": detail, "tail": list(tail), "finished": now()}
    partial = job.directory / f".{RECORD}.{os.getpid()}.part"
    partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, job.directory / RECORD)


def now() -> str:
    """ISO, UTC, to the microsecond."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds")
