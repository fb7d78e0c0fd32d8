"""Held-out images of a pool: which they are, what is measured on them, and the epoch that they choose."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from conftest import result
from tiny_runs import KD, learned

from dassl.data.datasets import Datum
from promptkd.data.pools import split_off
from promptkd.engine.training import Training
from promptkd.teacher.held_out import divergence_and_agreement

HELD = ("POOL.HELD_OUT", "0.5", "TEST.FINAL_MODEL", "best_on_pool")


@pytest.fixture()
def words(clips) -> list[str]:
    return ["TRAINER.PROMPTKD.TEACHER", clips["teacher"], *KD]


def pool(count: int) -> list[Datum]:
    return [Datum(f"/data/{number}.png", number % 3) for number in range(count)]


def test_the_held_out_images_are_the_same_whatever_else_is_in_the_pool():
    items = pool(200)
    kept, held = split_off(items, 0.1, "/data")
    assert len(held) == 20 and len(kept) == 180 and not {one.impath for one in held} & {one.impath for one in kept}
    assert split_off(items[::-1], 0.1, "/data")[1] == held[::-1], "the order of the list has no say"
    fewer = split_off([one for one in items if one.label], 0.1, "/data")[1]
    assert len({one.impath for one in fewer} & {one.impath for one in held}) > len(fewer) / 2
    with pytest.raises(ValueError, match=r"POOL.HELD_OUT 0.1 of 30 unlabelled images is 3: 10 are the fewest.*0.33"):
        split_off(pool(30), 0.1, "/data")


def test_divergence_and_agreement_against_a_loop():
    student, teacher = torch.randn(7, 5), torch.randn(7, 5)
    kl, same = 0.0, 0
    for own, target in zip(student.tolist(), teacher.tolist(), strict=True):
        p = [math.exp(value) / sum(map(math.exp, target)) for value in target]
        q = [math.exp(value) / sum(map(math.exp, own)) for value in own]
        kl += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 7
        same += own.index(max(own)) == target.index(max(target))
    found = divergence_and_agreement(student, teacher)
    assert found["kl"] == pytest.approx(kl, rel=1e-4) and found["agreement"] == pytest.approx(100 * same / 7)


def test_the_epoch_nearest_to_the_teacher_is_deployed(run, words, tmp_path: Path):
    run("PromptKD", tmp_path / "run", *words, *HELD, "TRAIN.CHECKPOINT_FREQ", "1", epochs=3)
    found = result(tmp_path / "run")
    held = found["seen"]["held_out"]
    assert found["seen"]["images"] + held["images"] == 30 and found["seen"]["pool"] == {"held_out": held["images"]}
    assert found["train_images"] == found["seen"]["images"]
    best = min(range(3), key=lambda epoch: held["by_epoch"][epoch]["kl"])
    assert held["kl"] == pytest.approx(held["by_epoch"][best]["kl"], rel=1e-5), "what is measured is what is deployed"
    assert "nearest to the teacher" in found["selection"]
    chosen = torch.load(tmp_path / "run/VLPromptLearner/model-best.pth.tar", weights_only=True)["state_dict"]
    assert all(torch.equal(value, learned(tmp_path / "run", best + 1)[name]) for name, value in chosen.items())


def test_a_resumed_run_chooses_the_same_epoch(run, words, tmp_path: Path, monkeypatch):
    run("PromptKD", tmp_path / "whole", *words, *HELD, epochs=3)
    begin = Training.begin_epoch

    def stop(training: Training, epoch: int) -> None:
        if epoch == 2:
            raise RuntimeError("killed")
        begin(training, epoch)

    monkeypatch.setattr(Training, "begin_epoch", stop)
    with pytest.raises(RuntimeError, match="killed"):
        run("PromptKD", tmp_path / "half", *words, *HELD, epochs=3)
    monkeypatch.undo()
    run("PromptKD", tmp_path / "half", *words, *HELD, epochs=3)
    whole, half = (result(tmp_path / name) for name in ("whole", "half"))
    assert whole["seen"]["held_out"] == half["seen"]["held_out"] and whole["metrics"] == half["metrics"]


def test_choosing_on_the_pool_needs_one(run, words, tmp_path: Path):
    with pytest.raises(ValueError, match=r"best_on_pool: it chooses on held-out images, set POOL.HELD_OUT"):
        run("PromptKD", tmp_path, *words, *HELD[2:])
    with pytest.raises(ValueError, match=r"STUDENT_IN_LOOP True: the teacher changes.*POOL.HELD_OUT 0"):
        run("PromptKD", tmp_path, *words, *HELD[:2], "TRAINER.PROMPTKD.STUDENT_IN_LOOP", "True")


def test_validation_images_are_measured_in_the_place_of_test_images(run, words, tmp_path: Path):
    run("PromptKD", tmp_path / "val", *words, "TEST.SPLIT", "val", epochs=1)
    run("PromptKD", tmp_path / "test", *words, epochs=1)
    val, test = result(tmp_path / "val"), result(tmp_path / "test")
    assert (val["split"], test["split"]) == ("val", "test") and val["config_hash"] != test["config_hash"]
    shown = {name: (tmp_path / name / "predictions.csv").read_text() for name in ("val", "test")}
    assert shown["val"] != shown["test"]
    assert torch.equal(*(learned(tmp_path / name, 1)["projector.0.weight"] for name in ("val", "test")))
