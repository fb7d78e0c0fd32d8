"""Jobs, the runs that a sweep plans: what one is, how it ended, and the state of its directory."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from promptkd import bounded, files
from promptkd.results import record
from promptkd.results.directory import measured_otherwise, read_configuration
from promptkd.results.record import RunRecord
from promptkd.results.settings import fingerprint
from promptkd.sweep.lock import holder
from promptkd.texts import clipped

LOG = "run.log"  # the run's output
FAILURE = "sweep.json"  # the run's last failure


@dataclass(frozen=True)
class Job:
    """A run of a sweep: a command that leaves results.json with this configuration hash in its directory."""

    name: str
    directory: Path
    command: tuple[str, ...]
    config_hash: str
    needs: tuple[str, ...] = ()  # names of jobs that must be done first: its teacher, its source
    epochs: int = 0
    eval_only: bool = False
    labelled: bool = True  # False: its images may have no labels, and its result no metrics
    moved_from: str = ""  # hash of the same run's configuration, before its teacher's folder was moved
    learned_hash: str = ""  # of its configuration without what only measures

    @property
    def hashes(self) -> tuple[str, ...]:
        """The configuration hashes that its result may have."""
        return (self.config_hash, self.moved_from) if self.moved_from else (self.config_hash,)

    def to_dict(self) -> dict[str, Any]:
        """The job as JSON can hold it."""
        lists = {"command": list(self.command), "needs": list(self.needs)}
        return asdict(self) | lists | {"directory": self.directory.as_posix()}

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Job:
        """The job that `to_dict` came from.

        Raises:
            ValueError: it is no such mapping; the message names the field.
        """
        if not isinstance(entries, dict):
            raise ValueError("a job is a mapping of its fields")
        hints: dict[str, type] = {"name": str, "directory": str, "command": list, "config_hash": str, "needs": list,
                                  "epochs": int, "eval_only": bool, "labelled": bool, "moved_from": str,
                                  "learned_hash": str}  # fmt: skip
        for key, value in entries.items():
            wanted, value = hints.get(key), list(value) if isinstance(value, tuple) else value
            texts = not isinstance(value, list) or all(isinstance(one, str) and "\0" not in one for one in value)
            if wanted is None or type(value) is not wanted or not texts or (isinstance(value, str) and "\0" in value):
                raise ValueError(f"{clipped(key, 40)} of a job is wrong")
        if lacking := [key for key in ("name", "directory", "command", "config_hash") if not entries.get(key)]:
            raise ValueError(f"a job lacks {', '.join(lacking)}")
        lists = {key: tuple(entries[key]) for key in ("command", "needs") if key in entries}
        return cls(**(dict(entries) | lists | {"directory": Path(entries["directory"])}))


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Its state is "done", "failed", "blocked" (a job that it needs failed), "lost" (by its cluster, for reasons that have
    nothing to do with the run), "interrupted" or "busy" (another process runs it).
    """

    name: str
    state: str
    detail: str = ""
    tail: tuple[str, ...] = ()  # last lines of its log
    deaths: tuple[str, ...] = ()  # of earlier attempts, as "SIGKILL"
    seconds: float = 0.0
    log: str = ""


def result_of(job: Job) -> RunRecord | None:
    """The job's result; None where its directory has no valid one of this configuration."""
    path = job.directory / record.FILE_NAME
    if not path.is_file():
        return None
    try:
        result = RunRecord.read(path, needs_metrics=job.labelled)
    except ValueError:
        return None
    same = result.config_hash in job.hashes and result.eval_only == job.eval_only
    return result if same else None


def damage_of(job: Job) -> str:
    """A sentence where the job's directory has a result that is damaged, so that it is run again; "" where not."""
    path = job.directory / record.FILE_NAME
    if not path.is_file():
        return ""
    try:
        RunRecord.read(path, needs_metrics=job.labelled)
    except ValueError as error:
        return f"{path} is {error}"
    return ""


def failure_of(job: Job) -> dict[str, Any] | None:
    """The job's last failure, as `record_failure` wrote it; None where there is none of this configuration."""
    try:
        failure = bounded.read_json(job.directory / FAILURE)
    except (OSError, ValueError):
        return None
    if not isinstance(failure, dict) or failure.get("config_hash") not in job.hashes:
        return None
    known = {"detail": "", "finished": ""} | failure
    tail = failure.get("tail")
    texts = [line for line in tail if isinstance(line, str)] if isinstance(tail, list) else []
    return known | {"tail": texts, "detail": str(known["detail"]), "finished": str(known["finished"])}


def state_of(job: Job) -> tuple[str, str]:
    """(state, detail): "done", "running", "failed", "unfinished" or "missing"."""
    if result_of(job):
        return "done", ""
    if owner := holder(job.directory):
        return "running", owner
    if failure := failure_of(job):
        return "failed", str(failure["detail"])
    done, damage = epochs_done(job), damage_of(job)
    return ("unfinished", damage or f"epoch {done} of {job.epochs}") if done else ("missing", damage)


def states_of(jobs: Sequence[Job]) -> dict[str, tuple[str, str]]:
    """Name -> (state, detail) of each job; "taken" is a directory with another configuration: train.py refuses that."""
    states = {}
    for job in jobs:
        state, detail = state_of(job)
        if state in ("missing", "unfinished", "failed") and (other := _other_configuration(job)):
            state, detail = "taken", other
        states[job.name] = state, detail
    return states


def _other_configuration(job: Job) -> str:
    """A sentence where the directory holds another configuration; "" where it does not."""
    if job.eval_only:
        return ""
    try:
        earlier = read_configuration(job.directory)
    except ValueError as error:
        return str(error)
    if earlier is None or fingerprint(earlier) in job.hashes:
        return ""
    if job.learned_hash == fingerprint(earlier, measuring=False):
        return measured_otherwise(job.directory)
    return f"{job.directory} holds another configuration"


def refuse_taken(states: Mapping[str, tuple[str, str]], output: str = "--output") -> None:
    """Raises ValueError where a job's directory holds another configuration; `output` names the option to change."""
    if taken := [detail for state, detail in states.values() if state == "taken"]:
        more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
        raise ValueError(f"{taken[0]}{more}: give another {output}, or remove it")


def epochs_done(job: Job) -> int:
    """Finished epochs, from the checkpoints."""
    numbers = [path.name.rpartition("-")[2] for path in job.directory.glob("*/model.pth.tar-*")]
    return max((int(number) for number in numbers if number.isdigit()), default=0)


def record_failure(job: Job, detail: str, tail: Sequence[str]) -> None:
    """Writes sweep.json, for `failure_of`; `tail` is the end of the run's log."""
    failure = {"config_hash": job.config_hash, "detail": detail, "tail": list(tail), "finished": now()}
    files.write_json(job.directory / FAILURE, failure)


def now() -> str:
    """The time, in UTC, in ISO's format, to the microsecond."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds")
