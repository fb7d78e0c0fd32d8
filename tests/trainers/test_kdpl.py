"""KDPL: its loss against loops written out, its trainers through train.main, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from conftest import result
from tiny_runs import BASE, METHODS

from promptkd.data.concepts import SHIPPED, read_concepts
from promptkd.engine import checkpoints
from promptkd.engine.losses import likeliest_classes, symmetric_kl

BASES = ("CoOp", "CoCoOp", "VPT", "MaPLe", "PromptSRC")


def naive_symmetric_kl(student: torch.Tensor, teacher: torch.Tensor) -> float:
    total = 0.0
    for s_row, t_row in zip(student.tolist(), teacher.tolist(), strict=True):
        s_sum, t_sum = sum(map(math.exp, s_row)), sum(map(math.exp, t_row))
        for s, t in zip(s_row, t_row, strict=True):
            p, q = math.exp(t) / t_sum, math.exp(s) / s_sum
            total += 0.5 * p * math.log(p / q) + 0.5 * q * math.log(q / p)
    return total / len(student)


def test_symmetric_kl_is_that_of_the_loops():
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 5), 2 * torch.randn(3, 5)
    assert symmetric_kl(student, teacher).item() == pytest.approx(naive_symmetric_kl(student, teacher), rel=1e-5)
    assert symmetric_kl(student, teacher).item() == pytest.approx(symmetric_kl(teacher, student).item(), rel=1e-5)
    assert symmetric_kl(student, student + 7).item() == pytest.approx(0, abs=1e-6)


def test_likeliest_classes_go_by_the_mean_probability():
    logits = torch.tensor([[9.0, 0.0, 1.0, 8.0], [0.0, 3.0, 2.5, 2.9]])
    mean = [sum(math.exp(row[c]) / sum(map(math.exp, row)) for row in logits.tolist()) for c in range(4)]
    expected = sorted(sorted(range(4), key=lambda c: -mean[c])[:2])
    assert likeliest_classes(logits, 2).tolist() == expected
    assert likeliest_classes(logits, 9).tolist() == [0, 1, 2, 3]


def words(base: str, clips: dict[str, str], **changes: object) -> list[str]:
    options = {"TEACHER": clips["teacher"]} | changes
    added = [word for key, value in options.items() for word in (f"TRAINER.KDPL.{key}", str(value))]
    return [*METHODS[base].words(base), *added]


@pytest.mark.parametrize("base", BASES)
def test_each_method_learns_without_labels(run, tmp_path: Path, clips, base: str):
    trainer = f"{base}_KDPL"
    run(trainer, tmp_path / "whole", *BASE, *words(base, clips))
    found = result(tmp_path / "whole")
    assert found["trainer"] == trainer and set(found["metrics"]) == {"base", "new", "hm"}
    assert found["unlabelled_images"] == found["train_images"] > 0 and not found["transductive"]
    assert found["teacher"]["backbone"] == clips["teacher"] and found["teacher"]["names"] == 3
    assert {"TRAINER.KDPL.TEACHER"} < set(found["settings"])
    file = tmp_path / "whole" / METHODS[base].folder / "model.pth.tar-2"
    assert set(checkpoints.read_checkpoint(file)["state_dict"]) == METHODS[base].keys
    flags = ["--eval-only", f"--model-dir={tmp_path / 'whole'}"]
    run(trainer, tmp_path / "again", *flags, *BASE, *words(base, clips))
    assert result(tmp_path / "again")["metrics"] == found["metrics"]


def test_labels_never_enter(run, tmp_path: Path, clips, monkeypatch):
    from promptkd.engine.step import Step

    seen = []
    on_device = Step.on_device

    def observed(self, batch):
        seen.append(on_device(self, batch))
        return seen[-1]

    monkeypatch.setattr(Step, "on_device", observed)
    run("CoOp_KDPL", tmp_path, *BASE, *words("CoOp", clips), epochs=1)
    assert seen and all(batch.labels is None for batch in seen)


@pytest.mark.parametrize("base", BASES)
def test_concepts_take_the_place_of_classes(run, tmp_path: Path, clips, base: str):
    file = tmp_path / "concepts.txt"
    file.write_text("# remarks\nfield\nhigh street\nocean\npolar bear\nwind turbine\ncup of tea\n")
    changes = {"CLASS_AGNOSTIC": True, "CONCEPTS": file, "K_MAX": 4}
    run(f"{base}_KDPL", tmp_path / "run", *BASE, *words(base, clips, **changes), epochs=1)
    found = result(tmp_path / "run")
    assert found["teacher"]["names"] == 6 and found["teacher"]["names_a_step"] == 4
    assert found["teacher"]["trainer"] == "ZeroshotCLIP of 6 concepts"
    assert set(found["metrics"]) == {"base", "new", "hm"}, "it is measured on the classes of the data set"


def test_a_run_of_ours_teaches(run, tmp_path: Path, clips):
    run("CoOp", tmp_path / "teacher", *BASE, *METHODS["CoOp"].words("CoOp"), epochs=1, backbone=clips["teacher"])
    run("VPT_KDPL", tmp_path / "run", *BASE, *words("VPT", clips, TEACHER=tmp_path / "teacher"), epochs=1)
    assert result(tmp_path / "run")["teacher"]["trainer"] == "CoOp"


def test_a_student_teaches_the_classes_whose_vectors_it_left(run, tmp_path: Path, clips):
    student = ["TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAINER.PROMPTKD.PROMPT_DEPTH_VISION", "2"]
    run("PromptKD", tmp_path / "student", *student, epochs=1)
    run("CoOp_KDPL", tmp_path / "run", *BASE, *words("CoOp", clips, TEACHER=tmp_path / "student"), epochs=1)
    assert result(tmp_path / "run")["teacher"]["trainer"] == "PromptKD"
    concepts = tmp_path / "concepts.txt"
    concepts.write_text("Forest\nFrost\nRiver\n")
    unknown = words("CoOp", clips, TEACHER=tmp_path / "student", CLASS_AGNOSTIC=True, CONCEPTS=concepts)
    with pytest.raises(ValueError, match="no class vector for 1 of 3 classes, first 'Frost'"):
        run("CoOp_KDPL", tmp_path / "other", *BASE, *unknown)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TEACHER": "ViT-H-15"}, "teacher 'ViT-H-15' is no run's directory"),
        ({"TEACHER": ""}, "TRAINER.KDPL.TEACHER ''"),
        ({"K_MAX": 1}, "TRAINER.KDPL.K_MAX 1: set 2 or more"),
        ({"CLASS_AGNOSTIC": True, "CONCEPTS": "/nowhere/names.txt"}, "no list of concepts /nowhere/names.txt"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(run, tmp_path: Path, clips, changes: dict, message: str):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run("CoOp_KDPL", tmp_path, *BASE, *words("CoOp", clips, **changes))
    assert not list(tmp_path.rglob("*.pth.tar*"))


def test_a_context_for_each_class_knows_no_concepts(run, tmp_path: Path, clips):
    with pytest.raises(ValueError, match="TRAINER.COOP.CSC True"):
        run("CoOp_KDPL", tmp_path, "TRAINER.COOP.CSC", "True", *words("CoOp", clips, CLASS_AGNOSTIC=True))


def test_shipped_concepts_are_names_each_once(tmp_path: Path):
    names = read_concepts()
    assert len(names) > 500 and all(name == name.strip() for name in names) and "polar bear" in names
    assert "MIT" in SHIPPED.read_text().splitlines()[1]
    twice = tmp_path / "twice.txt"
    twice.write_text("cat\npolar bear\nPolar_Bear\n")
    with pytest.raises(ValueError, match="more than once, first 'polar bear'"):
        read_concepts(twice)
    twice.write_text("cat\n")
    with pytest.raises(ValueError, match="1 names"):
        read_concepts(twice)


@pytest.mark.parametrize("trainer", ["CoOp_KDPL", "UPL"])
def test_published_files_of_a_context_are_coops(run, tmp_path: Path, trainer: str):
    """KDPL and UPL register CoOp's prompt_learner: a context, and tokens that belong to their class names."""
    torch.manual_seed(4)
    state = {"ctx": torch.randn(3, 32), "token_prefix": torch.zeros(5, 1, 32), "token_suffix": torch.zeros(5, 73, 32)}
    file = tmp_path / "published/prompt_learner/model.pth.tar-50"
    file.parent.mkdir(parents=True)
    torch.save({"state_dict": state, "epoch": 50, "optimizer": None, "scheduler": None, "val_result": None}, file)
    flags = ["--eval-only", f"--model-dir={tmp_path / 'published'}", "--load-epoch=50"]
    section = {"UPL": "UPL"}.get(trainer, "COOP")
    run(trainer, tmp_path / "its", *flags, f"TRAINER.{section}.N_CTX", "3")
    run("CoOp", tmp_path / "coops", *flags, "TRAINER.COOP.N_CTX", "3")
    assert result(tmp_path / "its")["metrics"] == result(tmp_path / "coops")["metrics"]
