"""Running one run of a sweep once, however many sweeps ask for it.

    python -m tools.running output/sweep/jobs.json 3

runs the fourth run of a list that `tools.sweep --engine slurm` wrote.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from promptkd.results import search as runs
from promptkd.sweep.jobs import LOG, RECORD, Job, Outcome, failure_of, now, record_failure, result_of
from promptkd.sweep.lock import POLL, Claim, holder

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
) -> Outcome:
    """Runs a job unless it is done or runs elsewhere; a process that dies by a signal is started again.

    Args:
        job: the run.
        environment: variables of the process beside this one's, as CUDA_VISIBLE_DEVICES.
        deaths_allowed: how often a killed process is started again. A run that ends with an error is not.
        since: a failure recorded after this time (ISO, UTC) is taken as it is: another sweep has just met it.
        stop: asks to end.
        started: called once, where the run really begins: its claim is taken, and its result not there.
    """
    stop = stop or Stop()
    start, log = time.time(), job.directory / LOG
    claim = Claim.take(job.directory)
    if claim is None:
        return Outcome(job.name, "busy", holder(job.directory) or "")
    with claim:
        before = [f"the death of {claim.abandoned}"] if claim.abandoned else []
        if result_of(job):
            outlived = f", by a run that outlived {claim.abandoned}" if claim.abandoned else ""
            return Outcome(job.name, "done", f"already{outlived}")
        failure = failure_of(job)
        if failure and since and failure["finished"] >= since:
            return Outcome(job.name, "failed", failure["detail"], tuple(failure["tail"]), log=str(log))
        started()
        outcome = _attempts(job, environment or {}, claim, stop, deaths_allowed)
        return replace(outcome, seconds=time.time() - start, log=str(log), deaths=(*before, *outcome.deaths))


def _attempts(job: Job, environment: Mapping[str, str], claim: Claim, stop: Stop, deaths_allowed: int) -> Outcome:
    deaths: list[str] = []
    while True:
        code = _process(job, environment, claim, stop, len(deaths) + 1)
        if result_of(job):
            (job.directory / RECORD).unlink(missing_ok=True)
            return Outcome(job.name, "done", deaths=tuple(deaths))
        if stop.asked.is_set() or code == 130:
            return Outcome(job.name, "interrupted", deaths=tuple(deaths))
        died = _signal_name(code)
        if died and len(deaths) < deaths_allowed:
            deaths.append(died)
            continue
        detail = f"killed by {died}, {len(deaths) + 1} times" if died else _reason(job, code)
        tail = tuple(_tail(job.directory / LOG))
        record_failure(job, detail, tail)
        return Outcome(job.name, "failed", detail, tail, tuple(deaths))


def _process(job: Job, environment: Mapping[str, str], claim: Claim, stop: Stop, attempt: int) -> int:
    """Runs the command once with its output in the log; returns its exit code (negative: the signal that ended it)."""
    with (job.directory / LOG).open("ab", buffering=0) as log:
        log.write(f"---- {now()} attempt {attempt}: {' '.join(job.command)}\n".encode())
        try:
            process = subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | dict(environment),
                pass_fds=(claim.descriptor,),
                start_new_session=True,  # a Ctrl-C reaches the sweep, which passes it on
            )
        except OSError as error:
            log.write(f"error: cannot start {job.command[0]}: {error}\n".encode())
            return 127
    stop.processes.add(process)
    try:
        if stop.asked.is_set():
            process.send_signal(signal.SIGINT)
        asked = None
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
    if code:
        tail = _tail(job.directory / LOG)
        said = [line for line in tail if "error" in line.lower()]
        return f"exit code {code}: {(said or tail or ['no output'])[-1][:200]}"
    path = job.directory / "results.json"
    try:
        runs.read(path)
    except ValueError as error:
        return f"ended well, but {path} is {error}" if path.is_file() else f"ended well, but left no {path}"
    return f"ended well, but {path} is of another configuration: has a recipe changed meanwhile?"


def _tail(log: Path) -> list[str]:
    """The last lines of a log; of a line that a progress bar rewrote, its last form."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        text = file.read().decode(errors="replace")
    lines = [line.rstrip().rpartition("\r")[2] for line in text.split("\n")]
    return [line for line in lines if line][-TAIL:]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one job of a list, or waits for it where another sweep runs it; the exit code says whether it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", type=Path)
    parser.add_argument("index", type=int)
    args = parser.parse_args(argv)
    listed = [Job.from_dict(entries) for entries in json.loads(args.jobs.read_text(encoding="utf-8"))]
    job = listed[args.index]
    needed = [other for other in listed if other.name in job.needs and not result_of(other)]
    if needed:
        print(f"{job.name} needs {', '.join(other.name for other in needed)}, which is not done", file=sys.stderr)
        return 1
    while (outcome := execute(job)).state == "busy":
        time.sleep(POLL)
    print(f"{outcome.state} {job.name} {outcome.detail}\n" + "\n".join(outcome.tail), file=sys.stderr)
    return 0 if outcome.state == "done" else 1


command_line = main
