"""Students of other kinds: timm's models through open_clip (MobileCLIP's form) and alone, with sizes of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from conftest import result, tiny_config
from PIL import Image
from safetensors.torch import save_file
from tiny_runs import learned

import promptkd
from promptkd.deploy import export, export_folder
from promptkd.model.clip_config import check_config
from promptkd.model.towers import blocks_of, norm_names
from promptkd.model.zoo import load_clip

timm = pytest.importorskip("timm")
PIXELS = 64
# As MobileCLIP's configurations: a timm model whose classifier is the projection, pixels from 0 to 1 as they are.
MOBILE = {
    "embed_dim": 16,
    "vision_cfg": {"timm_model_name": "test_convnext", "timm_model_pretrained": False, "timm_pool": "avg",
                   "timm_proj": None, "timm_drop": 0.0, "timm_drop_path": 0.0, "image_size": PIXELS},
    "text_cfg": tiny_config(16)["text_cfg"] | {"no_causal_mask": True},
    "custom_text": True,
}  # fmt: skip
PLAIN = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0], "interpolation": "bilinear", "size": [PIXELS, PIXELS]}


@pytest.fixture(scope="module")
def mobile(tmp_path_factory) -> str:
    """A folder in open_clip's form, as hf-hub: has them."""
    folder = tmp_path_factory.mktemp("mobile")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MOBILE, "preprocess_cfg": PLAIN}))
    torch.manual_seed(5)
    model = open_clip.factory.CustomTextCLIP(**{key: MOBILE[key] for key in ("embed_dim", "vision_cfg", "text_cfg")})
    with torch.no_grad():
        model.logit_scale.fill_(3.0)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return str(folder / "open_clip_model.safetensors")


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> str:
    """`timm:NAME:FILE`, an image tower alone."""
    torch.manual_seed(6)
    file = tmp_path_factory.mktemp("alone") / "model.safetensors"
    save_file({k: v.contiguous() for k, v in timm.create_model("test_vit").state_dict().items()}, file)
    return f"timm:test_vit:{file}"


@pytest.fixture(scope="module")
def distil(run, clips):
    """`distil(folder, backbone, pixels, mean, std, KEY=value)` trains a student of the 32-pixel teacher CLIP."""

    def call(folder: Path, backbone: str, pixels: int, mean: float, std: float, *more: str, **changes: object) -> None:
        options = {"TEACHER": clips["teacher"], "KD_WEIGHT": 50} | changes
        words = [word for key, value in options.items() for word in (f"TRAINER.PROMPTKD.{key}", str(value))]
        words += ["INPUT.SIZE", f"({pixels}, {pixels})", "INPUT.PIXEL_MEAN", f"({mean}, {mean}, {mean})",
                  "INPUT.PIXEL_STD", f"({std}, {std}, {std})", "OPTIM.WARMUP_EPOCH", "0"]  # fmt: skip
        run("PromptKD", folder, *words, *more, backbone=backbone, epochs=1)

    return call


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(5)
    return [Image.fromarray(rng.integers(0, 255, (5, 4, 3), np.uint8)).resize(size) for size in [(70, 66), (61, 120)]]


def test_a_mobile_student(distil, mobile, tmp_path, capsys):
    """Its teacher gets its images resized and normalised as CLIP's; whole exports need nothing by name."""
    distil(tmp_path / "run", mobile, PIXELS, 0.0, 1.0, TUNE="norm")
    assert "the student's images are resized to 32 px and normalised by its own mean" in capsys.readouterr().out
    found = result(tmp_path / "run")
    assert found["teacher"]["zero_shot_student"] and found["teacher"]["images"].startswith("resized to 32 px")
    names = {name.removeprefix("tower.") for name in learned(tmp_path / "run", 1) if name.startswith("tower.")}
    visual = load_clip(mobile, text=False).visual
    assert names == set(norm_names(visual)) and all(name.startswith("trunk.") for name in names)
    answers(tmp_path)


def test_timms_own_interface(distil, alone, tmp_path):
    distil(tmp_path / "run", alone, 160, 0.5, 0.5, TUNE="last:2", EVALUATE_TEACHER=True)
    found = result(tmp_path / "run")
    assert "zero_shot_student" not in found["teacher"], "it knows no words"
    model = answers(tmp_path).model
    assert model.logit_scale == pytest.approx(float(model.vectors.logit_scale)), "the teacher's, as it has none"
    blocks, behind = blocks_of(load_clip(alone, text=False).visual)
    names = {name.removeprefix("tower.") for name in learned(tmp_path / "run", 1) if name.startswith("tower.")}
    assert names == {name for block in blocks[-2:] for name in block} | set(behind)


def answers(folder: Path):
    """The run's classifier, whose whole and slim exports have been compared with it."""
    whole = promptkd.load(folder / "run")
    for slim in ([], ["--slim"]):
        target = folder / f"export{len(slim)}"
        assert export.main([str(folder / "run"), str(target), "--format", "safetensors", *slim]) == 0
        torch.testing.assert_close(promptkd.load(target).logits(pictures()), whole.logits(pictures()))
    return whole


def test_adapters_of_timms_layers(distil, alone, tmp_path):
    pytest.importorskip("peft")
    distil(tmp_path / "run", alone, 160, 0.5, 0.5, TUNE="lora", LORA_MODULES="qkv, fc1", EVALUATE_TEACHER=False)
    adapters = {name for name in learned(tmp_path / "run", 1) if name.startswith("tower.")}
    assert adapters and all(".qkv.lora_" in name or ".fc1.lora_" in name for name in adapters)


def test_prompts_of_a_mobile_student_say_what_to_set(distil, mobile, tmp_path):
    with pytest.raises(ValueError, match="image encoder is a TimmModel: set TUNE to projector, norm"):
        distil(tmp_path / "run", mobile, PIXELS, 0.0, 1.0)
    with pytest.raises(ValueError, match=r'takes 64 px: set INPUT.SIZE "\(64, 64\)"'):
        distil(tmp_path / "other", mobile, 32, 0.0, 1.0, TUNE="norm")


def test_a_stranger_names_no_repository(distil, alone, tmp_path):
    strange = {"model_cfg": MOBILE | {"vision_cfg": MOBILE["vision_cfg"] | {"timm_model_name": "hf-hub:a/b"}}}
    with pytest.raises(ValueError, match="timm_model_name .* the name of a timm model is wanted"):
        check_config(strange)
    distil(tmp_path / "run", alone, 160, 0.5, 0.5, TUNE="projector", EVALUATE_TEACHER=False)
    assert export.main([str(tmp_path / "run"), str(tmp_path / "out"), "--format", "safetensors"]) == 0
    path = tmp_path / "out" / export_folder.DESCRIPTION
    for name in ("hf-hub:a/b", "test_convnext", 3):
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"architecture": content["architecture"] | {"timm": name}}))
        with pytest.raises(ValueError, match="timm has no model|does not fit"):
            promptkd.load(tmp_path / "out")
