"""A plan -> its jobs, each after those that it needs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptkd import home
from promptkd.results.settings import node_of, sections_of
from promptkd.sweep import recipes
from promptkd.sweep.jobs import Job
from promptkd.sweep.plan import Plan, is_foreign
from promptkd.sweep.recipes import (
    FULL_DATA,
    LEARNS_NOTHING,
    PSEUDO_LABELLED,
    SHARED,
    SHOTS,
    STUDENTS,
    TAUGHT_HERE,
    WITHOUT_EPOCHS,
    belongs,
)
from promptkd.sweep.words import as_word, folder_word, shots_of
from promptkd.texts import clipped
from promptkd.written import listed_texts

MOST_RUNS = 20_000  # of one plan; the benchmark of all methods, protocols, shots and seeds has some 6,000


def jobs_of(plan: Plan) -> list[Job]:
    """Every job of a plan once, teachers and sources before the jobs that need them.

    Raises:
        FileNotFoundError, ValueError: a recipe that does not exist, or an option that does not fit; before any run.
    """
    check_number(plan)
    builder = _Builder(plan)
    ours = [trainer for trainer in plan.trainers if not is_foreign(trainer)]
    for protocol, dataset, trainer in itertools.product(plan.protocols, plan.datasets, ours):
        # It has no random numbers, but what is drawn into a pool has.
        drawn = any(key.startswith("POOL.") for key in {*plan.set, *plan.grid})
        nothing = trainer in LEARNS_NOTHING and not (drawn and trainer in FULL_DATA)
        all_shots = plan.shots or list(SHOTS.get(protocol, (16,)))
        for shots in all_shots[-1:] if nothing else all_shots:
            for seed in plan.seeds[:1] if nothing else plan.seeds:
                for point in _points(plan.grid, trainer):
                    builder.run(protocol, dataset, trainer, shots, seed, point)
    for trainer in filter(is_foreign, plan.trainers):
        builder.jobs |= _foreign_jobs(plan, trainer)
    depth = {name: 0 for name in builder.jobs}
    for job in builder.jobs.values():  # a job is added after those that it needs
        depth[job.name] = 1 + max((depth[name] for name in job.needs), default=-1)
    return sorted(builder.jobs.values(), key=lambda job: depth[job.name])


def _foreign_jobs(plan: Plan, trainer: str) -> dict[str, Job]:
    """The jobs of a trainer of somebody's repository, FOLDER:NAME, by name.

    USE_CUDA False in the plan means that it runs without a GPU; `promptkd foreign` has more options.
    """
    from promptkd.host import jobs, repository

    folder, _, name = trainer.rpartition(":")
    theirs = repository.find(home.expanded(folder))
    made: dict[str, Job] = {}
    for protocol in plan.protocols:
        for shots, point in itertools.product(
            plan.shots or list(SHOTS.get(protocol, ()) or (16,)), _points(plan.grid, name)
        ):
            options = {key: as_word(value) for key, value in (plan.set | point).items()}
            cpu = options.pop("USE_CUDA", "True").lower() == "false"
            words = [word for pair in options.items() for word in pair]
            wish = jobs.Wish(theirs, name, plan.datasets, protocol, plan.seeds, [shots], plan.recipe, words,
                             plan.data, plan.output, plan.source, cpu)  # fmt: skip
            made |= {job.name: job for job in jobs.jobs_of(wish)[0]}
    return made


def check_number(plan: Plan) -> None:
    """Raises ValueError where a plan has more runs than anybody waits for, before any of them is built."""
    sizes = [len(values) for values in plan.grid.values()]
    runs = math.prod([len(plan.protocols), len(plan.datasets), len(plan.trainers), max(len(plan.seeds), 1), *sizes])
    runs *= max(len(plan.shots), *(map(len, SHOTS.values()) if "fewshot" in plan.protocols else ()), 1)
    if runs > MOST_RUNS:
        raise ValueError(
            f"the plan has more than {MOST_RUNS:,} runs: leave out values of its grid "
            f"({clipped(' x '.join(map(str, sizes))) or 'none'}), seeds or data sets"
        )


def _points(grid: Mapping[str, Sequence[Any]], trainer: str) -> list[dict[str, Any]]:
    """The combinations of a grid's values, for the keys that matter to a trainer."""
    keys = [key for key in grid if belongs(key, trainer)]
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(grid[key] for key in keys))]


