"""Measures what a finished run withstands: its test images under attack, and corrupted.

    promptkd robust RUN [--root DATA] [--attack pgd] [--eps 1 4] [--steps 10] [--images 1000] [--check]
    promptkd robust RUN --corrupt all
    promptkd robust RUN --against DATA

The run's results.json gets the fields `robustness` and `corruptions`, and of --against `auroc_other_data` in `metrics`;
everything else in it stays. Radii are in 1/255.
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
from typing import Any

from promptkd import exits
from promptkd.errors import describe
from promptkd.home import expanded

log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """The command line; each flag is a key of TEST.ROBUST."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", metavar="RUN", help="directory of a finished run")
    p.add_argument("--root", default="", help="folder that holds the data sets, where it is not the run's")
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


def pairs(args: argparse.Namespace) -> list[str]:
    """The flags as KEY VALUE words of train.py."""
    attack = args.attack or ("none" if args.corrupt or args.against else "pgd")
    given = {
        "ROBUST.ATTACK": "" if attack == "none" else attack,
        "ROBUST.EPS": f"({', '.join(args.eps)},)" if args.eps else None,
        "ROBUST.STEPS": args.steps,
        "ROBUST.ALPHA": args.alpha,
        "ROBUST.IMAGES": args.images,
        "ROBUST.RANDOM_START": "True" if args.random_start else None,
        "ROBUST.CHECK": "True" if args.check else None,
        "OUTSIDE": args.against,
        "CORRUPT.KINDS": ",".join(args.corrupt) if args.corrupt else None,
        "CORRUPT.SEVERITIES": f"({', '.join(args.severities)},)" if args.severities else None,
        "CORRUPT.IMAGES": args.images if args.corrupt else None,
    }
    return [word for key, value in given.items() if value is not None for word in (f"TEST.{key}", value)]


def measure(args: argparse.Namespace) -> Path:
    """Measures the run and writes into its record; the record's path.

    Raises:
        FileNotFoundError, ValueError: no finished run there, or values that cannot be meant.
    """
    from dassl.engine import build_trainer
    from promptkd import distributed, logs
    from promptkd.engine import command
    from promptkd.engine.robust.recorded import table_of_changed
    from promptkd.results import record
    from promptkd.results.directory import CONFIGURATION

    run = Path(expanded(args.run))
    if not (run / CONFIGURATION).is_file():
        raise FileNotFoundError(f"{run} holds no run: there is no {CONFIGURATION}")
    if args.attack not in ("", "pgd", "autoattack", "none"):
        raise ValueError(f"--attack {args.attack!r}: choose pgd or autoattack, or none")
    before = record.RunRecord.read(run / record.FILE_NAME)
    words = [
        "--config-file",
        str(run / CONFIGURATION),
        "--eval-only",
        "--model-dir",
        str(run),
        "--output-dir",
        str(run),
    ]
    words += [*(["--root", args.root] if args.root else []), *pairs(args)]
    with distributed.session():
        cfg = command.configure(command.parser().parse_args(words))
        distributed.connect(cfg.USE_CUDA)
        with logs.captured_prints(logging.DEBUG), distributed.main_first():
            trainer: Any = build_trainer(cfg)
        if not command.is_prompt_trainer(type(trainer)):
            raise ValueError(
                f"{cfg.TRAINER.NAME} was written for upstream: it is none of those that can be attacked here"
            )
        trainer.load_model(cfg.MODEL_DIR, epoch=cfg.LOAD_EPOCH if cfg.LOAD_EPOCH >= 0 else None)
        measured = trainer.training.on_changed_images(cfg)
        for found in measured.values():
            log.info("%s", table_of_changed(found))
        if args.against:
            told = trainer.training.against_other_data()
            log.info("Told from %s by confidence, AUROC in percent: %s", args.against, _shown(told))
            measured["other_data"] = trainer.task.other_data
            measured["metrics"] = before.metrics | {group: before.metrics[group] | told[group] for group in told}
        path = run / record.FILE_NAME
        if distributed.is_main():
            log.info("Results: %s", replace(before, **measured).write(run))
        return path


def _shown(told: dict[str, dict[str, Any]]) -> str:
    return ", ".join(f"{group} {values['auroc_other_data']:.2f}" for group, values in told.items())


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        with exits.interruptible():
            measure(args)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {describe(error)}", file=sys.stderr)
        return 1
    return 0


command_line = main
