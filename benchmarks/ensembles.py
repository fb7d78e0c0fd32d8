"""Times UPL's two costs on Emoji and the bundled CLIPs: the labelling pass, and an ensemble against separate runs.

    python -m benchmarks.ensembles                        # some minutes
    python -m benchmarks.ensembles --members 1 4 --epochs 2 --json ensembles.json

The labelling pass is timed as a first run does it, which computes the features of all images and keeps them, and as a
later one does it, which reads them. An ensemble of M contexts trains in one run, whose members share the image features
of each view; beside it stand M runs of one context each, of the seeds 1 to M, of which each reads the stored labelling
pass. `training` is what the epochs take; `whole` is all that a run does in a Python that has started: data, models,
labels, training, evaluation. Ensembles and separate runs take turns.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from promptkd.engine import command
from promptkd.engine.task import Task
from promptkd.files import write_json
from promptkd.home import ROOT, working_folder
from promptkd.model.precision import Precision
from promptkd.results.record import FILE_NAME, RunRecord
from promptkd.teacher.labelling import mean_probabilities
from promptkd.teacher.pool import Pool
from trainers.upl import UPL


def words_of(args: argparse.Namespace, folder: Path, seed: int, members: int, output: str) -> list[str]:
    """The command line of a UPL run on Emoji."""
    configs = ROOT / "configs"
    return [
        *("--root", args.root, "--seed", str(seed), "--trainer", "UPL", "--output-dir", str(folder / output)),
        *("--dataset-config-file", str(configs / "datasets" / "emoji.yaml")),
        *("--config-file", str(configs / "trainers" / "UPL" / "mini.yaml")),
        *("TRAINER.UPL.MEMBERS", str(members), "TRAINER.UPL.FEATURE_CACHE", str(folder / "features")),
        *("OPTIM.MAX_EPOCH", str(args.epochs), "DATASET.SUBSAMPLE_CLASSES", "base", "USE_CUDA", "False"),
    ]


def labelling(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Seconds of the labelling pass of each bundled CLIP, the first time and a later one, and its images."""
    cfg = command.configure(command.parser().parse_args(words_of(args, folder, 1, 1, "none")))
    task = Task.build(cfg, UPL.supervision(cfg))
    precision = Precision.choose("fp32", torch.device("cpu"))
    rows = []
    for name in ("mini-student", "mini-teacher"):
        seconds, found = [], []
        for _ in range(1 + args.repeats):
            pool = Pool.of_task(task, str(folder / "passes"))  # a later run knows nothing but the folder
            start = time.perf_counter()
            found.append(mean_probabilities(pool, [name], task.classnames, task.template, precision))
            seconds.append(time.perf_counter() - start)
        assert all(torch.equal(found[0], one) for one in found)
        later = sorted(seconds[1:])[args.repeats // 2]
        rows.append({"clip": name, "images": len(pool), "first": seconds[0], "later": later})
    return rows


def timed_run(args: argparse.Namespace, folder: Path, seed: int, members: int, output: str) -> tuple[float, float]:
    """Seconds of training and of the whole, of one run."""
    start = time.perf_counter()
    command.main(words_of(args, folder, seed, members, output))
    whole = time.perf_counter() - start
    return RunRecord.read(folder / output / FILE_NAME).train_seconds or 0.0, whole


def ensembles(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Seconds of an ensemble of M contexts and of M runs of one, for each M."""
    timed_run(args, folder, 1, 1, "warm-up")  # which leaves the labelling pass for all that follow
    single: list[tuple[float, float]] = []
    rows = []
    for members in sorted(args.members):
        together = timed_run(args, folder, 1, members, f"together-{members}")
        while len(single) < members:
            single.append(timed_run(args, folder, len(single) + 1, 1, f"alone-{len(single) + 1}"))
        alone = [sum(times) for times in zip(*single[:members], strict=True)]
        rows.append(
            {"members": members, "training": together[0], "whole": together[1]}
            | {"runs_training": alone[0], "runs_whole": alone[1]}
        )
    return rows


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--root", default=working_folder("DATA", "data"), help="folder of the data sets")
    made.add_argument("--members", type=int, nargs="+", default=[1, 4, 16], help="sizes of the ensemble")
    made.add_argument("--epochs", type=int, default=10)
    made.add_argument("--repeats", type=int, default=5, help="later labelling passes, of which the median counts")
    made.add_argument("--json", type=Path, help="write the numbers to this file as well")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Prints both tables."""
    args = parser().parse_args(argv)

    with tempfile.TemporaryDirectory() as folder:
        passes, trained = labelling(args, Path(folder)), ensembles(args, Path(folder))
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}"
    print(f"\n{machine}; UPL on Emoji, mini-student, {args.epochs} epochs; seconds\n")
    print(tabulate([one.values() for one in passes], ["labels", "images", "first", "later"], floatfmt=".2f"))
    ratios = [(row["runs_training"] / row["training"], row["runs_whole"] / row["whole"]) for row in trained]
    shown = [[*row.values(), *pair] for row, pair in zip(trained, ratios, strict=True)]
    heads = ["M", "training", "whole", "M runs: training", "M runs: whole", "ratio, training", "ratio, whole"]
    print("\n" + tabulate(shown, heads, floatfmt=".2f"))
    if args.json:
        write_json(args.json, {"machine": machine, "labelling": passes, "ensembles": trained})
    return 0


if __name__ == "__main__":
    sys.exit(main())
