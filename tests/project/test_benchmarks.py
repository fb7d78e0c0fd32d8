"""The comparison is fair (both sides compute the same losses, gradients and logits) and the program prints its rows."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import ensembles, mixtures, precisions, profile, steps
from benchmarks.ours import METHODS, Bench


@pytest.fixture(scope="module")
def bench():
    return Bench("small", torch.device("cpu"))


@pytest.mark.parametrize("name", METHODS)
def test_both_sides_compute_the_same(bench, name):
    torch.manual_seed(0)
    images, labels = torch.randn(3, 3, bench.image_size, bench.image_size), torch.tensor([0, 4, 2])
    method = bench.method(name, 6, images)
    learned = list(method.prompts.parameters())
    values = [side[0](images, labels) for side in (method.ours, method.published)]
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=1e-6)
    ours, theirs = (torch.autograd.grad(value, learned) for value in values)
    scale = max(gradient.abs().max() for gradient in theirs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * scale.item())
    method.prompts.eval()
    with torch.no_grad():
        torch.testing.assert_close(method.ours[1](images), method.published[1](images), rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_rows(tmp_path, capsys):
    words = ["--sizes", "small", "--classes", "5", "--batch", "2", "--repeats", "1", "--json", str(tmp_path / "x.json")]
    assert steps.main([*words, "--methods", "PromptKD", "PromptKD cached", "CoOp"]) == 0
    rows = json.loads((tmp_path / "x.json").read_text())["rows"]
    assert [(row["method"], row["part"]) for row in rows] == [
        ("PromptKD", "train"),
        ("PromptKD", "eval of 1,000"),
        ("PromptKD cached", "train"),
        ("CoOp", "train"),
        ("CoOp", "eval of 1,000"),
    ]
    assert all(row["ours"] > 0 and row["published"] > 0 and row["floor"] > 0 for row in rows)
    assert rows[3]["ours_kept"] < rows[3]["published_kept"] / 4
    assert "published/ours" in capsys.readouterr().out


@pytest.mark.slow
def test_precisions_take_turns(tmp_path, capsys):
    words = ["--sizes", "small", "--classes", "5", "--batch", "2", "--repeats", "1", "--methods", "PromptKD cached"]
    assert precisions.main([*words, "--precisions", "bf16", "--json", str(tmp_path / "x.json")]) == 0
    (row,) = json.loads((tmp_path / "x.json").read_text())["rows"]
    assert all(row[name] > 0 for name in ("published", "fp32", "bf16", "fp32_floor", "bf16_floor"))
    # the same operations over different rates
    assert row["fp32_floor"] * row["fp32_rate"] == pytest.approx(row["bf16_floor"] * row["bf16_rate"])
    assert "published/ours" in capsys.readouterr().out


def test_what_does_not_fit_is_said(capsys):
    words = ["--sizes", "small", "--classes", "5", "--batch", "2", "--repeats", "1", "--methods", "CoOp"]
    assert steps.main([*words, "--parts", "train", "--limit-gb", "1e-6"]) == 0
    assert "does not fit: keeps about" in capsys.readouterr().out
    assert steps.main([*words, "--ours-only"]) == 0
    assert capsys.readouterr().out.count("not timed") == 2


def test_stages_of_a_step_and_of_an_epoch(capsys):
    assert profile.main(["step", "--sizes", "small", "--classes", "5", "--batch", "2", "--repeats", "1"]) == 0
    step = capsys.readouterr().out
    assert "teacher text, forward" in step and "backward" in step
    assert profile.main(["epoch", "DATASET.NUM_SHOTS", "2"]) == 0
    rows = {line.split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "ours, cached ms" in rows["stage"] and "student images, forward" in rows
    assert rows["teacher text, forward"].count("%") == 1  # the published side alone
    assert rows["files, decode"].count("%") == 3


def test_options_of_a_profile_may_stand_anywhere():
    args = profile.parse(["step", "--sizes", "small", "--method", "CoOp", "--classes", "7"])
    assert (args.what, args.sizes, args.method, args.classes, args.opts) == ("step", "small", "CoOp", 7, [])
    args = profile.parse(["epoch", "--root", "there", "OPTIM.LR", "1"])
    assert (args.what, args.root, args.opts) == ("epoch", "there", ["OPTIM.LR", "1"])


def test_each_moment_counts_once(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(profile, "perf_counter", lambda: float(next(clock)))

    class Work:
        def inner(self) -> None:
            pass

        def outer(self) -> None:
            self.inner()

    inner = Work.inner
    with profile.Stages(torch.device("cpu")).watching([(Work, "inner", "in"), (Work, "outer", "out")]) as stages:
        Work().outer()
    # one tick between any two of: begin, outer, inner, inner's end, outer's end, end
    assert stages.seconds == {profile.OTHER: 2.0, "out": 2.0, "in": 1.0}
    assert Work.inner is inner


@pytest.mark.slow
def test_an_ensemble_beside_separate_runs(tmp_path, capsys):
    words = ["--members", "2", "1", "--epochs", "1", "--repeats", "1", "--json", str(tmp_path / "x.json")]
    assert ensembles.main([*words, "--root", str(tmp_path / "data")]) == 0
    found = json.loads((tmp_path / "x.json").read_text())
    assert [row["members"] for row in found["ensembles"]] == [1, 2]
    assert all(0 < row["training"] < row["whole"] for row in found["ensembles"])
    assert [row["clip"] for row in found["labelling"]] == ["mini-student", "mini-teacher"]
    assert all(row["images"] == 693 and row["later"] < row["first"] for row in found["labelling"])
    out = capsys.readouterr().out
    assert "ratio, training" in out and out.count("features of 693 read from") >= 4, "runs after the first read them"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_one_line(capsys):
    assert steps.main(["--device", "cuda"]) == 1
    assert capsys.readouterr().err.startswith("error: --device cuda, but PyTorch sees no GPU")


def test_a_step_on_attacked_images_is_timed(capsys):
    from benchmarks.attacks import main as attacks

    assert attacks(["--sizes", "small", "--batch", "2", "--steps", "1", "--repeats", "1"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [row[0] for row in rows] == ["0", "1"] and all(float(row[3]) > 0 for row in rows)


def test_mixtures_of_teachers_on_validation_images(tmp_path, argv, clips, capsys):
    teachers = str([clips["teacher"], clips["student"]])
    words = argv("PromptKD", tmp_path / "none", "TRAINER.PROMPTKD.TEACHERS", teachers)
    words = [word for word in words if word not in ("--trainer", "PromptKD")]
    assert mixtures.main(["--json", str(tmp_path / "x.json"), *words]) == 0
    found = json.loads((tmp_path / "x.json").read_text())
    assert (found["images"], found["number"]) == ("validation", 10)
    assert [(row["teachers"], row["mix"]) for row in found["rows"]] == [
        ([1], ""), ([2], ""), ([1, 2], "equal"), ([1, 2], "entropy"), ([1, 2], "margin"),
    ]  # fmt: skip
    assert all({"base", "new", "hm"} <= row.keys() for row in found["rows"]) and len(found["pairs"]) == 1
    assert "1: ZeroshotCLIP" in capsys.readouterr().out and not (tmp_path / "none").exists()
    assert mixtures.main([*words[:-2], "TRAINER.PROMPTKD.TEACHER", clips["teacher"]]) == 1
    assert "TEACHERS names the teachers" in capsys.readouterr().err
