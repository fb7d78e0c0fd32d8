"""Runs a plan, trainers x datasets x protocols x shots x seeds: what is missing of it; and ends with the tables.

    python tools/sweep.py --datasets emoji --trainers ZeroshotCLIP CoOp PromptSRC PromptKD --seeds 1 2 3
    python tools/sweep.py plan.yaml --dry-run
    python tools/sweep.py --datasets all --trainers PromptKD --grid TRAINER.PROMPTKD.KD_WEIGHT 200 1000 --workers 4

`promptkd sweep` is the same command where the project is installed.

A plan file has the same names as the options: trainers, datasets, protocols, shots, seeds, source, recipe, teacher,
data, output, and set (KEY: VALUE) and grid (KEY: [VALUES]); the command line wins, of set and grid key by key. Teachers
and sources that runs need are added, once for all seeds of a student. TRAINER.<METHOD> keys reach that method alone,
TEACHER.KEY the teachers.

A run that has its result is not run again. One that fails does not stop the others; only --retry runs it again. A run
whose process is killed is started again, twice at most. After Ctrl-C, or the death of this process, the same command
goes on: unfinished runs from their last epoch. Several sweeps may share an output folder.

--engine local runs here: one at a time, or one on each visible GPU (--workers, --per-gpu). --engine ray runs on a Ray
cluster (--address; --gpus 0.5 lets two runs share one). --engine slurm writes job arrays and the script to submit them.
The exit code is 0 where every run is done, 130 after Ctrl-C, else 1.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptkd.bounded import named
from promptkd.errors import describe
from promptkd.exits import say_interrupted
from promptkd.results import record
from promptkd.sweep import clusters, engines
from promptkd.sweep.expand import jobs_of
from promptkd.sweep.jobs import LOG, Job, Outcome, failure_of, now, refuse_taken, states_of
from promptkd.sweep.plan import read_plan
from promptkd.sweep.progress import Foreground, Progress
from promptkd.tables import command as collect
from promptkd.texts import clipped
from promptkd.written import whole_number

ENGINES = ("local", "ray", "slurm")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("plan", nargs="?", default="", help="YAML file")
    for name in ("trainers", "datasets", "protocols"):
        p.add_argument(f"--{name}", nargs="+", default=[])
    p.add_argument(
        "--shots", nargs="+", type=whole_number, default=[], help="default 16; 1 2 4 8 16 in the few-shot protocol"
    )
    p.add_argument("--seeds", nargs="+", type=whole_number, default=[], help="default 1 2 3")
    several: dict[str, Any] = {"nargs": "+", "action": "append", "default": []}
    p.add_argument("--set", **several, metavar="KEY VALUE", help="options of every run, in pairs; may be repeated")
    p.add_argument("--grid", **several, metavar="KEY VALUE ...", help="values of an option; repeat it for another")
    for name, help_text in (("source", "what cross and dg learn on"), ("recipe", "instead of the published one"),
                       ("teacher", "a run, a checkpoint or a CLIP"), ("data", "folder of the data sets"),
                       ("output", "where the runs go")):  # fmt: skip
        p.add_argument(f"--{name}", default="", help=help_text)
    p.add_argument("--dry-run", action="store_true", help="print the runs and what state they are in")
    p.add_argument("--retry", action="store_true", help="run failed ones again")
    p.add_argument("--engine", choices=ENGINES, default="local")
    p.add_argument("--workers", type=int, default=0, help="runs at a time; default: one for each GPU, or one")
    p.add_argument("--per-gpu", type=int, default=1, help="local: runs that share a GPU")
    p.add_argument("--address", default="", help="ray: a cluster's address, or auto; default: Ray on this machine")
    p.add_argument("--gpus", type=float, default=None, help="ray: GPUs of a run, whole or a fraction")
    p.add_argument("--cpus", type=float, default=1, help="ray: CPUs of a run")
    p.add_argument("--slurm", nargs="+", default=[], metavar="OPTION", help='options of sbatch, as "partition=gpu"')
    return p


def jobs_from(args: argparse.Namespace) -> list[Job]:
    """The jobs that a command line asks for.

    Raises:
        FileNotFoundError, ValueError: a plan, a name or an option that makes no sense.
    """
    if odd := [words[-1] for words in args.set if len(words) % 2]:
        raise ValueError(f"--set takes pairs KEY VALUE, the last one stands alone: {odd[0]!r}")
    if short := [words[0] for words in args.grid if len(words) < 2]:
        raise ValueError(f"--grid {short[0]}: give its values after it")
    if args.workers < 0 or args.per_gpu < 1:
        raise ValueError(f"--workers {args.workers} --per-gpu {args.per_gpu}: a number of runs is at least 1")
    if not 0 < args.cpus < math.inf or not 0 <= (args.gpus or 0) < math.inf:
        raise ValueError(f"--gpus {args.gpus} --cpus {args.cpus}: give numbers, 0 or more and above 0")
    names = ("trainers", "datasets", "protocols", "shots", "seeds", "source", "recipe", "teacher", "data", "output")
    given = {name: getattr(args, name) for name in names}
    given["set"] = _by_key("--set", [pair for words in args.set for pair in zip(words[::2], words[1::2], strict=True)])
    given["grid"] = _by_key("--grid", [(words[0], words[1:]) for words in args.grid])
    try:
        return jobs_of(read_plan(args.plan, given))
    except ValueError as error:
        if not args.plan or named(args.plan) in str(error):
            raise
        raise ValueError(f"{named(args.plan)}: {error}") from error


def _by_key(option: str, entries: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs of `--set` or `--grid` as a dictionary. Raises ValueError for a key that is given twice."""
    values: dict[str, Any] = {}
    for key, value in entries:
        if key in values:
            how = ", with all its values" if option == "--grid" else ""
            raise ValueError(f"{option} {key} is given twice: give it once{how}")
        values[key] = value
    return values


