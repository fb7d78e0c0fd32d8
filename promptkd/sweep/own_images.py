"""The jobs of `python tools/launch.py folder`: students, or other methods, of one's own images, without labels."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptkd import home
from promptkd.results.predictions import FILE_NAME as PREDICTIONS
from promptkd.results.predictions import read_rows
from promptkd.results.record import FILE_NAME, RunRecord
from promptkd.results.settings import fingerprint, relevant
from promptkd.sweep import recipes
from promptkd.sweep.jobs import Job
from promptkd.written import listed_texts, pairs_of

SEVERAL = "TRAINER.PROMPTKD.TEACHERS"
METHODS = ("PromptKD", "UPL", "TFUP", "TFUPT")  # that learn from images without labels
TEACHER = "ViT-L/14"  # zero-shot, where none is named; of mini-student it is mini-teacher
KEYS = {"TEMPLATE": "TEMPLATE", "TEST_DIR": "DATASET.TEST_DIR", "KD_WEIGHT": "TRAINER.PROMPTKD.KD_WEIGHT"}
GIVEN_ELSEWHERE = {
    "DATASET.NAME": "the command", "DATASET.ROOT": "the first word", "DATASET.CLASSNAMES": "the second word",
    "SEED": "the words after the class list", "OUTPUT_DIR": "OUTPUT", "TRAINER.NAME": "the command",
    "TRAINER.MODAL": "the command", "TRAINER.PROMPTKD.TEACHER": "TEACHER",
}  # fmt: skip


def jobs_of(words: Sequence[str], trainer: str = "PromptKD") -> list[Job]:
    """The jobs of a method's command line: IMAGES CLASSES [SEED ...] [KEY VALUE ...], one for each seed (default: 1).

    A job's directory is named after the images' folder and a hash of all that its student depends on: the names of the
    images and classes, the teacher and the options. So a corrected list, or more images, make a new run.

    Raises:
        FileNotFoundError: no such folder, class list, or test folder.
        ValueError: a word, a class list or an option that does not fit; before any run.
    """
    from promptkd.data.checks import check_classnames  # these load numpy and Pillow: only where needed
    from promptkd.data.class_lists import read_class_list
    from promptkd.data.folders import walk_images

    images, classes, seeds, pairs = _inputs(words)
    if trainer not in METHODS:
        raise ValueError(f"folder {trainer}: images without labels are for {', '.join(METHODS)}")
    options = _options(pairs, images, trainer)
    names = read_class_list(classes)
    check_classnames(str(classes), names)
    if not (files := walk_images(images)):
        raise ValueError(f"{images} and the folders in it hold no images")
    recipe = os.environ.get("RECIPE") or _recipe(options, trainer)
    _, cfg = _configure(trainer, recipe, images, classes, options, 0, Path())
    settings = {key: value for key, value in relevant(cfg).items() if key != "SEED"}
    place = hashlib.sha256(json.dumps([files, names, settings], default=str).encode()).hexdigest()[:8]
    folder = Path(home.working_folder("OUTPUT", "output")).absolute() / "own" / f"{images.name}-{place}"
    jobs = []
    for seed in seeds or [1]:
        directory = folder / f"seed{seed}"
        arguments, cfg = _configure(trainer, recipe, images, classes, options, seed, directory)
        command = (*home.command("train"), *arguments)
        name = directory.relative_to(folder.parents[1]).as_posix()
        jobs.append(Job(name, directory, command, fingerprint(cfg), (), cfg.OPTIM.MAX_EPOCH, labelled=False))
    return jobs


def _inputs(words: Sequence[str]) -> tuple[Path, Path, list[int], list[str]]:
    """The images' folder, the class list, the seeds, and the words after them. Raises what `jobs_of` does."""
    words = list(words)
    if len(words) < 2:
        raise ValueError(
            "two things are needed, IMAGES CLASSES.txt: a folder of images and a file with a class name a line"
        )
    images, classes = (Path(os.path.abspath(home.expanded(words.pop(0)))) for _ in range(2))
    if not images.is_dir():
        raise FileNotFoundError(f"{images} is no folder of images")
    if not classes.is_file():
        raise FileNotFoundError(f"{classes} is no class list: a text file with one class name a line")
    seeds = recipes.take_seeds(words)
    return images, classes, seeds, words


