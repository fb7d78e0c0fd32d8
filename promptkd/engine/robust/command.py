"""Measures what a finished run withstands: its test images under attack, and corrupted.

    promptkd robust RUN [--root DATA] [--attack pgd] [--eps 1 4] [--steps 10] [--images 1000] [--check]
    promptkd robust RUN --corrupt all
    promptkd robust RUN --against DATA

The run's results.json gets the fields `robustness` and `corruptions`, and of --against `auroc_other_data` in `metrics`;
everything else in it stays, and radii of one attack stand side by side. Radii are in 1/255. Only what is asked for is
measured: with --corrupt or --against an attack where a flag of attacks is given. What is not given is as the run's.
An attack takes `steps` passes with gradients over each image: --images 200 gives a first look. docs/robustness.md says
more.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptkd import exits
from promptkd.errors import describe
from promptkd.home import expanded

if TYPE_CHECKING:
    from promptkd.results.record import RunRecord

OF_ATTACK = ("eps", "steps", "alpha", "random_start", "check")  # flags that say how is attacked
log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """The command line; most flags are keys of TEST.ROBUST."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", metavar="RUN", help="directory of a finished run, or of an evaluation")
    p.add_argument("--root", default="", help="folder that holds the data sets, where it is not the run's")
    p.add_argument("--model-dir", default="", help="of an evaluation: the run whose model it measured, where it is now")
    p.add_argument("--attack", default="", help="pgd (default), autoattack (and pgd beside it), or none")
    p.add_argument("--eps", nargs="+", help="radii in 1/255")
    p.add_argument("--steps", help="of pgd")
    p.add_argument("--alpha", help="length of a step in 1/255; 0: a quarter of the radius")
    p.add_argument("--random-start", action="store_true", help="start anywhere in the ball")
    p.add_argument("--images", help="of each class group, class-balanced; 0: all")
    p.add_argument("--corrupt", nargs="+", metavar="KIND", help="measure corrupted images too: all, or kinds")
    p.add_argument("--severities", nargs="+", metavar="N", help="1 to 5, of --corrupt")
    p.add_argument("--against", default="", metavar="DATA", help="images of other things to be told: see TEST.OUTSIDE")
    p.add_argument("--check", action="store_true", help="measure also what shows masked gradients")
    return p


def check_flags(args: argparse.Namespace) -> None:
    """Refuses flags that do not go together, so that none is passed over.

    Raises:
        ValueError: the message names them.
    """
    if args.attack not in ("", "pgd", "autoattack", "none"):
        raise ValueError(f"--attack {args.attack!r}: choose pgd or autoattack, or none")
    others = [f"--{name.replace('_', '-')}" for name in OF_ATTACK if getattr(args, name)]
    if args.attack == "none" and others:
        raise ValueError(f"--attack none, and {', '.join(others)}: leave it out, or these")
    if args.attack == "none" and not (args.corrupt or args.against):
        raise ValueError("--attack none: nothing is measured; give --corrupt or --against too")
    if args.severities and not args.corrupt:
        raise ValueError(f"--severities {' '.join(args.severities)}: they are of --corrupt, give that too")
    if args.images is not None and not attack_of(args) and not args.corrupt:
        raise ValueError(f"--images {args.images}: --against takes all test images; give --attack pgd or --corrupt too")


def attack_of(args: argparse.Namespace) -> str:
    """The attack that is asked for, pgd where a flag of attacks is given, or nothing else to measure; "" for none."""
    asked = any(getattr(args, name) for name in OF_ATTACK) or not (args.corrupt or args.against)
    attack = str(args.attack) or ("pgd" if asked else "none")
    return "" if attack == "none" else attack


def pairs(args: argparse.Namespace) -> list[str]:
    """The flags as KEY VALUE words of train.py: what they ask for is measured, whatever the run itself measured."""
    given = {
        "ROBUST.ATTACK": attack_of(args),
        "ROBUST.EPS": f"({', '.join(args.eps)},)" if args.eps else None,
        "ROBUST.STEPS": args.steps,
        "ROBUST.ALPHA": args.alpha,
        "ROBUST.IMAGES": args.images if attack_of(args) else None,
        "ROBUST.RANDOM_START": "True" if args.random_start else None,
        "ROBUST.CHECK": str(args.check),
        "OUTSIDE": args.against,
        "CORRUPT.KINDS": ",".join(args.corrupt or ()),
        "CORRUPT.SEVERITIES": f"({', '.join(args.severities)},)" if args.severities else None,
        "CORRUPT.IMAGES": args.images if args.corrupt else None,
    }
    words = [word for key, value in given.items() if value is not None for word in (f"TEST.{key}", value)]
    return [*words, "STRICT", "False"]  # what is switched off leaves options of the run unread


def measure(args: argparse.Namespace) -> Path:
    """Measures the run and writes into its record; the record's path.

    Raises:
        FileNotFoundError, ValueError: no finished run there, other data than it had, or values that cannot be meant.
    """
    from promptkd import distributed, logs
    from promptkd.engine.robust.finished import record_of
    from promptkd.engine.robust.recorded import table_of_changed
    from promptkd.results.kept import FIELDS
    from promptkd.results.record import FILE_NAME, update

    check_flags(args)
    run = Path(expanded(args.run))
    before = record_of(run)
    with distributed.session(), logs.captured_prints(logging.DEBUG):
        trainer = trainer_of(args, run, before)
        measured = trainer.training.on_changed_images(trainer.cfg)
        for found in measured.fields.values():
            log.info("%s", table_of_changed(found))
        told = trainer.training.against_other_data() if args.against else {}
        if told:
            log.info("Told from %s by confidence, AUROC in percent: %s", args.against, _shown(told))

        def with_measured(latest: RunRecord) -> RunRecord:
            """The record as it is now, which another process may have changed meanwhile."""
            fields: dict[str, Any] = dict.fromkeys(FIELDS) | measured.save(run)
            fields |= {"other_data": trainer.task.other_data} if told else {}
            return replace(latest, **fields, metrics=latest.metrics | {g: latest.metrics[g] | told[g] for g in told})

        if distributed.is_main():
            log.info("Results: %s", update(run, with_measured))
        return run / FILE_NAME


def trainer_of(args: argparse.Namespace, run: Path, before: RunRecord) -> Any:
    """The trainer of a finished run with what it learned, on the data that it had, configured for what is asked.

    Args:
        args: the command line.
        run: directory of the run.
        before: its record.

    Raises:
        FileNotFoundError, ValueError: see `measure`.
    """
    from promptkd import distributed
    from promptkd.engine import command
    from promptkd.engine.robust.finished import check_same_data, is_trained, words_of

    words = command.parser().parse_args([*words_of(run, before, expanded(args.model_dir)), *pairs(args)])
    words.root = args.root or words.root
    cfg = command.configure(words, None if is_trained(run) else before.settings)
    distributed.connect(cfg.USE_CUDA)
    trainer = command.built(cfg)
    if not command.is_prompt_trainer(type(trainer)):
        raise ValueError(f"{cfg.TRAINER.NAME} was written for upstream: it is none of those that can be attacked here")
    check_same_data(run, before, trainer.task)
    command.load_evaluated(trainer, cfg)
    return trainer


def _shown(told: dict[str, dict[str, Any]]) -> str:
    return ", ".join(f"{group} {values['auroc_other_data']:.2f}" for group, values in told.items())


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        with exits.interruptible():
            measure(args)
    except (OSError, ValueError, RuntimeError, FloatingPointError) as error:
        print(f"error: {describe(error)}", file=sys.stderr)
        return 1
    return 0


command_line = main