def listing(jobs: Sequence[Job], states: Mapping[str, tuple[str, str]]) -> str:
    """The jobs and their states as a table, and the number of each state."""
    from tabulate import tabulate

    rows = [[states[job.name][0], job.name, clipped(states[job.name][1], 100)] for job in jobs]
    text = tabulate(rows, headers=["state", "run", ""], disable_numparse=True)
    return f"{text}\n{_counts([states[job.name][0] for job in jobs])}"


def _counts(states: Sequence[str]) -> str:
    """The number of each state as text: `3 runs: 2 done, 1 failed`."""
    order = ("done", "running", "unfinished", "missing", "failed", "taken", "blocked", "lost", "interrupted")
    parts = [f"{states.count(state)} {state}" for state in order if state in states]
    return f"{len(states)} runs: {', '.join(parts)}"


def ended_before(jobs: Sequence[Job], states: Mapping[str, tuple[str, str]], retry: bool) -> dict[str, Outcome]:
    """Name -> outcome of the jobs that are not to run: they are done, or have failed and are not retried."""
    known: dict[str, Outcome] = {}
    for job in jobs:
        state, detail = states[job.name]
        if state == "done":
            known[job.name] = Outcome(job.name, "done", "already")
        elif state == "failed" and not retry:
            tail = tuple((failure_of(job) or {}).get("tail", ()))
            known[job.name] = Outcome(job.name, "failed", f"before: {detail}", tail, log=str(job.directory / LOG))
    return known


def run(
    jobs: Sequence[Job], states: Mapping[str, tuple[str, str]], args: argparse.Namespace, foreground: bool = False
) -> list[Outcome]:
    """Runs the jobs that are not done; returns the outcomes of all.

    Args:
        jobs: each after the jobs that it needs.
        states: from `states_of`.
        args: the command line.
        foreground: whether to show the output of the runs, where they go one at a time.

    Raises:
        ValueError: the engine cannot run them.
    """
    since = now()
    known = ended_before(jobs, states, args.retry)
    left = [job for job in jobs if job.name not in known]
    if not left:
        outcomes = []
    elif args.engine == "ray":
        cluster = clusters.Cluster(args.address, args.gpus, args.cpus, args.workers)
        outcomes = clusters.run_ray(left, known, cluster, Progress(left), since)
    else:
        places = engines.slots(args.workers, args.per_gpu, engines.visible_gpus())
        progress = Foreground(left) if foreground and len(places) == 1 else Progress(left)
        outcomes = engines.run_local(left, known, places, progress, since)
    ended = known | {outcome.name: outcome for outcome in outcomes}
    return [ended[job.name] for job in jobs]


