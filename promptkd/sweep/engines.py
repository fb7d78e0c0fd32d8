"""The engine of this machine: runs one job after the other, or several at a time, each pinned to its GPU."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from promptkd.home import RUNS_PER_GPU
from promptkd.sweep.execute import Stop, execute
from promptkd.sweep.jobs import Job, Outcome
from promptkd.sweep.lock import outlived
from promptkd.sweep.progress import Progress

POLL = 1.0  # seconds between looks at runs of other sweeps, and between views
DEATHS = 2  # how often a killed run is started again


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    import torch  # slow, and only needed here

    return [str(number) for number in range(torch.cuda.device_count())]


def slots(workers: int, per_gpu: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """The places for runs: as many as run at a time, each with its environment variables.

    Args:
        workers: how many run at a time; 0 is `per_gpu` on each GPU, and 1 where there is none.
        per_gpu: how many share a GPU.
        gpus: visible GPUs; each run sees one of them.

    Raises:
        ValueError: more workers than the GPUs take.
    """
    if gpus:
        shared = {RUNS_PER_GPU: str(per_gpu)} if per_gpu > 1 else {}
        places = [{"CUDA_VISIBLE_DEVICES": gpu} | shared for _ in range(per_gpu) for gpu in gpus]
        if workers > len(places):
            needed = -(-workers // len(gpus))
            raise ValueError(f"{workers} workers on {len(gpus)} GPUs: set --per-gpu {needed} to let runs share them")
        return places[: workers or len(places)]
    count = workers or 1
    threads = max(1, (os.cpu_count() or 1) // count)
    return [{} if count == 1 else {"OMP_NUM_THREADS": str(threads)} for _ in range(count)]


def run_local(
    jobs: Sequence[Job], known: Mapping[str, Outcome], places: Sequence[dict[str, str]], progress: Progress, since: str
) -> list[Outcome]:
    """Runs jobs on this machine, as many at a time as there are places; each after the jobs that it needs.

    A Ctrl-C ends the running ones as it would train.py; the outcome of the others is "interrupted".

    Args:
        jobs: what to run.
        known: the outcomes of jobs that are not to run now.
        places: the environment variables of each run that goes at a time.
        progress: shows what starts and ends.
        since: see `execute`.
    """
    runs = _LocalRuns(known, progress, since, list(places))
    # The runs that a killed sweep left behind count among the workers, so they come before anything new.
    runs.waiting = sorted(jobs, key=lambda job: not outlived(job.directory))
    with _signals_noted() as calls, ThreadPoolExecutor(max_workers=len(places)) as pool:
        while runs.running or (runs.waiting and not runs.stop.asked.is_set()):
            runs.start(pool)
            progress.show()
            done = wait(runs.running, timeout=POLL, return_when=FIRST_COMPLETED).done if runs.running else set()
            if not runs.running and runs.waiting:
                time.sleep(POLL)  # other sweeps run all that is left
            for _ in range(len(calls)):
                calls.pop()
                progress.say("Stopping: what runs ends; a second Ctrl-C kills it")
                runs.stop.now()
            for future in done:
                runs.finish(future, pool)
    return [runs.outcomes.get(job.name, Outcome(job.name, "interrupted", "not started")) for job in jobs]


@dataclass
class _LocalRuns:
    """The jobs of a sweep on this machine: those that wait, that run and that have ended."""

    known: Mapping[str, Outcome]
    progress: Progress
    since: str
    free: list[dict[str, str]]  # places
    waiting: list[Job] = field(default_factory=list)
    stop: Stop = field(default_factory=Stop)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    later: dict[str, float] = field(default_factory=dict)  # job that another sweep runs -> when to look again
    running: dict[Future[Outcome], tuple[Job, dict[str, str]]] = field(default_factory=dict)

    def start(self, pool: ThreadPoolExecutor) -> None:
        """Gives each free place a job."""
        while self.free and not self.stop.asked.is_set():
            ended = {**self.known, **self.outcomes}
            job = _next(self.waiting, ended, self.later)
            if job is None:
                return
            self.waiting.remove(job)
            if outcome := blocked(job, ended):
                self.outcomes[job.name] = outcome
                self.progress.ended(outcome)
            else:
                self._submit(pool, job, self.free.pop(0), 0.0)

    def finish(self, future: Future[Outcome], pool: ThreadPoolExecutor) -> None:
        """Takes the outcome of a job; a run that a killed sweep left behind keeps the place until it has ended."""
        job, place = self.running.pop(future)
        outcome = future.result()
        if outcome.state == "busy":
            self.progress.elsewhere(job, outcome.detail)
            if outlived(job.directory):
                self._submit(pool, job, place, POLL)
                return
            self.later[job.name] = time.monotonic() + POLL
            self.waiting.append(job)
        else:
            self.outcomes[job.name] = outcome
            self.progress.ended(outcome)
        self.free.append(place)

    def _submit(self, pool: ThreadPoolExecutor, job: Job, place: dict[str, str], delay: float) -> None:
        def attempt() -> Outcome:
            if delay and self.stop.asked.wait(delay):
                return Outcome(job.name, "interrupted", "goes on without this sweep")
            return execute(job, place, DEATHS, self.since, self.stop, lambda: self.progress.started(job))

        self.running[pool.submit(attempt)] = (job, place)


@contextlib.contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """Notes each SIGINT and SIGTERM in a list instead of raising where a run would be lost."""
    calls: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield calls  # signals are the main thread's
        return
    before = {
        number: signal.signal(number, lambda got, _: calls.append(got)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield calls
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _next(waiting: Sequence[Job], ended: Mapping[str, Outcome], later: Mapping[str, float]) -> Job | None:
    """The first job whose needs have ended and that no other sweep was running a moment ago."""
    now = time.monotonic()
    for job in waiting:
        if all(name in ended for name in job.needs) and later.get(job.name, 0) <= now:
            return job
    return None


def blocked(job: Job, outcomes: Mapping[str, Outcome]) -> Outcome | None:
    """The outcome of a job that cannot run, because one that it needs has no result; None for any other job."""
    missing = [name for name in job.needs if name in outcomes and outcomes[name].state != "done"]
    return Outcome(job.name, "blocked", f"needs {', '.join(missing)}") if missing else None
