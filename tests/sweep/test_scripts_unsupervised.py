"""What the scripts of the methods without labels start, from the words to the table, on small trees with mini-student.

That each script starts this launcher with these words is held by tests/project/test_scripts.py; runs go in this
process.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import result
from trees import write_class_tree, write_eurosat

import train
from promptkd.sweep import execute as executing
from promptkd.sweep import launch
from promptkd.sweep.jobs import Job

FAST = ("MODEL.BACKBONE.NAME", "mini-student", "OPTIM.MAX_EPOCH", "1", "USE_CUDA", "False")
TRANSDUCTIVE = {"UPL": True, "TFUP": True, "TFUPT": True, "MaPLe_KDPL": False}


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs go; EuroSAT is the source and DTD a target, each with a few images a class."""
    write_eurosat(tmp_path / "data")
    write_class_tree(tmp_path / "data/dtd/images", dict.fromkeys(["banded", "dotted", "woven"], 10))

    def here(one: Job, *_: object) -> int:
        train.main(list(one.command[2:]))
        return 0

    monkeypatch.setattr(executing, "_process", here)
    for name in ("RECIPE", "TEACHER", "KD_WEIGHT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"SOURCE": "eurosat", "SHOTS": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OUTPUT", str(tmp_path / "out"))
    return tmp_path / "out"


def records(out: Path, *words: str) -> dict[str, dict]:
    """Launches words to the end; protocol/data set/... of each run that they made -> its results.json."""
    before = set(out.rglob("results.json"))
    assert launch.main([*words, *FAST]) == 0
    made = set(out.rglob("results.json")) - before
    return {path.parent.relative_to(out).as_posix(): result(path.parent) for path in sorted(made)}


@pytest.mark.slow
@pytest.mark.parametrize("method", TRANSDUCTIVE)
def test_base_to_new_and_few_shots(out, method: str, capsys):
    (found,) = records(out, "base2new", method, "eurosat", "1").values()
    assert found["trainer"] == method and found["transductive"] is TRANSDUCTIVE[method]
    assert found["metrics"]["base"]["images"] == found["metrics"]["new"]["images"] == 15
    assert "mini-student" in capsys.readouterr().out, "the table"
    ((name, found),) = records(out, "fewshot", method, "eurosat", "2", "1").items()
    assert name == f"fewshot/eurosat/shots_2/{method}/mini/seed1"
    assert found["metrics"]["all"]["images"] == 30 and found["seen"]["classes"] == "all"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["UPL", "MaPLe_KDPL"])
def test_a_source_and_a_target(out, method: str):
    """xd_test evaluates the run that xd_train left, and trains nothing."""
    ((source, found),) = records(out, "xd_train", method, "eurosat", "1").items()
    assert source.startswith("cross/eurosat/") and found["trainer"] == method
    ((target, found),) = records(out, "xd_test", method, "dtd", "1").items()
    assert target.startswith("cross/eurosat_to_dtd/") and found["metrics"]["all"]["classes"] == 3


@pytest.mark.slow
def test_training_free_elsewhere(out):
    """TFUP has nothing to take along: its cache is of the target's images."""
    ((name, found),) = records(out, "xd_test", "TFUP", "dtd", "1").items()
    assert name.startswith("cross/") and found["trainer"] == "TFUP" and found["metrics"]["all"]["classes"] == 3