def _options(words: Sequence[str], images: Path, trainer: str) -> dict[str, str]:
    """The KEY VALUE pairs of a command line, and those of the environment beside them."""
    from promptkd.data.class_names import named_path

    options = pairs_of(words)
    for key in options:
        if key in GIVEN_ELSEWHERE:
            raise ValueError(f"{key} is said by {GIVEN_ELSEWHERE[key]}: leave it out")
    for variable, key in KEYS.items():
        if os.environ.get(variable) and recipes.belongs(key, trainer):
            options.setdefault(key, os.environ[variable])
    if test := options.get("DATASET.TEST_DIR"):
        options["DATASET.TEST_DIR"] = str(named_path(images, test, "TEST_DIR"))
    if trainer != "PromptKD":
        return options
    backbone = options.get("MODEL.BACKBONE.NAME", "")
    teacher = home.expanded(os.environ.get("TEACHER") or ("mini-teacher" if recipes.is_bundled(backbone) else TEACHER))
    if Path(teacher).exists():  # a run or a file; any other is a name
        teacher = os.path.abspath(teacher)
    if SEVERAL in options:  # which stand in the place of one
        return options | {SEVERAL: options[SEVERAL].replace(recipes.TAUGHT_HERE, teacher)}
    return options | {"TRAINER.PROMPTKD.TEACHER": teacher}


def _recipe(options: Mapping[str, str], trainer: str) -> str:
    """The recipe of the bundled models where the student or its teacher is one of them; else the published one."""
    if trainer != "PromptKD":
        return recipes.recipe(trainer, "unlabeled", "cross", options.get("MODEL.BACKBONE.NAME", ""))
    several = listed_texts(options.get(SEVERAL, "")) or [options.get("TRAINER.PROMPTKD.TEACHER", "")]
    backbone = recipes.student_backbone(options.get("MODEL.BACKBONE.NAME", ""), str(several[0]))
    return recipes.recipe("PromptKD", "unlabeled", "cross", backbone)


def _configure(
    trainer: str, recipe: str, images: Path, classes: Path, options: Mapping[str, str], seed: int, directory: Path
) -> tuple[list[str], Any]:
    """The arguments of train.py, and the configuration that they make."""
    from promptkd.engine import command  # it imports every method: only once the words are good

    pairs = {"DATASET.CLASSNAMES": str(classes), "TRAINER.MODAL": "cross", **options}
    words = [word for pair in pairs.items() for word in pair]
    arguments = recipes.arguments(trainer, "unlabeled", recipe, images, seed, directory, words)
    return arguments, command.configure(command.parser().parse_args(arguments))


def report(job: Job) -> str:
    """The places of a finished student and its predictions, its accuracy where that is known, and how to use it."""
    record = RunRecord.read(job.directory / FILE_NAME, needs_metrics=False)
    labels = [row["label"] for row in read_rows(job.directory / PREDICTIONS)]
    unlabelled = labels.count("")
    kinds = [(unlabelled, "images without labels"), (len(labels) - unlabelled, "labelled test images")]
    counts = " and ".join(f"{number:,} {kind}" for number, kind in kinds if number)
    name = "Student" if record.trainer in recipes.STUDENTS else "Run"
    lines = [f"{name:12} {job.directory}", f"Predictions  {job.directory / PREDICTIONS} ({counts})"]
    if measured := record.measures.get("all"):
        others = {"teacher": "metrics", "student without distillation": "zero_shot_student"}
        known = {name: (record.teacher or {}).get(key) for name, key in others.items()}
        beside = ", ".join(f"{name} {metrics['all']['accuracy']:.1f} %" for name, metrics in known.items() if metrics)
        lines.append(
            f"Accuracy     {measured['accuracy']:.1f} % of {measured['images']:,} labelled test images"
            + (f" ({beside})" if beside else "")
        )
    if record.learned_parameters == 0:
        return "\n".join([*lines, "Nothing was learned: to classify other images, run it on them"])
    lines.append(f"To classify  {home.shown_command('predict')} {shlex.quote(str(job.directory))} photo.jpg")
    return "\n".join(lines)
