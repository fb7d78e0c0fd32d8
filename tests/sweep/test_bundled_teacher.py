"""TEACHER=mini-teacher, or a run of it, brings the bundled student in every protocol, where no backbone is given."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import result
from trees import write_eurosat

import train
from promptkd.sweep import execute as executing
from promptkd.sweep import launch
from promptkd.sweep.expand import jobs_of
from promptkd.sweep.jobs import Job
from promptkd.sweep.launch import read_words

COMMANDS = [
    ("base2new", "PromptKD"), ("base2new", "AdvPromptKD"), ("fewshot", "PromptKD"), ("xd_train", "PromptKD"),
    ("xd_test", "PromptKD"), ("base2new", "CoOp_KDPL"), ("fewshot", "CoOp_KDPL"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SOURCE", "SHOTS", "RECIPE", "TEACHER", "KD_WEIGHT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OUTPUT", str(tmp_path / "out"))
    return tmp_path


def recipes(command: str, trainer: str, *words: str) -> list[str]:
    """Recipes of the runs that a script starts on EuroSAT, one seed, in their order."""
    plans = read_words(command, [trainer], ["eurosat", *(["16"] if command == "fewshot" else []), "1", *words])
    return [one.directory.parent.name for plan in plans for one in jobs_of(plan)]


def write_run(directory: Path, backbone: str) -> None:
    """Writes the configuration of a run of a backbone."""
    directory.mkdir(exist_ok=True)
    text = f"{{TRAINER: {{NAME: PromptSRC}}, MODEL: {{BACKBONE: {{NAME: {backbone}}}}}, DATASET: {{NAME: EuroSAT}}}}"
    (directory / "config.yaml").write_text(text)


@pytest.mark.parametrize(("command", "trainer"), COMMANDS)
def test_every_script(command: str, trainer: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEACHER", "mini-teacher")
    assert recipes(command, trainer) == ["mini"]


def test_a_run_of_a_bundled_model(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEACHER", str(place / "run"))
    write_run(place / "run", "mini-teacher")
    assert recipes("base2new", "PromptKD") == ["mini"]
    write_run(place / "run", "ViT-L/14")
    assert recipes("base2new", "PromptKD") == ["vit_b16_c2_ep20_batch8_4+4ctx"]
    (place / "run" / "config.yaml").write_text("MODEL: [\n")
    with pytest.raises(ValueError, match=r"config\.yaml is broken"):
        recipes("base2new", "PromptKD")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["TRAINER.PROMPTKD.TEACHER", "mini-teacher"], ["mini"]),
        (["TRAINER.PROMPTKD.TEACHERS", "[mini-teacher, ViT-L/14]"], ["mini"]),
        (["TRAINER.PROMPTKD.TEACHERS", "[{teacher}, ViT-L/14]", "TEACHER.MODEL.BACKBONE.NAME", "mini-teacher"],
         ["mini_teacher", "mini"]),
        (["TEACHER.MODEL.BACKBONE.NAME", "mini-teacher"], ["mini_teacher", "mini"]),
        (["TRAINER.PROMPTKD.TEACHERS", "[ViT-L/14, mini-teacher]"], ["vit_b16_c2_ep20_batch8_4+4ctx"]),
    ],
)  # fmt: skip
def test_wherever_the_teacher_is_named(words: list[str], expected: list[str]):
    assert recipes("base2new", "PromptKD", *words) == expected


def test_a_backbone_that_is_given_wins(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEACHER", "mini-teacher")
    backbone = ["MODEL.BACKBONE.NAME", "ViT-B/16"]
    assert recipes("base2new", "PromptKD", *backbone) == ["vit_b16_c2_ep20_batch8_4+4ctx"]
    assert recipes("base2new", "CoOp") == ["vit_b16_ctxv1"]  # it has no teacher


def test_a_run_of_the_bundled_pair(place: Path, monkeypatch: pytest.MonkeyPatch):
    """What `TEACHER=mini-teacher bash scripts/promptkd/base2new_train.sh eurosat 1` starts, to its end."""
    write_eurosat(place / "data")

    def here(one: Job, *_: object) -> int:
        train.main(list(one.command[2:]))
        return 0

    monkeypatch.setattr(executing, "_process", here)
    monkeypatch.setenv("TEACHER", "mini-teacher")
    assert launch.main(["base2new", "PromptKD", "eurosat", "1", "OPTIM.MAX_EPOCH", "1", "USE_CUDA", "False"]) == 0
    record = result(place / "out/base2new/eurosat/shots_all/PromptKD/mini/seed1")
    assert record["backbone"] == "mini-student" and record["teacher"]["backbone"] == "mini-teacher"
