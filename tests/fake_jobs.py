"""Runs of tests/fake_run.py for the tests of sweeps, and sweeping them in this process."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from made_up import result

from promptkd.sweep import command as sweep
from promptkd.sweep.jobs import Job, Outcome, states_of

FAKE = Path(__file__).with_name("fake_run.py")


def job(root: Path, name: str, behaviour: str = "ok", needs: tuple[Job, ...] = (), seed: int = 1, **entries) -> Job:
    """A run that behaves as fake_run.py says; `entries` of its results.json."""
    content = result("CoOp", name, seed, **entries)
    directory = root / name
    directory.mkdir(parents=True, exist_ok=True)
    checked = [str(other.directory) for other in needs]
    command = (sys.executable, str(FAKE), str(directory), json.dumps(content), behaviour, *checked)
    return Job(name, directory, command, content["config_hash"], tuple(other.name for other in needs))


def starts(*jobs: Job) -> list[int]:
    """How often each was started."""
    files = [job.directory / "starts" for job in jobs]
    return [len(file.read_text().splitlines()) if file.exists() else 0 for file in files]


def options(*words: str) -> argparse.Namespace:
    """A command line of the sweep."""
    return sweep.parser().parse_args(list(words))


def run_all(jobs: list[Job], *words: str) -> dict[str, Outcome]:
    """Sweeps the jobs; name -> how it ended."""
    outcomes = sweep.run(jobs, states_of(jobs), options(*words))
    return {outcome.name: outcome for outcome in outcomes}


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Waits; fails where it does not happen."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