def summary(outcomes: Sequence[Outcome]) -> str:
    """The failures, each with the last lines of its log, and the number of each outcome."""
    lines = []
    for outcome in outcomes:
        if outcome.state == "failed":
            # What the run printed last, then its error, once: as the run's own end of a line it stands in the detail.
            before = [line for line in outcome.tail if not outcome.detail.endswith(line)]
            lines += [f"FAILED {outcome.name}: {outcome.detail}", *(f"    {line}" for line in before)]
            lines += [f"    log: {outcome.log}"] if outcome.log else []
        elif outcome.state in ("blocked", "lost"):
            lines.append(f"{outcome.state.upper()} {outcome.name}: {outcome.detail}")
    retried = [outcome for outcome in outcomes if outcome.deaths]
    lines += [f"started again: {outcome.name}, after {', '.join(outcome.deaths)}" for outcome in retried]
    states = [outcome.state for outcome in outcomes]
    lines.append(_counts(states))
    if "lost" in states:
        lines.append("the same command goes on with those that the cluster lost")
    return "\n".join(lines)


def tables(jobs: Sequence[Job]) -> None:
    """Prints the tables of the jobs that have a result."""
    folders = [str(job.directory) for job in jobs if (job.directory / record.FILE_NAME).is_file()]
    if folders:
        print()
        collect.main(folders)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = parser().parse_args(argv)
    try:
        jobs = jobs_from(args)
        states = states_of(jobs)
        print(listing(jobs, states), flush=True)
        if args.dry_run:
            return 0
        refuse_taken(states)
        if args.engine == "slurm":
            return _slurm(jobs, states, args)
        print(flush=True)
        outcomes = run(jobs, states, args)
    except (OSError, ValueError) as error:
        print(f"error: {describe(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return say_interrupted("interrupted: the same command goes on with what is not done")
    print(f"\n{summary(outcomes)}", flush=True)
    if any(outcome.state == "failed" for outcome in outcomes):
        print("--retry runs failed ones again", flush=True)
    tables(jobs)
    return exit_code(outcomes)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 where every job is done, 130 after Ctrl-C, else 1."""
    states = {outcome.state for outcome in outcomes}
    return 130 if "interrupted" in states else int(states != {"done"})


def _slurm(jobs: Sequence[Job], states: Mapping[str, tuple[str, str]], args: argparse.Namespace) -> int:
    """Writes the scripts for what is not done; returns the exit code."""
    known = ended_before(jobs, states, args.retry)
    left = []
    for job in jobs:
        if job.name in known:
            continue
        if blocked := engines.blocked(job, known):
            known[job.name] = blocked
        else:
            left.append(job)
    if not_done := [outcome for outcome in known.values() if outcome.state != "done"]:
        print(f"\n{summary(not_done)}\nnot submitted; --retry runs failed ones again")
    if not left:
        print("nothing to submit" if not_done else "every run is done: nothing to submit")
        return exit_code(list(known.values()))
    time = now()[:19].replace("-", "").replace(":", "")  # 20260131T235959
    output = left[0].directory.parents[len(Path(left[0].name).parts) - 1]
    folder = output / "slurm" / f"{time}-{os.getpid()}"
    script = clusters.write_slurm(left, folder, [f"--{option.lstrip('-')}" for option in args.slurm], args.workers)
    print(f"\nWritten; submit with: bash {script}")
    return 0


def command_line(argv: Sequence[str] | None = None) -> int:
    """`main` for a shell: the end of the terminal counts as a Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return main(argv)
