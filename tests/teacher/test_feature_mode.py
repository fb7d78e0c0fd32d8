"""PromptKD on stored features: the same as on images, without decoding one, for every seed and configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import result, tiny_config, write_clip
from tiny_runs import KD, PROCESSES, learned, same_bits, torchrun

import train
from promptkd.data.loading.views import SeededViews
from promptkd.deploy.classifier import Classifier
from promptkd.teacher import cache_store
from trainers.promptkd import PromptKD

OPTION = "TRAINER.PROMPTKD."
IMAGES = 30
STORED = {"MODE": "features", "TEACHER_CACHE": "views", "CACHE_VIEWS": 2}
RIDGE = {"PROJECTOR": "residual", "PROJECTOR_START": "ridge"}


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """Numbers of the training images that were read."""
    numbers: list[int] = []
    read = SeededViews.__getitem__

    def counted(self, index):
        numbers.append(index)
        return read(self, index)

    monkeypatch.setattr(SeededViews, "__getitem__", counted)
    return numbers


@pytest.fixture
def distil(run, clips, tmp_path, decoded) -> Callable[..., tuple[dict, dict]]:
    """`distil(name, *words, KEY=value)`: results and last weights of a student that is trained in such a folder."""

    def call(name: str, *words: str, epochs: int = 3, seed: int = 1, **options: Any) -> tuple[dict, dict]:
        decoded.clear()
        options = {
            "TEACHER": clips["teacher"],
            "EVALUATE_TEACHER": "False",
            "CACHE_DIR": str(tmp_path / "cache"),
        } | options
        named = [word for key, value in options.items() for word in (OPTION + key, str(value))]
        batch = ("DATALOADER.TRAIN_X.BATCH_SIZE", "5", "DATALOADER.TEST.BATCH_SIZE", "8")
        run("PromptKD", tmp_path / name, *KD, *named, *batch, *words, epochs=epochs, seed=seed)
        return result(tmp_path / name), {} if "--eval-only" in words else learned(tmp_path / name, epochs)

    return call


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """To rounding: a feature's last bits depend on the batch that it was computed in."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.parametrize("more", [{}, {"PROJECT_LAYER": 1, "PROJECTOR_START": "ridge"}], ids=["random", "ridge"])
def test_it_is_image_mode_with_the_projector_alone(distil, decoded, more):
    views = 1 if more else 2  # image mode starts from the first view alone
    alone = {"N_CTX_VISION": 0, "TEACHER_CACHE": "views", "CACHE_VIEWS": views} | more
    found, expected = distil("images", **alone)
    assert len(decoded) == IMAGES * (4 if more else 3)
    fast, weights = distil("features", **{**STORED, **more, "CACHE_VIEWS": views})
    assert sorted(decoded) == sorted(list(range(IMAGES)) * views)
    close(expected, weights)
    assert fast["metrics"]["base"]["images"] == found["metrics"]["base"]["images"]
    seen = {"views": views, "views_seed": 1, "read": 3 * IMAGES + (IMAGES if more else 0), "computed": views * IMAGES}
    assert fast["seen"]["stored_features"] == seen


def test_other_seeds_and_configurations_decode_nothing(distil, decoded):
    distil("one", **STORED)
    for name, words in {
        "seed": {"seed": 2},
        "loss": {"KD_WEIGHT": 7, "KD_MEAN": "batch", "EMA": 0.5},
        "projector": RIDGE,
        "longer": {"epochs": 5},
    }.items():
        found, weights = distil(name, **{**STORED, **words})
        assert decoded == [] and found["seen"]["stored_features"]["computed"] == 0, name
        assert found["teacher"]["cache"]["computed"] == 0 and weights
    distil("views", **STORED, VIEWS_SEED=2)
    assert len(decoded) == 2 * IMAGES


def test_memory_is_as_good_as_a_disk_and_leaves_nothing(distil, decoded, tmp_path):
    _, expected = distil("disk", **STORED)
    found, weights = distil("memory", **{**STORED, "TEACHER_CACHE": ""}, CACHE_DIR=str(tmp_path / "none"))
    assert same_bits(weights, expected) and len(decoded) == 2 * IMAGES and not (tmp_path / "none").exists()
    disk, memory = (result(tmp_path / name)["config_hash"] for name in ("disk", "memory"))
    assert disk == memory and OPTION + "CACHE_VIEWS" in found["settings"]


