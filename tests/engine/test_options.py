"""Options of methods: one declaration gives the configuration's keys, their checks and their meanings."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from tiny_runs import BASE, METHODS
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY, TrainerX
from promptkd import guests
from promptkd.engine.options import MethodOptions, defaults_of, option, read_options
from trainers.base import PromptTrainer

guests.register()


@dataclass(frozen=True)
class Sample(MethodOptions):
    """Options of every kind."""

    n_ctx: int = option(4, "tokens", least=1)
    rate: float = option(0.5, "a rate", above=0)
    mode: str = option("", "a mode", choices=("", "fast"))
    spread: float = option(1.0, "a spread", above=0, hint="a spread is above 0")


def read(**values: object) -> Sample:
    return read_options(Sample, "Method", CfgNode({"TRAINER": {"METHOD": values}}))


def test_keys_are_dassls_upper_case_names():
    assert defaults_of(Sample) == {"PREC": "fp16", "N_CTX": 4, "RATE": 0.5, "MODE": "", "SPREAD": 1.0}
    assert read(N_CTX=7) == Sample(n_ctx=7)
    assert read_options(Sample, "Other", CfgNode({"TRAINER": {}})) == Sample()


@pytest.mark.parametrize(
    "values, message",
    [
        ({"N_CTX": 0}, r"TRAINER.METHOD.N_CTX 0: set 1 or more"),
        ({"RATE": 0.0}, r"TRAINER.METHOD.RATE 0.0: set more than 0"),
        ({"RATE": float("nan")}, r"TRAINER.METHOD.RATE nan: give a finite number"),
        ({"MODE": "slow"}, r"TRAINER.METHOD.MODE 'slow': choose '', fast"),
        ({"SPREAD": -1.0}, r"TRAINER.METHOD.SPREAD -1.0: a spread is above 0"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        read(**values)


def test_every_option_of_every_method_has_a_meaning():
    kinds = [TRAINER_REGISTRY.get(name) for name in TRAINER_REGISTRY.registered_names()]
    methods = [kind for kind in kinds if hasattr(kind, "Options")]
    assert len(methods) == 23
    for kind in methods:
        assert kind.__bases__ == (PromptTrainer,) and PromptTrainer.__bases__ == (TrainerX,), kind
        for entry in fields(kind.Options):
            assert entry.metadata["meaning"], entry.name
            read_options(kind.Options, kind.__name__, CfgNode({"TRAINER": {}}))


@pytest.mark.parametrize("trainer", METHODS)
def test_every_option_that_is_declared_is_read(run, tmp_path: Path, monkeypatch, trainer: str):
    """An inherited option that a method's loss forgets would be accepted and do nothing."""
    read_by: dict[type, set[str]] = {}

    def watched(options: MethodOptions, name: str) -> object:
        if sys._getframe(1).f_code.co_name not in ("check", "not_read", "__init__"):
            read_by.setdefault(type(options), set()).add(name)
        return object.__getattribute__(options, name)

    monkeypatch.setattr(MethodOptions, "__getattribute__", watched, raising=False)
    run(trainer, tmp_path / "run", *BASE, *METHODS[trainer].words(trainer))
    kind = TRAINER_REGISTRY.get(trainer).Options
    assert {one.name for one in fields(kind)} <= read_by[kind]
