"""A plan: trainers x datasets x protocols x shots x seeds (x a grid), from a YAML file or a command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from promptkd import aliases, home
from promptkd.bounded import shown
from promptkd.sweep import recipes
from promptkd.written import Written, is_empty, read_yaml, value_of

_SET_BY_PLAN = {"TRAINER.NAME", "DATASET.NAME", "DATASET.ROOT", "SEED", "OUTPUT_DIR", "PROTOCOL", "EVAL_ONLY",
                   "MODEL_DIR"}  # fmt: skip


QUOTE = "'"  # around a key in a message
_NUMBERS = ("seeds", "shots")


@dataclass
class Plan:
    """The content of a plan, as YAML or a command line gives it."""

    trainers: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)  # files of configs/datasets, or with a domain; "all": benchmark
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
        for name in ("data", "output", "teacher"):
            setattr(self, name, home.expanded(getattr(self, name)))
        self.datasets = [
            name for given in self.datasets for name in (recipes.BENCHMARK if given == "all" else (given,))
        ]
        self.trainers = [aliases.trainer_meant(name) for name in self.trainers]
        self.datasets = [aliases.dataset_meant(name, recipes.dataset_names()) for name in self.datasets]
        self._choose_domains()
        for key in ("trainers", "datasets", "protocols", "seeds"):
            values = getattr(self, key)
            if not values:
                raise ValueError(f"the plan names no {key}: give --{key}, or {key}: [...] in its file")
            if twice := [value for value, number in Counter(values).items() if number > 1]:
                raise ValueError(f"the plan names {', '.join(map(str, sorted(twice)[:10]))} twice in {key}")
        for protocol in self.protocols:
            recipes.check(protocol, list(recipes.PROTOCOLS), "protocol")
        for trainer in filter(lambda name: not is_foreign(name), self.trainers):
            for dataset in [*self.datasets, *([self.source] if {"cross", "dg"} & set(self.protocols) else [])]:
                recipes.recipe(trainer, dataset)
        if keys := _SET_BY_PLAN & {*self.set, *self.grid}:
            raise ValueError(
                f"{', '.join(sorted(keys))}: a plan says this by trainers, datasets, seeds, data or output"
            )
        if double := {*self.set} & {*self.grid}:
            raise ValueError(f"{min(double)} is in set and in grid: leave one out")
        for key, values in self.grid.items():
            if not isinstance(values, (list, tuple)) or not values:
                raise ValueError(f"grid {key} is {shown(values)}: give a list of values")

    def _choose_domains(self) -> None:
        """Puts a data set's domains in its place, all or those of DATASET.DOMAIN: each has directories of its own."""
        words = self.grid.pop("DATASET.DOMAIN", [])
        words = [*([self.set.pop("DATASET.DOMAIN")] if "DATASET.DOMAIN" in self.set else []), *words]
        elsewhere = {"cross", "dg"} & set(self.protocols)
        if elsewhere and len(recipes.with_domains(self.source)) > 1:
            raise ValueError(f"source {self.source} has domains: name one, as {recipes.with_domains(self.source)[0]}")
        chosen = []
        for name in self.datasets:
            domains = recipes.chosen_domains(name, [str(value_of(word)) for word in words])
            # a data set without a domain means all but the one that was learned on
            chosen += [one for one in domains if one == name or not elsewhere or one != self.source]
        self.datasets = chosen

    def _check_kinds(self) -> None:
        """Refuses values that YAML can hold and a plan cannot use."""
        for key in ("trainers", "datasets", "protocols"):
            if wrong := [value for value in getattr(self, key) if not isinstance(value, str) or not value.strip()]:
                raise ValueError(f"{key} has {shown(wrong[0])}: give names")
        for key in ("seeds", "shots"):
            for number in getattr(self, key):
                if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**32:
                    raise ValueError(f"{key} has {shown(number)}: give whole numbers from 0 on, below 2**32")
        for where, entries in (("set", self.set), ("grid", self.grid)):
            for key, value in entries.items():
                if not isinstance(key, str) or not key[:1].isalpha():
                    raise ValueError(f"{where} has the key {shown(key).strip(QUOTE)}: give an option, as OPTIM.LR")
                nested = [one for one in (value, *(value if isinstance(value, list) else ())) if isinstance(one, dict)]
                if nested:
                    raise ValueError(
                        f"{where} {key} is {shown(value_of(value))}: write options with dots, as {key}.KEY: VALUE"
                    )


def is_foreign(trainer: str) -> bool:
    """Whether a plan's trainer is one of somebody's repository, written FOLDER:NAME."""
    folder, colon, _ = trainer.rpartition(":")
    return bool(colon) and Path(home.expanded(folder)).is_dir()


def read_plan(path: str | Path, given: Mapping[str, Any]) -> Plan:
    """A plan from a YAML file ("" for none) and the options of the command line (`given`), which win.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no YAML mapping, has a key that a plan does not have, or a value of the wrong kind.
    """
    content: Any = {}
    if path := home.expanded(str(path)):
        if not Path(path).is_file():
            raise FileNotFoundError(f"no plan {path}: give a YAML file with trainers, datasets and seeds")
        content = read_yaml(path) or {}
        if not isinstance(content, dict):
            raise ValueError(f"{path} is no mapping: write trainers: [...], datasets: [...]")
    default = Plan()
    known = [entry.name for entry in fields(Plan)]
    for key, value in content.items():
        recipes.check(str(key), known, "plan key")
        expected = getattr(default, key)
        content[key] = value = _entry(key, value)
        if isinstance(expected, list) and not isinstance(value, list):
            content[key] = value = [value]
        if not isinstance(value, type(expected)):
            raise ValueError(f"{path}: {key} is {shown(value)}, but must be a {type(expected).__name__}")
    options = {key: value for key, value in given.items() if value not in (None, "", [], {})}
    winning = {*options.get("set", ()), *options.get("grid", ())}  # keys of the command line; the file's others stay
    for key in {"set", "grid"} & {*options, *content}:
        kept = {name: value for name, value in content.get(key, {}).items() if name not in winning}
        options[key] = kept | options.get(key, {})
    plan = Plan(**(content | options))
    plan.check()
    return plan


def _entry(key: str, value: Any) -> Any:
    """An entry of a plan's file: names as they are written, numbers as numbers, and the values of options as words.

    Raises:
        ValueError: a number that reads as two different ones.
    """
    try:
        if key in _NUMBERS:
            return value_of(value)
        if isinstance(value, list):
            return [value_of(one) if _is_null(one) or not isinstance(one, str) else str(one) for one in value]
        return value if isinstance(value, dict) else value_of(value) if _is_null(value) else str(value)
    except ValueError as error:
        raise ValueError(f"{key} has {error}") from error


def _is_null(value: Any) -> bool:
    return isinstance(value, Written) and is_empty(value) and value != "~"
