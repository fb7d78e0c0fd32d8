"""What was tried for a recipe, and whether images without labels choose as labels would.

    python -m benchmarks.recipe tried FOLDER ...             # each configuration: HM, divergence, agreement, cost
    python -m benchmarks.recipe rank FOLDER [--test FOLDER]  # rank correlation over runs
    python -m benchmarks.recipe test FOLDER OUTPUT           # evaluates each finished run on the test images

Runs are those of sweeps with `TEST.SPLIT val` and `POOL.HELD_OUT 0.1`: their numbers are of validation images, and of
pool images that did not train. `test` is for the end, once the recipe is fixed; --test then adds what chooses nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr
from tabulate import tabulate

import train
from promptkd.results.record import RunRecord
from promptkd.results.search import Run, find


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=("tried", "rank", "test"))
    p.add_argument("folders", nargs="+", type=Path)
    p.add_argument("--test", type=Path, help="of rank: where `test` has put its results")
    args = p.parse_args(argv)
    if args.what == "test":
        return evaluate_all(args.folders[0], args.folders[1])
    runs = [run for folder in args.folders for run in find(folder)[0] if held_out(run)]
    print(tried(runs) if args.what == "tried" else rank(runs, args.folders, args.test))
    return 0


def held_out(run: Run) -> dict[str, Any]:
    """What a run's record says of held-out images; {} of runs without any."""
    return dict((run.record.seen or {}).get("held_out") or {})


def tried(runs: list[Run]) -> str:
    """A line for each configuration of each data set, means over seeds, the best divergence first."""
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.record.dataset, run.directory.parent.name].append(run)
    rows = []
    for (dataset, name), some in groups.items():
        hm = [float(run.record.metrics["hm"]) for run in some]
        spread = statistics.stdev(hm) if len(hm) > 1 else 0.0
        means = [statistics.fmean(held_out(run)[key] for run in some) for key in ("kl", "agreement")]
        images = statistics.fmean((run.record.epochs or 0) * (run.record.train_images or 0) for run in some)
        seconds = statistics.fmean(run.record.train_seconds or 0.0 for run in some)
        rows.append([dataset, name, len(some), f"{statistics.fmean(hm):.2f} ± {spread:.2f}", *means, seconds, images])
    rows.sort(key=lambda row: (row[0], row[4]))
    heads = ["data set", "configuration", "seeds", "HM, validation", "KL", "agreement %", "seconds", "images"]
    found = tabulate(rows, headers=heads, tablefmt="github", floatfmt=("", "", "", "", ".3f", ".1f", ".0f", ".0f"))
    return f"{found}\n\n{len(groups)} configurations, {len(runs)} runs."


def rank(runs: list[Run], folders: list[Path], test: Path | None) -> str:
    """Spearman's rank correlation of what the pool says with accuracy, over the runs of each data set."""
    rows = []
    for dataset in sorted({run.record.dataset for run in runs}):
        some = [run for run in runs if run.record.dataset == dataset]
        some = [run for run in some if not test or _test_file(run, folders, test).is_file()]
        columns = {"HM, validation": [float(run.record.metrics["hm"]) for run in some]}
        if test:
            columns["HM, test"] = [_tested(run, folders, test) for run in some]
        chooses = {
            "-KL, held-out pool": [-held_out(run)["kl"] for run in some],
            "agreement, held-out pool": [held_out(run)["agreement"] for run in some],
        }
        chooses |= {"HM, validation": columns["HM, validation"]} if test else {}
        for name, values in chooses.items():
            rows.append([dataset, len(some), name, *(spearmanr(values, one).statistic for one in columns.values())])
    heads = ["data set", "runs", "what chooses", "HM, validation", *(["HM, test"] if test else [])]
    return tabulate(rows, headers=heads, tablefmt="github", floatfmt="+.2f")


def _tested(run: Run, folders: list[Path], test: Path) -> float:
    return float(RunRecord.read(_test_file(run, folders, test)).metrics["hm"])


def _test_file(run: Run, folders: list[Path], test: Path) -> Path:
    folder = next(folder for folder in folders if run.directory.is_relative_to(folder))
    return test / run.directory.relative_to(folder) / "results.json"


def evaluate_all(folder: Path, output: Path, split: str = "test") -> int:
    """Evaluates the finished students of a folder on the test images, into the same folders below another one."""
    for run in find(folder)[0]:
        target = output / run.directory.relative_to(folder)
        if held_out(run) and not (target / "results.json").is_file():
            words = ["--config-file", str(run.directory / "config.yaml"), "--root", run.record.data_root]
            words += ["--eval-only", "--model-dir", str(run.directory), "--output-dir", str(target)]
            train.main([*words, "TEST.SPLIT", split])
    return 0


if __name__ == "__main__":
    sys.exit(main())
