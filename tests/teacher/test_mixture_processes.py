"""Two processes of a run with several teachers learn, compare and count what one does."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import result
from tiny_runs import KD, LEARN, PROCESSES, learned, torchrun

import train

pytestmark = pytest.mark.slow


def test_two_processes_have_the_teachers_of_one(argv, clips, tmp_path):
    option = "TRAINER.PROMPTKD."
    words = [
        *KD,
        *LEARN,
        option + "TEACHERS",
        f"[{clips['teacher']}, {clips['student']}]",
        option + "TEACHER_MIX",
        "margin",
    ]
    words += [option + "TEACHER_CACHE", "views", option + "CACHE_VIEWS", "1", "DATALOADER.TRAIN_X.BATCH_SIZE", "10"]
    words += ["DATALOADER.TEST.BATCH_SIZE", "4"]
    cache = [option + "CACHE_DIR", str(tmp_path / "one cache")]
    train.main(argv("PromptKD", tmp_path / "one", *words, *cache))
    cache = [option + "CACHE_DIR", str(tmp_path / "two cache")]
    job = {"argv": argv("PromptKD", tmp_path / "two", *words, *cache), "state": str(tmp_path / "state")}
    (tmp_path / "jobs.json").write_text(json.dumps([job]))
    done = torchrun(str(PROCESSES), str(tmp_path / "jobs.json"))
    assert (tmp_path / "two" / "results.json").is_file(), done.stderr
    one, two = (result(tmp_path / name)["teacher"] for name in ("one", "two"))
    assert one["compared_on"] == two["compared_on"]
    assert one["mixture_accuracy"] == two["mixture_accuracy"]
    for mine, theirs in zip(one["teachers"], two["teachers"], strict=True):
        assert mine["accuracy"] == theirs["accuracy"] and mine["share"] == pytest.approx(theirs["share"], abs=1e-4)
        assert mine["cache"] == theirs["cache"] == {"mode": "views", "views": 1, "read": 30, "computed": 30}
    first, second = (learned(tmp_path / name, 2) for name in ("one", "two"))
    assert all(torch.allclose(first[name], second[name], atol=1e-4) for name in first)
