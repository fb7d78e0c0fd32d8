"""Runs of a sweep on this machine: one after the other, or several at a time, each pinned to its GPU."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from tools.jobs import Job, Outcome
from tools.progress import Progress
from tools.running import Stop, execute

POLL = 1.0  # seconds between looks at runs of other sweeps, and between views
DEATHS = 2  # how often a killed run is started again


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    import torch  # only where it is needed

    return [str(number) for number in range(torch.cuda.device_count())]


def slots(workers: int, per_gpu: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """Environment of each run that goes at a time.

    Args:
        workers: how many at a time; 0 is `per_gpu` on each GPU, and 1 where there is none.
        per_gpu: how many share a GPU.
        gpus: visible GPUs; each run sees one of them.

    Raises:
        ValueError: more workers than the GPUs take.
    """
    if gpus:
        places = [{"CUDA_VISIBLE_DEVICES": gpu} for _ in range(per_gpu) for gpu in gpus]
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
    """Runs the jobs on this machine, as many at a time as there are places; each after what it needs.

    A Ctrl-C ends the running ones as it would train.py; what is left is reported as interrupted.

    Args:
        jobs: what to run.
        known: how runs ended that are not to run now.
        places: environment of each run that goes at a time.
        progress: told of what starts and ends.
        since: see `execute`.
    """
    stop = Stop()
    outcomes: dict[str, Outcome] = {}
    waiting, free = list(jobs), list(places)
    later: dict[str, float] = {}  # run of another sweep -> when to look again
    running: dict[Future[Outcome], tuple[Job, dict[str, str]]] = {}
    with _signals_noted() as calls, ThreadPoolExecutor(max_workers=len(places)) as pool:
        while running or (waiting and not stop.asked.is_set()):
            while free and not stop.asked.is_set() and (job := _next(waiting, {**known, **outcomes}, later)):
                waiting.remove(job)
                if blocked := _blocked(job, {**known, **outcomes}):
                    outcomes[job.name] = blocked
                    progress.ended(blocked)
                    continue
                place = free.pop(0)
                running[pool.submit(execute, job, place, DEATHS, since, stop)] = (job, place)
                progress.started(job)
            progress.show()
            done = wait(running, timeout=POLL, return_when=FIRST_COMPLETED).done if running else set()
            if not running and waiting:
                time.sleep(POLL)  # all that is left runs elsewhere
            for _ in range(len(calls)):
                calls.pop()
                progress.say("Stopping: what runs ends; a second Ctrl-C kills it")
                stop.now()
            for future in done:
                job, place = running.pop(future)
                free.append(place)
                outcome = future.result()
                if outcome.state == "busy":
                    later[job.name] = time.monotonic() + POLL
                    waiting.append(job)
                    progress.elsewhere(job, outcome.detail)
                    continue
                outcomes[job.name] = outcome
                progress.ended(outcome)
    return [outcomes.get(job.name, Outcome(job.name, "interrupted", "not started")) for job in jobs]


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
    """The first job whose needs have ended and that is not known to run elsewhere."""
    now = time.monotonic()
    for job in waiting:
        if all(name in ended for name in job.needs) and later.get(job.name, 0) <= now:
            return job
    return None


def _blocked(job: Job, outcomes: Mapping[str, Outcome]) -> Outcome | None:
    missing = [name for name in job.needs if name in outcomes and outcomes[name].state != "done"]
    return Outcome(job.name, "blocked", f"needs {', '.join(missing)}") if missing else None
