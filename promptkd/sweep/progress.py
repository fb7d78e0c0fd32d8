"""The progress of a sweep: one view that is rewritten in a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Sequence
from typing import ClassVar, TextIO

from promptkd.sweep.jobs import LOG, Job, Outcome, epochs_done


class Progress:
    """Prints the end of each job once, and in a terminal a view of the running ones with epoch and ETA.

    Its methods may be called from several threads.

    Args:
        jobs: what the sweep is to run.
        stream: where it is printed.
    """

    waiting: ClassVar[str] = "waiting for {job.name}: {owner}"  # for a job that another sweep runs

    def __init__(self, jobs: Sequence[Job], stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.total = len(jobs)
        self.counts = dict.fromkeys(("done", "failed", "blocked", "lost", "interrupted"), 0)
        self._running: dict[str, tuple[Job, float, int]] = {}  # name -> job, start, epochs done before
        self._epochs: dict[str, list[tuple[int, float]]] = {}  # name -> epochs done and when that was seen
        self._elsewhere: dict[str, str] = {}
        self._lock = threading.RLock()
        self._lines = 0  # of the view that stands in the terminal
        self._shown = 0.0

    def started(self, job: Job) -> None:
        """Notes that a job starts."""
        with self._lock:
            self._epochs.pop(job.name, None)
            self._elsewhere.pop(job.name, None)
            self._running[job.name] = (job, time.time(), epochs_done(job))
            if not self.live:
                self.say(f"started {job.name}")

    def is_running(self, job: Job) -> bool:
        """Whether a job has started and not ended."""
        return job.name in self._running

    def elsewhere(self, job: Job, owner: str) -> None:
        """Notes that another sweep runs a job, or that one that was killed has left its run behind."""
        if job.name not in self._elsewhere:
            self.say(self.waiting.format(job=job, owner=owner))
        self._elsewhere[job.name] = owner

    def ended(self, outcome: Outcome) -> None:
        """Notes how a job ended."""
        with self._lock:
            self._running.pop(outcome.name, None)
            self._elsewhere.pop(outcome.name, None)
        self.counts[outcome.state] += 1
        notes = [outcome.detail] if outcome.detail else []
        notes += [f"started again after {', '.join(outcome.deaths)}"] if outcome.deaths else []
        notes += [_clock(outcome.seconds)] if outcome.seconds else []
        ended = sum(self.counts.values())
        self.say(f"[{ended}/{self.total}] {outcome.state} {outcome.name}" + (f" ({'; '.join(notes)})" if notes else ""))

    def say(self, line: str) -> None:
        """Prints a line that stays."""
        with self._lock:
            self._clear()
            print(line, file=self.stream, flush=True)
            self._shown = 0.0

    def show(self) -> None:
        """Rewrites the view, at most once a second."""
        if not self.live or time.monotonic() - self._shown < 1:
            return
        with self._lock:
            self._clear()
            columns, rows = shutil.get_terminal_size()
            lines = [self._line(*entry) for entry in self._running.values()]
            lines += [(name, f"run by {owner}") for name, owner in self._elsewhere.items()]
            shown = [f"  {_fit(name, rest, columns - 3)}" for name, rest in lines]
            if len(shown) > max(1, rows - 3):  # what is higher than the screen cannot be taken back
                shown = shown[: max(0, rows - 4)]
                shown.append(f"  ... and {len(lines) - len(shown)} more")
            view = [line[: columns - 1] for line in (self.summary(), *shown)]
            print("\n".join(view), file=self.stream, flush=True)
            self._lines, self._shown = len(view), time.monotonic()

    def summary(self) -> str:
        """The counts as text: `7 of 15 done, 1 failed, 2 running, 5 waiting`."""
        ended = sum(self.counts.values())
        parts = [f"{self.counts['done']} of {self.total} done"]
        parts += [f"{count} {state}" for state, count in self.counts.items() if count and state != "done"]
        waiting = self.total - ended - len(self._running)
        parts += [f"{len(self._running)} running"] if self._running else []
        return ", ".join(parts + ([f"{waiting} waiting"] if waiting else []))

    def _line(self, job: Job, start: float, before: int) -> tuple[str, str]:
        """A job's name, and how far its run is."""
        now = time.time()
        if not job.epochs:
            return job.name, _clock(now - start)
        done = epochs_done(job)
        line = f"epoch {min(done + 1, job.epochs)}/{job.epochs}"
        if done > before:
            # The first epoch also takes the time to load everything: once there are more, it does not count.
            seen = self._epochs.setdefault(job.name, [(done, now)])
            if seen[-1][0] != done:
                seen.append((done, now))
            (first, begun), (last, ended) = seen[0] if len(seen) > 1 else (before, start), seen[-1]
            left = (ended - begun) / (last - first) * (job.epochs - done) - (now - ended)
            line += f"  ETA {_clock(max(0.0, left))}"
        return job.name, line

    def _clear(self) -> None:
        if self._lines:
            self.stream.write(f"\033[{self._lines}A\033[J")
            self._lines = 0


class Foreground(Progress):
    """For runs that go one at a time: in the place of a view, the output of the run itself, as it comes."""

    waiting = "Waiting for {job.directory}: {owner}"

    def __init__(self, jobs: Sequence[Job], stream: TextIO | None = None) -> None:
        super().__init__(jobs, stream)
        self.live = False
        self._places = {job.name: job.directory for job in jobs}
        self._shown_to: dict[str, int] = {}  # name -> bytes of its log that were shown, or written before

    def started(self, job: Job) -> None:
        """Notes that a job starts."""
        with self._lock:
            self._elsewhere.pop(job.name, None)
            log = job.directory / LOG
            self._shown_to[job.name] = log.stat().st_size if log.exists() else 0
            self.say(f"Running: {job.directory}")

    def ended(self, outcome: Outcome) -> None:
        """Notes how a job ended."""
        with self._lock:
            ran_here = outcome.name in self._shown_to
            if ran_here:
                self._copy(outcome.name, last=True)
                del self._shown_to[outcome.name]
        if ran_here or outcome.state != "done":
            super().ended(outcome)
        else:
            self.counts["done"] += 1
            self.say(f"Done already: {self._places[outcome.name]}")

    def show(self) -> None:
        """Prints the new lines in the logs of the running jobs."""
        with self._lock:
            for name in self._shown_to:
                self._copy(name)

    def _copy(self, name: str, last: bool = False) -> None:
        """Prints a log's new lines, whole ones; at the end of the run (`last`) also one without its end."""
        log = self._places[name] / LOG
        if log.exists():
            with log.open("rb") as file:
                file.seek(self._shown_to[name])
                new = file.read()
            whole = new if last else new[: new.rfind(b"\n") + 1]
            self._shown_to[name] += len(whole)
            end = "" if whole.endswith(b"\n") or not whole else "\n"
            print(whole.decode(errors="replace"), end=end, file=self.stream, flush=True)


def _fit(name: str, rest: str, width: int) -> str:
    """Both in one line; a name that is too long loses its beginning, which the runs of a sweep have in common."""
    room = max(0, width - len(rest) - 2)
    short = name if len(name) <= room else f"...{name[len(name) - room + 3 :]}" if room > 3 else ""
    return f"{short}  {rest}"[:width]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
