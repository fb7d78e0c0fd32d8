"""PromptKD with TUNE through the command line: trained, resumed, evaluated, saved small, exported, refused."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SIZE, result, tiny_config, write_clip
from tiny_runs import learned, same_bits

import promptkd
from promptkd.deploy import export
from promptkd.deploy.opening import open_classifier
from promptkd.engine import checkpoints
from promptkd.engine.training import Training
from promptkd.model import saved

RESNET = {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "patch_size": None}
RATE = ["OPTIM.STAGED_LR", "True", "OPTIM.NEW_LAYERS", "('projector',)", "OPTIM.BASE_LR_MULT", "0.5"]


@pytest.fixture(scope="module")
def resnet(tmp_path_factory) -> str:
    """A CLIP whose image encoder is a ResNet."""
    folder = tmp_path_factory.mktemp("resnet")
    return str(write_clip(folder / "resnet.safetensors", tiny_config(16) | {"vision_cfg": RESNET}, 4))


@pytest.fixture(scope="module")
def distil(run, clips):
    """`distil(folder, KEY=value)` trains a student of the teacher CLIP."""

    def call(folder: Path, *more: str, backbone: str = "", epochs: int = 1, **changes: object) -> None:
        options = {"TEACHER": clips["teacher"], "EVALUATE_TEACHER": False, "KD_WEIGHT": 50} | changes
        words = [word for key, value in options.items() for word in (f"TRAINER.PROMPTKD.{key}", str(value))]
        words += ["OPTIM.WARMUP_EPOCH", "0", "OPTIM.LR", "0.05"]
        run("PromptKD", folder, *words, *more, backbone=backbone, epochs=epochs)

    return call


def pictures() -> list:
    from PIL import Image

    rng = np.random.default_rng(5)
    return [Image.fromarray(rng.integers(0, 255, (5, 4, 3), np.uint8)).resize(size) for size in [(40, 36), (31, 120)]]


@pytest.mark.parametrize(
    ("kind", "tune"), [("vit", "norm"), ("resnet", "norm"), ("vit", "lora"), ("resnet", "last:1"), ("vit", "full")]
)
def test_a_tuned_student_trains_and_is_exported(distil, run, clips, resnet, tmp_path, kind, tune):
    if tune == "lora":
        pytest.importorskip("peft")
    backbone = clips["student"] if kind == "vit" else resnet
    distil(tmp_path / "run", *RATE, backbone=backbone, TUNE=tune)
    found, tensors = result(tmp_path / "run"), learned(tmp_path / "run", 1)
    assert found["trainer"] == "PromptKD" and found["settings"]["TRAINER.PROMPTKD.TUNE"] == tune
    tower = {name for name in tensors if name.startswith("tower.")}
    assert tower and not any(name.startswith("vision_prompts") for name in tensors)
    assert found["learned_parameters"] == sum(
        tensors[name].numel() for name in tensors if "running" not in name and "num_batches" not in name
    )
    # evaluated again: the same numbers
    run("PromptKD", tmp_path / "again", "--eval-only", "--model-dir=" + str(tmp_path / "run"),
        "TRAINER.PROMPTKD.TUNE", tune, backbone=backbone)  # fmt: skip
    assert result(tmp_path / "again")["metrics"] == found["metrics"]
    # in use, and exported: the same logits
    whole = promptkd.load(tmp_path / "run")
    wanted = whole.logits(pictures())
    for slim in ([], ["--slim"]):
        target = tmp_path / f"folder{len(slim)}"
        assert export.main([str(tmp_path / "run"), str(target), "--format", "safetensors", *slim]) == 0
        assert torch.equal(promptkd.load(target).logits(pictures()), wanted)
    assert export.main([str(tmp_path / "run"), str(tmp_path / "published"), "--format", "published"]) == 1
    # what deployed code saves and loads again
    model = saved.load(_saved(whole.as_learned, tmp_path / "saved"))
    assert same_bits(model.prompts.state_dict(), whole.as_learned.prompts.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_programs_hold_what_was_tuned(distil, resnet, tmp_path, format):
    distil(tmp_path / "run", *RATE, backbone=resnet, TUNE="last:1")
    assert export.main([str(tmp_path / "run"), str(tmp_path / f"model.{format}"), "--format", format]) == 0
    if format == "onnx":
        wanted = promptkd.load(tmp_path / "run").probabilities(pictures())
        np.testing.assert_allclose(
            open_classifier(tmp_path / "model.onnx").probabilities(pictures()), wanted, atol=1e-5
        )


def _saved(model, folder: Path) -> Path:
    saved.save(model, folder)
    return folder


def test_an_adapter_is_saved_alone(distil, tmp_path):
    pytest.importorskip("peft")
    for tune in ("full", "lora"):
        distil(tmp_path / tune, TUNE=tune, LORA_RANK=2)
    sizes = {tune: sum(value.numel() for value in learned(tmp_path / tune, 1).values()) for tune in ("full", "lora")}
    assert sizes["lora"] < sizes["full"] / 5
    assert all("lora_" in name or name.startswith("projector.") for name in learned(tmp_path / "lora", 1))


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_a_resumed_run_equals_an_uninterrupted_one(distil, tmp_path, monkeypatch, tune):
    if tune == "lora":
        pytest.importorskip("peft")
    distil(tmp_path / "whole", *RATE, TUNE=tune, epochs=2)
    shutil.copytree(tmp_path / "whole", tmp_path / "unused")
    steps = iter(range(100))
    take_step = Training.take_step

    def stops(self, batch):
        if next(steps) == 9:  # 8 steps an epoch
            raise KeyboardInterrupt
        return take_step(self, batch)

    monkeypatch.setattr(Training, "take_step", stops)
    with pytest.raises(KeyboardInterrupt):
        distil(tmp_path / "cut", *RATE, TUNE=tune, epochs=2)
    monkeypatch.undo()
    distil(tmp_path / "cut", *RATE, TUNE=tune, epochs=2)
    assert same_bits(learned(tmp_path / "whole", 2), learned(tmp_path / "cut", 2))
    first = tmp_path / "whole" / "VLPromptLearner" / "model.pth.tar-2"
    distil(tmp_path / "on", *RATE, "MODEL.INIT_WEIGHTS", str(first), "OPTIM.LR", "1e-9", TUNE=tune)
    start, end = learned(tmp_path / "whole", 2), learned(tmp_path / "on", 1)
    names = [name for name in start if start[name].is_floating_point() and "running" not in name]
    assert all(torch.allclose(start[name], end[name], atol=1e-5) for name in names)


def test_the_default_is_the_published_student(distil, tmp_path):
    distil(tmp_path / "default", PROMPT_DEPTH_VISION=2)
    distil(tmp_path / "prompts", PROMPT_DEPTH_VISION=2, TUNE="prompts")
    assert same_bits(learned(tmp_path / "default", 1), learned(tmp_path / "prompts", 1))
    assert "TRAINER.PROMPTKD.TUNE" not in result(tmp_path / "default")["settings"]
    distil(tmp_path / "projector", TUNE="projector")
    assert all(name.startswith("projector.") for name in learned(tmp_path / "projector", 1))


WRONG = {
    "a word": ({"TUNE": "norms"}, "TUNE 'norms', did you mean norm.*choose one of prompts, projector, norm"),
    "no block": ({"TUNE": "last:0"}, "set last:1 or more, or projector"),
    "too many blocks": ({"TUNE": "last:99"}, "3 blocks, set last:1 to last:3"),
    "no number": ({"TUNE": "last:two"}, "did you mean last:N.*choose one of"),
    "features": ({"TUNE": "full", "MODE": "features"}, "TUNE full changes the features"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_one_line_before_training(distil, tmp_path, case):
    changes, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        distil(tmp_path / "run", **changes)
    assert not checkpoints.numbered(tmp_path / "run" / "VLPromptLearner")


def test_prompts_on_a_resnet(distil, resnet, tmp_path):
    with pytest.raises(ValueError, match="set TUNE to projector, norm"):
        distil(tmp_path / "run", backbone=resnet)


def test_compiled_encoders_do_not_learn(distil, tmp_path):
    with pytest.raises(ValueError, match="set MODEL.COMPILE False"):
        distil(tmp_path / "run", "MODEL.COMPILE", "True", TUNE="norm")


def test_peft_that_is_missing(distil, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"pip install 'promptkd\[lora\]'"):
        distil(tmp_path / "run", TUNE="lora")


def test_another_way_to_tune_is_not_resumed(distil, tmp_path):
    distil(tmp_path / "norm", TUNE="norm")
    file = tmp_path / "norm" / "VLPromptLearner" / "model.pth.tar-1"
    with pytest.raises(ValueError, match="does not fit: .* missing"):
        distil(tmp_path / "full", "MODEL.INIT_WEIGHTS", str(file), TUNE="full")