class _Builder:
    """Collects jobs by name, each after those that it needs."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.output = Path(plan.output).absolute()  # a teacher's path is part of its student's configuration
        self.jobs: dict[str, Job] = {}

    def run(self, protocol: str, dataset: str, trainer: str, shots: int, seed: int, point: Mapping[str, Any]) -> str:
        """Adds a job of the plan, after its teacher or source; returns its name."""
        plan = self.plan
        given = {key: value for key, value in plan.set.items() if belongs(key, trainer)} | dict(point)
        options = {key: value for key, value in given.items() if not key.startswith("TEACHER.")}
        named = self.teacher_named(trainer, given)
        backbone = recipes.student_backbone(as_word(options.get("MODEL.BACKBONE.NAME", "")), named)
        elsewhere = protocol in ("cross", "dg")
        if elsewhere and dataset == plan.source:
            protocol = "cross"  # one run on the source serves both
        options.setdefault("DATASET.NUM_SHOTS", 0 if trainer in FULL_DATA else shots)
        if protocol == "fewshot" or plan.shots:
            for key in PSEUDO_LABELLED.get(trainer, ()):
                options.setdefault(f"TRAINER.{trainer.upper()}.{key}", shots)
        options |= {"PROTOCOL": protocol} if elsewhere or (protocol == "fewshot" and trainer in PSEUDO_LABELLED) else {}
        options |= {"DATASET.SUBSAMPLE_CLASSES": "base"} if protocol == "base2new" else {}
        needs: tuple[str, ...] = ()
        extra: list[str] = []
        if trainer in STUDENTS:
            options["TRAINER.MODAL"] = "base2novel" if protocol == "base2new" else "cross"
            options |= {"PROTOCOL": protocol} if protocol == "fewshot" else {}
            section = f"TRAINER.{node_of(trainer)}"
            several = as_word(options.get(f"{section}.TEACHERS", ""))  # which stand in the place of one
            teacher = as_word(options.get(f"{section}.TEACHER", plan.teacher))
            if not teacher and (not several or TAUGHT_HERE in several):
                needs = (self.teacher(protocol, dataset, backbone, shots, given, point),)
                teacher = str(self.jobs[needs[0]].directory)
            if several:
                options[f"{section}.TEACHERS"] = several.replace(TAUGHT_HERE, teacher)
            else:
                options[f"{section}.TEACHER"] = teacher
        elif plan.teacher and trainer.endswith("_KDPL"):
            options.setdefault("TRAINER.KDPL.TEACHER", plan.teacher)
        if elsewhere and trainer not in STUDENTS and dataset != plan.source and trainer not in LEARNS_NOTHING:
            needs = (self.run(protocol, plan.source, trainer, shots, seed, point),)
            extra = ["--eval-only", "--model-dir", str(self.jobs[needs[0]].directory)]
        learned_on = plan.source if elsewhere else dataset
        usual = recipes.recipe(trainer, learned_on, protocol, backbone, shots)
        recipe = recipes.named(plan.recipe, trainer, usual)
        # what a method learned elsewhere is another run for each source
        where = dataset if learned_on == dataset or trainer in LEARNS_NOTHING else f"{learned_on}_to_{dataset}"
        kept = shots if protocol == "fewshot" else shots_of(options["DATASET.NUM_SHOTS"])
        directory = (protocol, where, trainer, recipe, kept)
        return self.add(directory, dataset, seed, options, point, needs, extra)

    def teacher_named(self, trainer: str, given: Mapping[str, Any]) -> str:
        """The teacher that the user names for a method, the first of several, or the CLIP of the one that is trained
        here; "" where the user names none, or the method has none.

        Args:
            trainer: registered name.
            given: the user's options, of the plan and of the point of its grid.
        """
        if trainer not in STUDENTS and not trainer.endswith("_KDPL"):
            return ""
        section = f"TRAINER.{sections_of(trainer)[-1] if trainer.endswith('_KDPL') else node_of(trainer)}"
        several = listed_texts(as_word(given.get(f"{section}.TEACHERS", ""))) or [TAUGHT_HERE]
        if (first := str(several[0])) != TAUGHT_HERE:
            return first
        here = given.get("TEACHER.MODEL.BACKBONE.NAME", "")
        return as_word(given.get(f"{section}.TEACHER", "") or self.plan.teacher or here)

    def teacher(
        self, protocol: str, dataset: str, backbone: str, shots: int, given: Mapping[str, Any], point: Mapping[str, Any]
    ) -> str:
        """Adds a teacher, of seed 1 for the students of all seeds; for cross and dg it learns on the source."""
        if protocol in ("cross", "dg"):
            protocol, dataset = "cross", self.plan.source
        trainer, recipe = recipes.teacher_recipe(dataset, backbone)
        options: dict[str, Any] = {"DATASET.NUM_SHOTS": shots}
        options |= {"DATASET.SUBSAMPLE_CLASSES": "base"} if protocol == "base2new" else {}
        options |= {"PROTOCOL": protocol} if protocol == "cross" else {}
        teacher_point: dict[str, Any] = {}
        for key, value in given.items():
            name = key.removeprefix("TEACHER.")
            if name != key or (key.startswith(SHARED) and key != "DATASET.NUM_SHOTS"):
                options[name] = value
                teacher_point |= {name: value} if key in point else {}
        return self.add((protocol, dataset, trainer, recipe, shots), dataset, 1, options, teacher_point, (), [])

    def add(
        self, place: tuple[str, str, str, str, int], dataset: str, seed: int, options: Mapping[str, Any],
        point: Mapping[str, Any], needs: tuple[str, ...], extra: Sequence[str],
    ) -> str:  # fmt: skip
        """Adds a job unless it is known; returns its name.

        Its configuration is built, so that a mistake shows before any run starts.

        Args:
            place: protocol, folder for the data set, method, recipe and shots, which make its directory.
            dataset: what it is tested on.
            seed, options: of the run.
            point: the options that are a point of the grid; they are added to the recipe in the directory's name.
            needs: names of the jobs that come first.
            extra: further arguments of train.py.

        Raises:
            ValueError: another job of the plan has that directory.
        """
        protocol, where, trainer, recipe, shots = place
        suffix = "".join(f"+{key.rpartition('.')[2]}={folder_word(value)}" for key, value in point.items())
        directory = recipes.run_directory(self.output, protocol, where, trainer, recipe + suffix, shots, seed)
        name = directory.relative_to(self.output).as_posix()
        words = [word for key, value in options.items() for word in (key, as_word(value))]
        arguments = recipes.arguments(trainer, dataset, recipe, self.plan.data, seed, directory, [*extra, *words])
        command = (*home.command("train"), *arguments)
        if name in self.jobs:
            if self.jobs[name].command != command:
                raise ValueError(f"two different runs of the plan go to {directory}: sweep them to separate --output")
            return name
        cfg, config_hash, learned_hash = _configure(arguments)
        eval_only = "--eval-only" in extra
        epochs = 0 if eval_only or trainer in WITHOUT_EPOCHS else cfg.OPTIM.MAX_EPOCH
        moved = "" if eval_only else _moved_from(directory, cfg)
        self.jobs[name] = Job(
            name, directory, command, config_hash, needs, epochs, eval_only, moved_from=moved, learned_hash=learned_hash
        )
        return name


def _configure(arguments: Sequence[str]) -> tuple[Any, str, str]:
    """The configuration that train.py makes of its arguments, its hash, and that of what learns."""
    from promptkd.engine import command  # it imports every method and data set: only once a plan is good
    from promptkd.results.settings import fingerprint

    cfg = command.configure(command.parser().parse_args(list(arguments)))
    return cfg, fingerprint(cfg), fingerprint(cfg, measuring=False)


def _moved_from(directory: Path, cfg: Any) -> str:
    """The configuration hash of the same run before its teacher's folder was moved; "" where it is where it was."""
    from promptkd.results.directory import moved_from

    try:
        return moved_from(directory, cfg)
    except ValueError:  # a damaged config.yaml, which the state of the directory tells
        return ""