def test_a_second_teacher_is_one_pass_more(distil, decoded, clips, tmp_path):
    distil("one", **STORED)
    both = f"[{clips['teacher']}, {write_clip(tmp_path / 'other.safetensors', tiny_config(24), 3)}]"
    found, _ = distil("two", **STORED, TEACHER="", TEACHERS=both)
    assert len(decoded) == 2 * IMAGES and found["seen"]["stored_features"]["computed"] == 0
    assert [one["cache"]["computed"] for one in found["teacher"]["teachers"]] == [0, 2 * IMAGES]
    distil("again", **STORED, TEACHER="", TEACHERS=both, TEACHER_MIX="margin")
    assert decoded == []


def test_features_are_kept_in_the_arithmetic_of_the_encoders(distil, decoded, tmp_path):
    """bfloat16 here: nothing is rounded that a run on images would not round."""
    half = {**STORED, "PREC": "bf16"}
    distil("run", **half, **RIDGE)
    views = {path.name for path in (tmp_path / "cache").glob("*/view-*")}
    assert views == {f"view-{view:04d}.bfloat16.{width}" for view in (0, 1) for width in (16, 24)}
    assert distil("again", **half, **RIDGE)[1] and decoded == []


def test_on_the_device_and_in_parts(distil):
    """Crops are finished on the device while features are stored; a step in parts reads rows."""
    _, one = distil("one", "INPUT.ON_DEVICE", "True", "TRAIN.ACCUMULATE", "2", **STORED, PROJECT_LAYER=1)
    _, other = distil("other", "INPUT.ON_DEVICE", "True", **STORED, PROJECT_LAYER=1)
    close(one, other)


@pytest.mark.parametrize("kept", ["views", ""], ids=["disk", "memory"])
def test_a_resumed_run_equals_an_unbroken_one(distil, monkeypatch, kept):
    options = {**STORED, **RIDGE, "TEACHER_CACHE": kept, "EMA": 0.8}
    _, expected = distil("whole", **options)
    steps, step = iter(range(100)), PromptKD.forward_backward

    def stop(self, batch):
        if next(steps) == 8:  # of 6 in an epoch
            raise KeyboardInterrupt
        return step(self, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(PromptKD, "forward_backward", stop)
        distil("broken", **options)
    assert same_bits(distil("broken", **options)[1], expected)


def test_what_is_missing_or_damaged_is_made_anew(distil, decoded, tmp_path, capsys):
    _, expected = distil("one", **STORED)
    view = min((tmp_path / "cache").glob("*/view-0001*"))
    content = bytearray(view.read_bytes())
    content[-1] ^= 1
    view.write_bytes(content)
    close(distil("two", **STORED)[1], expected)
    assert decoded == [IMAGES - 1]
    assert f"{view} has damaged rows" in capsys.readouterr().out


def test_the_student_is_a_projector_and_is_deployed(distil, tmp_path):
    found, weights = distil("run", **STORED, **RIDGE)
    assert all(name.startswith("projector.") for name in weights)
    assert Classifier(tmp_path / "run").model.spec.n_vision == 0
    words = ("--eval-only", "MODEL_DIR", str(tmp_path / "run"))
    assert distil("again", *words, **STORED, **RIDGE)[0]["metrics"] == found["metrics"]


def test_prompts_join_a_projector_that_was_learned_alone(distil, tmp_path, capsys):
    _, alone = distil("alone", **STORED, **RIDGE)
    start = tmp_path / "alone" / "VLPromptLearner" / "model.pth.tar-3"
    capsys.readouterr()
    _, joined = distil(
        "joined", "MODEL.INIT_WEIGHTS", str(start), "OPTIM.LR", "1e-9", "OPTIM.WARMUP_EPOCH", "0", **RIDGE
    )
    said = capsys.readouterr().out
    assert f"{start} has no visual prompts: these join as they start" in said
    assert "PROJECTOR_START (command line): MODEL.INIT_WEIGHTS starts the projector" in said
    weight = "projector.linear.weight"
    torch.testing.assert_close(joined[weight], alone[weight], rtol=0, atol=1e-6)
    assert joined["vision_prompts.1"].std() > 0.01
    _, tuned = distil(
        "tuned", "MODEL.INIT_WEIGHTS", str(start), "OPTIM.LR", "1e-9", "OPTIM.WARMUP_EPOCH", "0", **RIDGE, TUNE="norm"
    )
    torch.testing.assert_close(tuned[weight], alone[weight], rtol=0, atol=1e-6)
    assert any(name.startswith("tower.") for name in tuned)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"MODE": "feature"}, "choose images, features"),
        ({"STUDENT_IN_LOOP": True, "TEACHER_CACHE": ""}, "STUDENT_IN_LOOP tunes a teacher on images"),
        ({"TEACHER_CACHE": "exact"}, "set it to views"),
        ({"TUNE": "norm"}, "TUNE norm changes the features"),
        ({"VIEWS_SEED": -1}, "VIEWS_SEED -1"),
        ({"CACHE_DIR": __file__}, "cannot write to TRAINER.PROMPTKD.CACHE_DIR"),
        ({"CACHE_GB": 1e-6}, "features of 30 images could not be kept"),
    ],
)
def test_options_that_cannot_be_meant(distil, options, message):
    with pytest.raises((ValueError, OSError), match=message):
        distil("run", **{**STORED, **options})


