"""PromptKD without class names: a list of concepts in the place of the classes, with and without a cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import result
from tiny_runs import KD, learned, same_bits

from promptkd.engine.losses import mean_kl
from promptkd.results.record import RunRecord
from promptkd.tables.grouping import method_of
from promptkd.teacher.teaching import Teaching
from trainers.promptkd import PromptKD

CONCEPTS = ["field", "high street", "ocean", "polar bear", "wind turbine", "cup of tea"]


@pytest.fixture
def distil(run, clips, tmp_path: Path):
    """`distil(name, KEY=value)` trains a student over the concepts: its results, and its last weights."""
    file = tmp_path / "concepts.txt"
    file.write_text("\n".join(CONCEPTS) + "\n")

    def call(name: str, *more: str, **changes: object):
        options = {"TEACHER": clips["teacher"], "EVALUATE_TEACHER": False, "CLASS_AGNOSTIC": True, "CONCEPTS": file}
        words = [word for key, value in (options | changes).items() for word in (f"TRAINER.PROMPTKD.{key}", str(value))]
        run("PromptKD", tmp_path / name, *KD, *words, *more, epochs=1)
        return result(tmp_path / name), learned(tmp_path / name, 1)

    return call


def test_concepts_take_the_place_of_classes(distil, tmp_path: Path, monkeypatch):
    seen: list[tuple[torch.Tensor | None, torch.Tensor]] = []
    targets = Teaching.targets

    def observed(self, batch):
        seen.append(targets(self, batch))
        return seen[-1]

    monkeypatch.setattr(Teaching, "targets", observed)
    found, weights = distil("run", K_MAX=4)
    assert all(vectors is not None and len(vectors) == 4 == logits.shape[1] for vectors, logits in seen)
    assert found["teacher"]["names"] == 6 and found["teacher"]["names_a_step"] == 4
    assert found["teacher"]["trainer"] == "ZeroshotCLIP of 6 concepts", "tables keep it apart by this"
    assert method_of(RunRecord.read(tmp_path / "run" / "results.json")).teacher.startswith("ZeroshotCLIP of 6 concepts")
    assert set(found["metrics"]) == {"base", "new", "hm"}, "it is measured on the classes of the data set"
    assert found["settings"]["TRAINER.PROMPTKD.K_MAX"] == 4
    usual, other = distil("usual", CLASS_AGNOSTIC=False)
    assert "names" not in usual["teacher"] and not same_bits(weights, other)
    assert not {"TRAINER.PROMPTKD.CLASS_AGNOSTIC", "TRAINER.PROMPTKD.K_MAX"} & usual["settings"].keys()


def test_the_loss_is_that_of_the_likeliest_concepts(distil, monkeypatch):
    """Written out for each batch: the teacher's mean probabilities choose, both are compared over these alone."""
    compared = []
    losses = PromptKD.losses

    def observed(self, model, batch):
        loss = losses(self, model, batch)["loss_kd"]
        with torch.no_grad():
            teacher, vectors = self.teaching.teacher, self.teaching.vocabulary.vectors
            logits = vectors.logits(teacher.image_features(batch.images))
            mean = logits.softmax(-1).mean(0).tolist()
            rows = sorted(sorted(range(6), key=lambda c: -mean[c])[:3])
            student = vectors.logits(model.image_features(batch.images), model.logit_scale)[:, rows]
            compared.append((loss.item(), 50 * mean_kl(student, logits[:, rows]).item()))
        return {"loss_kd": loss}

    monkeypatch.setattr(PromptKD, "losses", observed)
    distil("run", K_MAX=3)
    assert compared and all(loss == pytest.approx(other, rel=1e-3) for loss, other in compared)


def test_concepts_use_the_features_that_classes_left(distil, tmp_path: Path):
    cache = {"TEACHER_CACHE": "exact", "CACHE_DIR": tmp_path / "cache"}
    distil("classes", CLASS_AGNOSTIC=False, **cache)
    read, weights = distil("read", **cache)
    _, computed = distil("computed")
    assert read["teacher"]["cache"] == {"mode": "exact", "read": 28, "computed": 0} and same_bits(weights, computed)


def test_a_student_of_concepts_is_evaluated_on_its_classes(distil, run, tmp_path: Path):
    found, _ = distil("run")
    run("PromptKD", tmp_path / "again", "--eval-only", f"--model-dir={tmp_path / 'run'}", *KD, epochs=1)
    assert result(tmp_path / "again")["metrics"] == found["metrics"]


def test_lists_that_cannot_be_used(distil, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no list of concepts /nowhere"):
        distil("x", CONCEPTS="/nowhere/names.txt")
    (tmp_path / "twice.txt").write_text("cat\nCat\n")
    with pytest.raises(ValueError, match="more than once, first 'cat'"):
        distil("x", CONCEPTS=tmp_path / "twice.txt")
    with pytest.raises(ValueError, match="TRAINER.PROMPTKD.CONCEPTS .*CLASS_AGNOSTIC True"):
        distil("x", "STRICT", "True", CLASS_AGNOSTIC=False)
    assert not list(tmp_path.rglob("*.pth.tar*"))
