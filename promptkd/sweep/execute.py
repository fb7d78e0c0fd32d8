"""Runs one job of a sweep: once, however many sweeps ask for it.

    python promptkd job output/slurm/20260101T000000-7/jobs.json 3

runs the fourth job of a list that `python tools/sweep.py --engine slurm` wrote; `promptkd job` is the same command
where the project is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from promptkd import bounded
from promptkd.errors import describe
from promptkd.results import record
from promptkd.results.record import RunRecord
from promptkd.sweep.jobs import FAILURE, LOG, Job, Outcome, failure_of, now, record_failure, result_of
from promptkd.sweep.lock import POLL, DirectoryLock, holder
from promptkd.texts import one_line, plain

TAIL = 8  # lines of a failed run's log that a summary shows
GRACE = 60.0  # seconds that an interrupted run has to end by itself


@dataclass
class Stop:
    """Asks running processes to end; shared by all runs of an engine."""

    asked: threading.Event = field(default_factory=threading.Event)
    processes: set[subprocess.Popen[bytes]] = field(default_factory=set)

    def now(self) -> None:
        """Interrupts every run as Ctrl-C does; a second call kills them."""
        again = self.asked.is_set()
        self.asked.set()
        for process in list(self.processes):
            with contextlib.suppress(ProcessLookupError):
                if again:
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.send_signal(signal.SIGINT)


def execute(
    job: Job,
    environment: Mapping[str, str] | None = None,
    deaths_allowed: int = 2,
    since: str = "",
    stop: Stop | None = None,
    started: Callable[[], object] = lambda: None,
    folder: str | None = None,
) -> Outcome:
    """Runs a job unless it is done or another process runs it; a process that dies by a signal is started again.

    Args:
        job: what to run.
        environment: variables of the process beside this one's, as CUDA_VISIBLE_DEVICES.
        deaths_allowed: how often a killed process is started again. A run that ends with an error is not.
        since: a failure recorded after this time (ISO, UTC) is taken as it is: another sweep has just met it.
        stop: asks to end.
        started: called once, when the run really begins: the directory is locked, and has no result yet.
        folder: the process's current folder, for relative paths of its command; None is this process's.
    """
    stop = stop or Stop()
    start, log = time.time(), job.directory / LOG
    try:
        return _execute(job, environment or {}, deaths_allowed, since, stop, started, folder)
    except _UnusableDirectory as error:  # the other jobs go on
        detail = f"{job.directory} cannot be used: {describe(error.args[0])}"
        return Outcome(job.name, "failed", detail, seconds=time.time() - start, log=str(log))


class _UnusableDirectory(Exception):
    """A disk that is full or read-only, a folder that was removed; its argument is the system's error."""


@contextlib.contextmanager
def _files_of_job() -> Iterator[None]:
    """Turns an error of the system with a job's own files into one that ends this job alone."""
    try:
        yield
    except OSError as error:
        raise _UnusableDirectory(error) from error


def _execute(
    job: Job,
    environment: Mapping[str, str],
    deaths_allowed: int,
    since: str,
    stop: Stop,
    started: Callable[[], object],
    folder: str | None,
) -> Outcome:
    """`execute`, which makes a failure of an error with the job's own files."""
    start, log = time.time(), job.directory / LOG
    with _files_of_job():
        lock = DirectoryLock.take(job.directory)
    if lock is None:
        return Outcome(job.name, "busy", holder(job.directory) or "")
    with lock:
        before = [f"the death of {lock.abandoned}"] if lock.abandoned else []
        if result_of(job):
            outlived = f", by a run that outlived {lock.abandoned}" if lock.abandoned else ""
            return Outcome(job.name, "done", f"already{outlived}")
        failure = failure_of(job)
        if failure and since and failure["finished"] >= since:
            return Outcome(job.name, "failed", failure["detail"], tuple(failure["tail"]), log=str(log))
        started()
        outcome = _attempts(job, environment, lock, stop, deaths_allowed, folder)
        return replace(outcome, seconds=time.time() - start, log=str(log), deaths=(*before, *outcome.deaths))


