"""Runs other people's repositories in the manner of CoOp or MaPLe, as they are, and keeps their results beside ours.

    promptkd foreign ../CoOp --trainer CoCoOp --dataset eurosat --protocol base2new --seeds 1 2 3 --cpu
    promptkd foreign ../CoOp --trainer CoOp --dataset dtd --protocol fewshot --shots 1 4 --config vit_b16 \
        TRAINER.COOP.CSC True

The repository's train.py runs in a process of its own, in a copy of its files, with this project's toolkit as `dassl`.
That is running its code with your rights: give a repository that you trust. docs/foreign.md says what is bridged.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptkd import exits, home
from promptkd.bounded import shown
from promptkd.errors import describe
from promptkd.host import jobs as foreign_jobs
from promptkd.host import repository
from promptkd.host.plan import DATA_CHOICES
from promptkd.sweep import command as sweep
from promptkd.sweep.jobs import Job, refuse_taken, states_of
from promptkd.written import whole_number

USAGE = "promptkd foreign REPOSITORY --trainer NAME --dataset NAME ... [options] [KEY VALUE ...]"
KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.\w+)*")  # of a configuration: TRAINER.COOP.CSC, TASK


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, usage=USAGE, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("repository", nargs="?", default="", help="its folder")
    p.add_argument("--trainer", default="", help="class that it registers, as CoOp")
    p.add_argument("--dataset", nargs="+", default=[], dest="datasets", help="files of configs/datasets, as eurosat")
    p.add_argument("--protocol", choices=foreign_jobs.PROTOCOLS, default="base2new")
    p.add_argument("--seeds", nargs="+", type=whole_number, default=[1, 2, 3])
    p.add_argument(
        "--shots", nargs="+", type=whole_number, default=[16], help="images a class (DATASET.NUM_SHOTS): 16, or 1 2 4"
    )
    p.add_argument("--config", default="", help="recipe: a file, or a name in its configs/trainers/TRAINER")
    p.add_argument("--root", default="", help="folder that holds the data sets")
    p.add_argument("--output", default="", help="where the runs go")
    p.add_argument("--source", default="imagenet", help="what cross and dg learn on")
    p.add_argument("--cpu", action="store_true", help="without a GPU: .cuda() stays, half precision is float32")
    p.add_argument(
        "--data", choices=DATA_CHOICES, default="auto", help="whose data sets: ours where both read one layout (auto)"
    )
    p.add_argument(
        "--trust", nargs="+", default=[], metavar="FILE", help="files that torch.load may read with all they hold"
    )
    p.add_argument(
        "--map-path", nargs="+", default=[], metavar="OLD=NEW", help="paths of its authors, and what they are here"
    )
    p.add_argument("--pass", default="", dest="words", help='more words for its train.py: --pass="--device cuda"')
    p.add_argument(
        "--patience", type=float, default=30.0, help="minutes without a sign of life that a run is given (30)"
    )
    p.add_argument("--dry-run", action="store_true", help="print the runs and what state they are in")
    p.add_argument("--retry", action="store_true", help="run failed ones again")
    p.add_argument("--workers", type=int, default=0, help="runs at a time; default: one for each GPU, or one")
    p.add_argument("--per-gpu", type=int, default=1, help="runs that share a GPU")
    p.add_argument("--job", default="", help=argparse.SUPPRESS)  # one run, as its foreign.json says
    p.add_argument("--step", default="", help=argparse.SUPPRESS)  # one start of the repository's train.py
    p.set_defaults(engine="local")
    return p


def read_words(argv: Sequence[str]) -> argparse.Namespace:
    """The options of a command line, and its KEY VALUE pairs as `opts`; argparse would take a key for a seed."""
    p, words, pairs = parser(), list(argv), []
    alone = {flag for action in p._actions if action.nargs == 0 for flag in action.option_strings}
    several = {flag for action in p._actions if action.nargs == "+" for flag in action.option_strings}
    at, bare = 0, 0
    while at < len(words):
        word = words[at]
        if word.startswith("--"):
            at += 1 if "=" in word or word in alone or word in several else 2
        elif bare and KEY.fullmatch(word):
            pairs += words[at : at + 2]
            del words[at : at + 2]
        else:  # the repository comes first, whatever it is called
            at, bare = at + 1, bare + 1
    args = p.parse_args(words)
    args.opts = pairs
    return args


def jobs_from(args: argparse.Namespace) -> tuple[list[Job], dict[str, Any]]:
    """The jobs of a command line, and the plan of each by its name.

    Raises:
        FileNotFoundError, ValueError: what is asked for does not exist or fit.
    """
    for name, flag in (
        ("repository", "the folder of a repository"),
        ("trainer", "--trainer"),
        ("datasets", "--dataset"),
    ):
        if not getattr(args, name):
            raise ValueError(f"give {flag}, as promptkd foreign ../CoOp --trainer CoOp --dataset eurosat")
    if not args.patience > 0:
        raise ValueError(f"--patience {args.patience}: give minutes, above 0")
    trust = [home.expanded(path) for path in args.trust]
    if missing := [path for path in trust if not Path(path).is_file()]:
        raise ValueError(f"--trust {missing[0]}: there is no such file")
    wish = foreign_jobs.Wish(
        repository.find(home.expanded(args.repository)), args.trainer, args.datasets, args.protocol, args.seeds,
        args.shots, args.config, args.opts, home.expanded(args.root) or home.working_folder("DATA", "data"),
        home.expanded(args.output) or home.working_folder("OUTPUT", "output"), args.source, args.cpu, args.data, trust,
        _paths(args.map_path), args.patience, shlex.split(args.words),
    )  # fmt: skip
    return foreign_jobs.jobs_of(wish)


def _paths(words: Sequence[str]) -> dict[str, str]:
    """The pairs of --map-path. Raises ValueError for a word that is none."""
    paths: dict[str, str] = {}
    for word in words:
        old, equals, new = word.partition("=")
        if not equals or not old.startswith("/") or not new:
            raise ValueError(f"--map-path {shown(word)}: write OLD=NEW, OLD an absolute path of its authors")
        paths[old.rstrip("/")] = home.expanded(new).rstrip("/")
    return paths


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = read_words(sys.argv[1:] if argv is None else argv)
    if args.step:
        from promptkd.host.child import run_step

        return run_step(args.step)
    try:
        if args.job:
            from promptkd.host.run import run_job

            print(f"Results: {run_job(args.job)}", flush=True)
            return 0
        jobs, plans = jobs_from(args)
        states = states_of(jobs)
        print(sweep.listing(jobs, states), flush=True)
        if args.dry_run:
            return 0
        refuse_taken(states)
        for plan in plans.values():
            plan.write()
        outcomes = sweep.run(jobs, states, args, foreground=True)
    except (OSError, ValueError) as error:
        print(f"error: {describe(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return exits.say_interrupted("interrupted: the same command goes on with what is not done")
    print(f"\n{sweep.summary(outcomes)}", flush=True)
    sweep.tables(jobs)
    return sweep.exit_code(outcomes)


command_line = main
