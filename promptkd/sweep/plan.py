"""A plan: trainers x datasets x protocols x shots x seeds (x a grid) -> the runs, each after what it needs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from promptkd import home
from promptkd.sweep import recipes
from promptkd.sweep.jobs import Job
from promptkd.sweep.recipes import BENCHMARK, FULL_DATA, LEARNS_NOTHING, SHARED, SHOTS, STUDENTS, belongs

_TOLD_ELSEWHERE = {"TRAINER.NAME", "DATASET.NAME", "DATASET.ROOT", "SEED", "OUTPUT_DIR", "PROTOCOL", "EVAL_ONLY",
                   "MODEL_DIR"}  # fmt: skip


@dataclass
class Plan:
    """What a sweep runs, as YAML or a command line gives it."""

    trainers: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)  # files of configs/datasets; "all" is the benchmark
    protocols: list[str] = field(default_factory=lambda: ["base2new"])
    shots: list[int] = field(default_factory=list)  # [] is the protocol's own
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])
    set: dict[str, Any] = field(default_factory=dict)  # KEY: VALUE for every run
    grid: dict[str, list[Any]] = field(default_factory=dict)  # KEY: VALUES, each combination a run of its own
    source: str = "imagenet"  # what cross and dg learn on
    recipe: str = ""  # instead of the published one of each method and protocol
    teacher: str = ""  # a run, a checkpoint or a CLIP's name instead of teachers trained here
    data: str = field(default_factory=lambda: home.working_folder("DATA", "data"))
    output: str = field(default_factory=lambda: home.working_folder("OUTPUT", "output"))

    def check(self) -> None:
        """Refuses a plan that names what does not exist, or nothing.

        Raises:
            ValueError: the message gives the closest name.
        """
        self._check_kinds()
        self.datasets = [name for given in self.datasets for name in (BENCHMARK if given == "all" else (given,))]
        for key in ("trainers", "datasets", "protocols", "seeds"):
            values = getattr(self, key)
            if not values:
                raise ValueError(f"the plan names no {key}: give --{key}, or {key}: [...] in its file")
            if double := {value for value in values if values.count(value) > 1}:
                raise ValueError(f"the plan names {', '.join(map(str, sorted(double)))} twice in {key}")
        for protocol in self.protocols:
            recipes.check(protocol, list(recipes.PROTOCOLS), "protocol")
        for trainer in self.trainers:
            for dataset in [*self.datasets, *([self.source] if {"cross", "dg"} & set(self.protocols) else [])]:
                recipes.recipe(trainer, dataset)
        if own := _TOLD_ELSEWHERE & {*self.set, *self.grid}:
            raise ValueError(f"{', '.join(sorted(own))}: a plan says this by trainers, datasets, seeds, data or output")
        if double := {*self.set} & {*self.grid}:
            raise ValueError(f"{min(double)} is in set and in grid: leave one out")
        for key, values in self.grid.items():
            if not isinstance(values, (list, tuple)) or not values:
                raise ValueError(f"grid {key} is {values!r}: give a list of values")

    def _check_kinds(self) -> None:
        """Refuses values that YAML can hold and a plan cannot use."""
        for key in ("trainers", "datasets", "protocols"):
            if wrong := [value for value in getattr(self, key) if not isinstance(value, str)]:
                raise ValueError(f"{key} has {wrong[0]!r}: give names, numbers in quotes")
        for key in ("seeds", "shots"):
            for number in getattr(self, key):
                if not isinstance(number, int) or isinstance(number, bool) or number < 0:
                    raise ValueError(f"{key} has {number!r}: give whole numbers from 0 on")
        for where, entries in (("set", self.set), ("grid", self.grid)):
            for key, value in entries.items():
                if not isinstance(key, str):
                    raise ValueError(f"{where} has the key {key!r}: give an option, as OPTIM.LR")
                nested = [one for one in (value, *(value if isinstance(value, list) else ())) if isinstance(one, dict)]
                if nested:
                    raise ValueError(f"{where} {key} is {value!r}: write options with dots, as {key}.KEY: VALUE")


def read_plan(path: str | Path, given: Mapping[str, Any]) -> Plan:
    """A plan from a YAML file ("" for none), where what was given on the command line wins.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no YAML mapping, has a key that a plan does not have, or a value of the wrong kind.
    """
    content: Any = {}
    if path:
        if not Path(path).is_file():
            raise FileNotFoundError(f"no plan {path}: give a YAML file with trainers, datasets and seeds")
        try:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise ValueError(f"{path} is no mapping: write trainers: [...], datasets: [...]")
    default = Plan()
    known = [entry.name for entry in fields(Plan)]
    for key, value in content.items():
        recipes.check(str(key), known, "plan key")
        expected = getattr(default, key)
        if isinstance(expected, list) and not isinstance(value, list):
            content[key] = value = [value]
        if not isinstance(value, type(expected)):
            raise ValueError(f"{path}: {key} is {value!r}, but must be a {type(expected).__name__}")
    told = {key: value for key, value in given.items() if value not in (None, "", [], {})}
    own = {*told.get("set", ()), *told.get("grid", ())}  # of each key the command line's, the file's other keys stay
    for key in {"set", "grid"} & {*told, *content}:
        told[key] = {name: value for name, value in content.get(key, {}).items() if name not in own} | told.get(key, {})
    plan = Plan(**(content | told))
    plan.check()
    return plan


def jobs_of(plan: Plan) -> list[Job]:
    """Every run of a plan once, teachers and sources before what needs them.

    Raises:
        FileNotFoundError, ValueError: a recipe that does not exist, or an option that does not fit; before any run.
    """
    builder = _Builder(plan)
    for protocol, dataset, trainer in itertools.product(plan.protocols, plan.datasets, plan.trainers):
        nothing = trainer in LEARNS_NOTHING
        all_shots = plan.shots or list(SHOTS.get(protocol, (16,)))
        for shots in all_shots[-1:] if nothing else all_shots:
            for seed in plan.seeds[:1] if nothing else plan.seeds:
                for point in _points(plan.grid, trainer):
                    builder.run(protocol, dataset, trainer, shots, seed, point)
    depth = {name: 0 for name in builder.jobs}
    for job in builder.jobs.values():  # a run is added after what it needs
        depth[job.name] = 1 + max((depth[name] for name in job.needs), default=-1)
    return sorted(builder.jobs.values(), key=lambda job: depth[job.name])


def _points(grid: Mapping[str, Sequence[Any]], trainer: str) -> list[dict[str, Any]]:
    """The combinations of a grid, of the keys that matter to a trainer."""
    keys = [key for key in grid if belongs(key, trainer)]
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(grid[key] for key in keys))]


class _Builder:
    """Adds runs by name; what a run needs is added before it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.output = Path(plan.output).absolute()  # a teacher's path is part of its student's configuration
        self.jobs: dict[str, Job] = {}

    def run(self, protocol: str, dataset: str, trainer: str, shots: int, seed: int, point: Mapping[str, Any]) -> str:
        """Adds a run of the plan, and its teacher or source; returns its name."""
        plan = self.plan
        given = {key: value for key, value in plan.set.items() if belongs(key, trainer)} | dict(point)
        options = {key: value for key, value in given.items() if not key.startswith("TEACHER.")}
        backbone = str(options.get("MODEL.BACKBONE.NAME", ""))
        elsewhere = protocol in ("cross", "dg")
        if elsewhere and dataset == plan.source:
            protocol = "cross"  # one run on the source serves both
        options.setdefault("DATASET.NUM_SHOTS", 0 if trainer in FULL_DATA else shots)
        options |= {"PROTOCOL": protocol} if elsewhere else {}
        options |= {"DATASET.SUBSAMPLE_CLASSES": "base"} if protocol == "base2new" else {}
        needs: tuple[str, ...] = ()
        extra: list[str] = []
        if trainer in STUDENTS:
            options["TRAINER.MODAL"] = "base2novel" if protocol == "base2new" else "cross"
            options |= {"PROTOCOL": protocol} if protocol == "fewshot" else {}
            teacher = plan.teacher
            if not teacher:
                needs = (self.teacher(protocol, dataset, backbone, shots, given, point),)
                teacher = str(self.jobs[needs[0]].directory)
            options[f"TRAINER.{trainer.upper()}.TEACHER"] = teacher
        elif elsewhere and dataset != plan.source and trainer not in LEARNS_NOTHING:
            needs = (self.run(protocol, plan.source, trainer, shots, seed, point),)
            extra = ["--eval-only", "--model-dir", str(self.jobs[needs[0]].directory)]
        learned_on = plan.source if elsewhere else dataset
        recipe = plan.recipe or recipes.recipe(trainer, learned_on, protocol, backbone, shots)
        # what a method learned elsewhere is another run for each source
        where = dataset if learned_on == dataset or trainer in LEARNS_NOTHING else f"{learned_on}_to_{dataset}"
        kept = shots if protocol == "fewshot" else int(options["DATASET.NUM_SHOTS"])
        directory = (protocol, where, trainer, recipe, kept)
        return self.add(directory, dataset, seed, options, point, needs, extra)

    def teacher(
        self, protocol: str, dataset: str, backbone: str, shots: int, given: Mapping[str, Any], point: Mapping[str, Any]
    ) -> str:
        """Adds a teacher: seed 1, shared by the students of all seeds; for cross and dg it learns on the source."""
        if protocol in ("cross", "dg"):
            protocol, dataset = "cross", self.plan.source
        trainer, recipe = recipes.teacher_recipe(dataset, backbone)
        options: dict[str, Any] = {"DATASET.NUM_SHOTS": shots}
        options |= {"DATASET.SUBSAMPLE_CLASSES": "base"} if protocol == "base2new" else {}
        options |= {"PROTOCOL": protocol} if protocol == "cross" else {}
        told = {}
        for key, value in given.items():
            own = key.removeprefix("TEACHER.")
            if own != key or (key.startswith(SHARED) and key != "DATASET.NUM_SHOTS"):
                options[own] = value
                told |= {own: value} if key in point else {}
        return self.add((protocol, dataset, trainer, recipe, shots), dataset, 1, options, told, (), [])

    def add(
        self, place: tuple[str, str, str, str, int], dataset: str, seed: int, options: Mapping[str, Any],
        point: Mapping[str, Any], needs: tuple[str, ...], extra: Sequence[str],
    ) -> str:  # fmt: skip
        """Adds a run unless it is there; its configuration is built, so that a mistake shows before any run starts.

        Its directory tells the point of the grid in the recipe's folder.

        Args:
            place: protocol, folder for the data set, method, recipe and shots, which make its directory.
            dataset: what it is tested on.
            seed, options: of the run.
            point: what of the options is a point of the grid.
            needs: names of the runs that come first.
            extra: further arguments of train.py.
        """
        protocol, where, trainer, recipe, shots = place
        told = "".join(f"+{key.rpartition('.')[2]}={_word(value)}" for key, value in point.items())
        directory = recipes.run_directory(self.output, protocol, where, trainer, recipe + told, shots, seed)
        name = directory.relative_to(self.output).as_posix()
        words = [word for key, value in options.items() for word in (key, str(value))]
        arguments = recipes.arguments(trainer, dataset, recipe, self.plan.data, seed, directory, [*extra, *words])
        command = (*home.command("train"), *arguments)
        if name in self.jobs:
            if self.jobs[name].command != command:
                raise ValueError(f"two different runs of the plan go to {directory}: sweep them to separate --output")
            return name
        cfg, config_hash = _configure(arguments)
        eval_only = "--eval-only" in extra
        epochs = 0 if eval_only or trainer in LEARNS_NOTHING else cfg.OPTIM.MAX_EPOCH
        self.jobs[name] = Job(name, directory, command, config_hash, needs, epochs, eval_only)
        return name


def _configure(arguments: Sequence[str]) -> tuple[Any, str]:
    from promptkd.engine import command  # imports every method and data set: only once a plan is good
    from promptkd.results.settings import fingerprint

    cfg = command.configure(command.parser().parse_args(list(arguments)))
    return cfg, fingerprint(cfg)


def _word(value: Any) -> str:
    """A value as part of a folder's name."""
    return "".join(character if character.isalnum() or character in ".-+" else "_" for character in str(value))
