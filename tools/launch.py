"""Runs one method on one data set for several seeds, its teacher first, and ends with the table.

    python -m tools.launch base2new PromptKD eurosat 1 2 3 TRAINER.PROMPTKD.TEMPERATURE 2.0

scripts/*.sh call this. From the environment: DATA (where the data sets are), OUTPUT, SHOTS, TEACHER (a run, a published
.pth.tar or a CLIP name instead of a teacher trained here), KD_WEIGHT. KEY VALUE pairs go to train.py; those that say
how images are made and read (INPUT, DATALOADER, DATASET, USE_CUDA, VERBOSE) go to the teacher too, and TEACHER.KEY to
it alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools import collect, recipes
from trainers.config import ROOT

SHARED = ("INPUT.", "DATALOADER.", "DATASET.", "USE_CUDA", "VERBOSE")
FULL_DATA = {"PromptKD"}  # learns from all training images, without labels; the others from SHOTS a class


def finished(directory: Path, arguments: Sequence[str]) -> bool:
    """Whether a run with these arguments has left its result in a directory."""
    import train  # imports every method and data set: only where it is needed
    from trainers import results

    path = directory / "results.json"
    if not path.is_file():
        return False
    cfg = train.configure(train.parser().parse_args(list(arguments)))
    return json.loads(path.read_text(encoding="utf-8")).get("config_hash") == results.fingerprint(cfg)


def run(directory: Path, arguments: Sequence[str]) -> None:
    """One run in a process of its own, unless it is done.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    if finished(directory, arguments):
        print(f"Done already: {directory}", flush=True)
        return
    print(f"Running: {directory}", flush=True)
    subprocess.run([sys.executable, str(ROOT / "train.py"), *arguments], check=True)


def split_options(words: Sequence[str]) -> tuple[list[int], list[str], list[str]]:
    """Seeds, options of the run, and options of its teacher, from what follows the data set's name.

    Raises:
        ValueError: a key without a value.
    """
    seeds = []
    words = list(words)
    while words and words[0].lstrip("-").isdigit():
        seeds.append(int(words.pop(0)))
    if len(words) % 2:
        raise ValueError(f"options come in pairs KEY VALUE, the last one stands alone: {words[-1]!r}")
    own, teacher = [], []
    for key, value in zip(words[::2], words[1::2], strict=True):
        if key.startswith("TEACHER."):
            teacher += [key.removeprefix("TEACHER."), value]
            continue
        own += [key, value]
        if key.startswith(SHARED):
            teacher += [key, value]
    return seeds or [1, 2, 3], own, teacher


def base2new(trainer: str, dataset: str, words: Sequence[str]) -> Path:
    """Trains on the base classes (PromptKD: without labels) and reports base, new and HM; returns where the runs are.

    Raises:
        ValueError: a name that does not exist, or options that do not pair.
        subprocess.CalledProcessError: a run failed.
    """
    seeds, options, teacher_options = split_options(words)
    data, output = os.environ.get("DATA", str(ROOT / "data")), os.environ.get("OUTPUT", str(ROOT / "output"))
    shots = int(os.environ.get("SHOTS", 16))
    given = dict(zip(options[::2], options[1::2], strict=True))
    backbone = given.get("MODEL.BACKBONE.NAME", "")
    name = recipes.recipe(trainer, dataset, "base2new", backbone)
    if trainer == "PromptKD":
        teacher = os.environ.get("TEACHER")
        teacher = teacher or str(train_teacher(dataset, backbone, shots, data, output, teacher_options))
        options += ["TRAINER.PROMPTKD.TEACHER", teacher, "TRAINER.MODAL", "base2novel"]
        if os.environ.get("KD_WEIGHT"):
            options += ["TRAINER.PROMPTKD.KD_WEIGHT", os.environ["KD_WEIGHT"]]
    used = 0 if trainer in FULL_DATA else shots
    if "DATASET.NUM_SHOTS" not in given:
        options += ["DATASET.NUM_SHOTS", str(used)]
    options += ["DATASET.SUBSAMPLE_CLASSES", "base"]
    for seed in seeds:
        directory = recipes.run_directory(output, "base2new", dataset, trainer, name, used, seed)
        run(directory, recipes.arguments(trainer, dataset, name, data, seed, directory, options))
    return Path(output) / "base2new" / dataset


def train_teacher(dataset: str, backbone: str, shots: int, data: str, output: str, options: list[str]) -> Path:
    """The teacher of a data set: trained once, with seed 1, and shared by the students of all seeds."""
    trainer, name = recipes.teacher_recipe(dataset, backbone)
    directory = recipes.run_directory(output, "base2new", dataset, trainer, name, shots, 1)
    options = ["DATASET.NUM_SHOTS", str(shots), "DATASET.SUBSAMPLE_CLASSES", "base", *options]
    run(directory, recipes.arguments(trainer, dataset, name, data, 1, directory, options))
    return directory


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", choices=["base2new"])
    parser.add_argument("trainer")
    parser.add_argument("dataset")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="seeds, then KEY VALUE pairs")
    args = parser.parse_args(argv)
    try:
        directory = base2new(args.trainer, args.dataset, args.words)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print("stopped: the same command goes on where this one ended", file=sys.stderr)
        return error.returncode if error.returncode > 0 else 1
    except KeyboardInterrupt:
        return 130
    return collect.main([str(directory)])


if __name__ == "__main__":
    sys.exit(main())
