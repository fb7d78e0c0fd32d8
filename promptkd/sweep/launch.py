"""Runs methods by one protocol, the runs that they need first, and ends with the table; scripts/*.sh call this.

    python tools/launch.py base2new PromptKD eurosat 1 2 3 TRAINER.PROMPTKD.TEMPERATURE 2.0
    python tools/launch.py fewshot CoOp,MaPLe eurosat 16        # or 1,2,4,8,16, or all, which is the default
    python tools/launch.py xd_train CoOp imagenet               # learns on the source
    python tools/launch.py xd_test CoOp eurosat dtd             # evaluates it elsewhere, without training again
    python tools/launch.py xd_test CoOp all dg                  # the ten targets, and the four ImageNet variants
    python tools/launch.py folder PromptKD IMAGES CLASSES.txt   # a student of one's own images, without labels; or UPL

`promptkd launch` is the same command where the project is installed.

Then seeds (default 1 2 3), then KEY VALUE pairs for train.py; a student's teacher gets those on how images are made and
read (INPUT, DATALOADER, DATASET, USE_CUDA, VERBOSE) too, and TEACHER.KEY is for it alone. A student that is sent
elsewhere (xd_train PromptKD eurosat) learns from the target's images without labels, from a teacher of the source.

From the environment: DATA (where the data sets are), OUTPUT, SHOTS (16), SOURCE (imagenet), RECIPE (a recipe's name
instead of the published one, or what stands behind its name: plus), TEACHER (a run, a published .pth.tar or a CLIP
name instead of a teacher trained here), KD_WEIGHT. A bundled teacher, mini-teacher or a run of it, brings the bundled
student and its recipe in every protocol, where MODEL.BACKBONE.NAME names no other.

A run that is finished is not run again. One that fails does not stop the others; the same command runs it again. One
that is killed is started again, as in a sweep. Runs go one at a time, and their output is shown; or one on each visible
GPU (CUDA_VISIBLE_DEVICES), and their progress is shown.

--dry-run anywhere among the words prints the runs and what state they are in, and runs none.

With folder, CLASSES.txt has a class name a line, the default seed is 1 and the default TEACHER zero-shot ViT-L/14 (for
MODEL.BACKBONE.NAME mini-student, mini-teacher). TEMPLATE ("a histology image of {}.") and TEST_DIR (a folder with a
folder of labelled test images per class) count too. It ends with where the student and its predictions are.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from promptkd import aliases
from promptkd.errors import describe
from promptkd.exits import say_interrupted
from promptkd.sweep import command as sweep
from promptkd.sweep import own_images
from promptkd.sweep.expand import jobs_of
from promptkd.sweep.jobs import Job, Outcome, refuse_taken, states_of
from promptkd.sweep.plan import Plan
from promptkd.sweep.recipes import BENCHMARK, STUDENTS, VARIANTS, dataset_names, take_seeds, whole
from promptkd.tables import command as collect
from promptkd.written import pairs_of

DRY = "--dry-run"
COMMANDS = ("base2new", "fewshot", "xd_train", "xd_test", "folder")


def read_words(command: str, trainers: Sequence[str], words: Sequence[str]) -> list[Plan]:
    """The plans that a command line asks for: data sets, in the few-shot protocol shots, seeds, KEY VALUE pairs.

    Raises:
        ValueError: no data set, a key without a value or with two, or what `Plan.check` raises.
    """
    words = list(words)
    trainers = [aliases.trainer_meant(name) for name in trainers]
    published: dict[str, str] = {}
    if set(trainers) <= {"TFUP", "TFUPT"}:
        published |= aliases.take_tfup_flags(words, "TFUPT" in trainers)
    datasets: list[str] = []
    while words and re.fullmatch(r"[a-z][a-z0-9_,]*", words[0]) and not (datasets and command == "fewshot"):
        datasets += words.pop(0).split(",")
    datasets = [aliases.dataset_meant(name, dataset_names()) for name in datasets]
    of_upl = aliases.UplWords()
    if command == "fewshot" and trainers == ["UPL"]:
        of_upl = aliases.take_upl_words(words)
        published |= of_upl.options
    shots = [of_upl.shots] if of_upl.recipe else _take_shots(command, words)
    if list(trainers) == ["KgCoOp"] and words and re.fullmatch(r"[0-9]+\.[0-9]+", words[0]):
        published["TRAINER.KGCOOP.W"] = words.pop(0)  # its own script's second argument: stanford_cars 8.0
    seeds = take_seeds(words)
    options = published | aliases.pairs_meant(pairs_of(words))
    if os.environ.get("KD_WEIGHT"):
        options.setdefault("TRAINER.PROMPTKD.KD_WEIGHT", os.environ["KD_WEIGHT"])
    by_protocol, source = _datasets_by_protocol(command, trainers, datasets)
    plans = []
    for protocol, names in by_protocol.items():
        plan = Plan(
            trainers=list(trainers), datasets=names, protocols=[protocol], shots=shots, seeds=seeds or [1, 2, 3]
        )
        plan.set, plan.source = dict(options), source
        plan.recipe = of_upl.recipe or os.environ.get("RECIPE", "")
        plan.teacher = os.environ.get("TEACHER", "")
        plan.check()
        plans.append(plan)
    return plans


def _take_shots(command: str, words: list[str]) -> list[int]:
    """The shots of SHOTS, or of the first word of the few-shot protocol, which is taken away; [] for the default."""
    if command == "fewshot" and words and re.fullmatch(r"all|[0-9]+(,[0-9]+)*", words[0]):
        word = words.pop(0)
        return [] if word == "all" else [whole("a number of shots", number) for number in word.split(",")]
    return [whole("SHOTS", os.environ["SHOTS"])] if os.environ.get("SHOTS") else []


def _datasets_by_protocol(
    command: str, trainers: Sequence[str], datasets: list[str]
) -> tuple[dict[str, list[str]], str]:
    """(protocol -> data sets, source) of a command line. Raises ValueError where it names no data set."""
    source = os.environ.get("SOURCE", "imagenet")
    trains_source = command == "xd_train" and not set(trainers) & set(STUDENTS)
    if not datasets and trains_source:
        datasets = [source]  # published scripts name the seed alone
    if not datasets:
        raise ValueError(f"{command} needs a data set: a file of configs/datasets, as eurosat")
    if not command.startswith("xd"):
        return {command: datasets}, source
    source = datasets[0] if trains_source else source
    return targets(datasets, source), source


def targets(names: Sequence[str], source: str) -> dict[str, list[str]]:
    """Protocol -> data sets; ImageNet's variants after ImageNet are domain generalisation."""
    ten = [name for name in BENCHMARK if name != source]
    flat = [one for name in names for one in {"all": ten, "dg": list(VARIANTS)}.get(name, [name])]
    variants = [name for name in flat if name in VARIANTS and source == "imagenet"]
    by_protocol = {"cross": [name for name in flat if name not in variants], "dg": variants}
    return {protocol: datasets for protocol, datasets in by_protocol.items() if datasets}