def test_prompts_that_are_asked_for_are_named(distil, capsys):
    distil("run", **STORED, N_CTX_VISION=2, epochs=1)
    assert "N_CTX_VISION (command line): MODE is features: the projector alone is learned" in capsys.readouterr().out
    with pytest.raises(ValueError, match="STRICT True: this run does not read"):
        distil("strict", "STRICT", "True", **STORED, N_CTX_VISION=2)


def test_a_full_disk_is_named_before_training(distil, monkeypatch, tmp_path):
    def full(*args: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_store.os, "pwrite", full)
    with pytest.raises(OSError, match="could not be kept"):
        distil("full", **STORED)
    assert not list(Path(tmp_path / "full").glob("VLPromptLearner/*"))


@pytest.mark.parametrize("tune", ["norm", "projector"])
def test_a_tuned_student_starts_in_closed_form(distil, tune):
    """On images: an encoder that learns starts as CLIP's, so the projector's linear part is that of a fixed one."""
    still = ("OPTIM.LR", "1e-9", "OPTIM.WARMUP_EPOCH", "0")
    _, weights = distil(tune, *still, **RIDGE, TUNE=tune, epochs=1)
    _, stored = distil("stored", *still, **RIDGE, **{**STORED, "CACHE_VIEWS": 1}, epochs=1)
    torch.testing.assert_close(
        weights["projector.linear.weight"], stored["projector.linear.weight"], rtol=1e-3, atol=1e-4
    )


@pytest.mark.slow
def test_two_processes_learn_what_one_does(argv, clips, tmp_path):
    """Each stores a share on disk, or all of it in memory; the closed form is of the sums of both."""
    words = [*KD, OPTION + "TEACHER", clips["teacher"], OPTION + "EVALUATE_TEACHER", "False", "OPTIM.WARMUP_EPOCH", "0"]
    words += ["DATALOADER.TRAIN_X.BATCH_SIZE", "10", "TRAIN.CHECKPOINT_FREQ", "1"]
    words += [word for key, value in {**STORED, **RIDGE, "EMA": 0.5}.items() for word in (OPTION + key, str(value))]

    def job(name: str, *more: str) -> dict[str, Any]:
        cache = (OPTION + "CACHE_DIR", str(tmp_path / f"cache of {name}"))
        return {"argv": argv("PromptKD", tmp_path / name, *words, *cache, *more), "state": str(tmp_path / name)}

    train.main(job("one")["argv"])
    jobs = [job("disk"), job("memory", OPTION + "TEACHER_CACHE", "")]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    done = torchrun(str(PROCESSES), str(tmp_path / "jobs.json"))
    before, expected = learned(tmp_path / "one", 1), learned(tmp_path / "one", 2)
    for name in ("disk", "memory"):
        assert (tmp_path / f"{name}-1").is_file(), done.stderr
        both = [torch.load(tmp_path / f"{name}-{rank}", weights_only=True)["learned"] for rank in (0, 1)]
        assert same_bits(*both) and result(tmp_path / name)["processes"] == 2
        weights = learned(tmp_path / name, 2)
        for key, value in expected.items():
            if value.is_floating_point() and key != "projector.mlp.0.bias":  # which has no gradient but rounding's
                assert (weights[key] - value).abs().max() <= 2e-3 * (value - before[key]).abs().max() + 1e-6, key


def test_an_attacked_student_needs_images(run, clips, tmp_path):
    words = (OPTION + "TEACHER", clips["teacher"], OPTION + "MODE", "features", OPTION + "PREC", "fp32")
    with pytest.raises(ValueError, match="AdvPromptKD attacks images"):
        run("AdvPromptKD", tmp_path / "run", *KD, *words)