def _attempts(
    job: Job, environment: Mapping[str, str], lock: DirectoryLock, stop: Stop, deaths_allowed: int, folder: str | None
) -> Outcome:
    """Runs the command until it ends by itself, has died too often, or is asked to stop."""
    deaths: list[str] = []
    while True:
        code = _process(job, environment, lock, stop, len(deaths) + 1, folder)
        if result_of(job):
            (job.directory / FAILURE).unlink(missing_ok=True)
            return Outcome(job.name, "done", deaths=tuple(deaths))
        if stop.asked.is_set() or code == 130:
            return Outcome(job.name, "interrupted", deaths=tuple(deaths))
        died = _signal_name(code)
        if died and len(deaths) < deaths_allowed:
            deaths.append(died)
            continue
        detail = f"killed by {died}, {len(deaths) + 1} times" if died else _reason(job, code)
        tail = tuple(_tail(job.directory / LOG))
        with contextlib.suppress(OSError):  # where the disk is full the next sweep meets the failure again
            record_failure(job, detail, tail)
        return Outcome(job.name, "failed", detail, tail, tuple(deaths))


def _process(
    job: Job, environment: Mapping[str, str], lock: DirectoryLock, stop: Stop, attempt: int, folder: str | None
) -> int:
    """Runs the command once with its output in the log; returns its exit code (negative: the signal that ended it)."""
    with _files_of_job():
        log = (job.directory / LOG).open("ab", buffering=0)
    with log:
        with _files_of_job():
            log.write(f"---- {now()} attempt {attempt}: {' '.join(job.command)}\n".encode())
        try:
            process = subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | dict(environment),
                pass_fds=(lock.descriptor,),
                start_new_session=True,  # a Ctrl-C reaches the sweep, which passes it on
            )
        except OSError as error:
            log.write(f"error: cannot start {job.command[0]}: {error}\n".encode())
            return 127
    return _wait(process, stop)


def _wait(process: subprocess.Popen[bytes], stop: Stop) -> int:
    """Waits for a process that may be asked to stop; returns its exit code."""
    stop.processes.add(process)
    try:
        if stop.asked.is_set():
            process.send_signal(signal.SIGINT)
        asked: float | None = None
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=0.2)
            if stop.asked.is_set():
                asked = asked or time.time()
                if time.time() - asked > GRACE:
                    os.killpg(process.pid, signal.SIGKILL)
    except KeyboardInterrupt:  # a Ray task that is cancelled
        stop.now()
        process.wait(timeout=GRACE)
        raise
    finally:
        stop.processes.discard(process)


def _signal_name(code: int) -> str:
    """The signal that ended a process, "" where it ended by itself; a shell adds 128 to it."""
    number = -code if code < 0 else code - 128 if code in (128 + signal.SIGKILL, 128 + signal.SIGTERM) else 0
    return signal.Signals(number).name if number else ""


def _reason(job: Job, code: int) -> str:
    """Why a process that ended by itself has left no result."""
    if code:
        tail = _tail(job.directory / LOG)
        errors = [line for line in tail if line.startswith("error: ")]
        errors = errors or [line for line in tail if "error" in line.lower()]
        return f"exit code {code}: {(errors or tail or ['no output'])[-1]}"
    path = job.directory / record.FILE_NAME
    try:
        RunRecord.read(path, needs_metrics=job.labelled)
    except ValueError as error:
        return f"ended well, but {path} is {error}" if path.is_file() else f"ended well, but left no {path}"
    return f"ended well, but {path} is of another configuration: has a recipe changed meanwhile?"


def _tail(log: Path) -> list[str]:
    """The last lines of a log; of a line that a progress bar rewrote, its last form; [] where the log is gone."""
    if not log.is_file():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        text = file.read().decode(errors="replace")
    lines = [plain(line.rstrip().rpartition("\r")[2]) for line in text.split("\n")]
    return [line for line in lines if line][-TAIL:]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one job of a list, or waits for it where another sweep runs it; the exit code is 0 where it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", type=Path, help="a list of jobs, as JSON")
    parser.add_argument("index", type=int, help="which of them, from 0")
    args = parser.parse_args(argv)
    try:
        jobs = [Job.from_dict(entries) for entries in bounded.read_json(args.jobs, bounded.LIST, bounded.LIST_VALUES)]
        job = jobs[args.index]
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        print(f"error: no job {args.index} in {args.jobs}: {one_line(error)}", file=sys.stderr)
        return 1
    needed = [other for other in jobs if other.name in job.needs and not result_of(other)]
    if needed:
        print(f"{job.name} needs {', '.join(other.name for other in needed)}, which is not done", file=sys.stderr)
        return 1
    while (outcome := execute(job)).state == "busy":
        time.sleep(POLL)
    print(f"{outcome.state} {job.name} {outcome.detail}\n" + "\n".join(outcome.tail), file=sys.stderr)
    return 0 if outcome.state == "done" else 1


command_line = main