def sweep_jobs(jobs: Sequence[Job]) -> list[Outcome]:
    """Runs the jobs as a sweep does, failed ones again too, and prints how they ended.

    Raises:
        ValueError: a directory holds another configuration; before any run.
    """
    states = states_of(jobs)
    refuse_taken(states, "OUTPUT")
    for job in jobs:
        if states[job.name][0] == "done":
            print(f"Done already: {job.directory}", flush=True)
    outcomes = sweep.run(jobs, states, sweep.parser().parse_args(["--retry"]), foreground=True)
    print(f"\n{sweep.summary(outcomes)}\n", flush=True)
    return outcomes


def folders(plans: Sequence[Plan]) -> list[str]:
    """The folders with the runs of the plans, for the tables."""
    places = [
        Path(plan.output) / protocol / ("" if protocol in ("cross", "dg") else name)
        for plan in plans
        for protocol in plan.protocols
        for name in plan.datasets
    ]
    return [str(place) for place in dict.fromkeys(places) if place.is_dir()]


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("trainers", help="one method, or several as CoOp,MaPLe")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="data sets, shots (fewshot), seeds, KEY VALUE pairs")
    args = parser.parse_args(argv)
    of_folder, dry = args.command == "folder", DRY in args.words
    args.words = [word for word in args.words if word != DRY]
    plans: list[Plan] = []
    try:
        if of_folder:
            jobs = own_images.jobs_of(args.words, aliases.trainer_meant(args.trainers))
        else:
            plans = read_words(args.command, args.trainers.split(","), args.words)
            jobs = [job for plan in plans for job in jobs_of(plan)]
        jobs = list({job.name: job for job in jobs}.values())  # plans may share a source
        if dry:
            print(sweep.listing(jobs, states_of(jobs)))
            return 0
        outcomes = sweep_jobs(jobs)
    except (ValueError, OSError) as error:
        print(f"error: {describe(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return say_interrupted("interrupted: the same command goes on with what is not done")
    code = sweep.exit_code(outcomes)
    done = {outcome.name for outcome in outcomes if outcome.state == "done"}
    if of_folder:
        print("\n\n".join(own_images.report(job) for job in jobs if job.name in done))
    elif done:
        code = collect.main(folders(plans)) or code
    left = len(outcomes) - len(done)
    if left:
        kind = "stopped" if code == 130 else "error"
        print(f"{kind}: {left} of {len(outcomes)} runs not done; the same command goes on with them", file=sys.stderr)
    return code


def command_line(argv: Sequence[str] | None = None) -> int:
    """`main` for a shell: the end of the terminal counts as a Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return main(argv)
