"""Image towers of timm: weights are read by the one door, and a FeatureTeacher makes teachers of them."""

from __future__ import annotations

import pytest
import torch
from conftest import result
from safetensors.torch import save_file
from tiny_runs import BASE, KD

import promptkd
from promptkd.deploy import export
from promptkd.model import timm_names
from promptkd.model.class_vectors import FILE_NAME, ClassVectors
from promptkd.model.prompting import shape_of
from promptkd.model.zoo import image_statistics, load_clip

timm = pytest.importorskip("timm")
NAME = "test_resnet"  # timm's own, for tests: 0.5 million numbers, 160 px


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    """A file of its weights, the classifier's too, as timm's repositories have them."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("timm") / "model.safetensors"
    model = timm.create_model(NAME)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return str(path)


def words_of(name: str) -> list[str]:
    mean, std = ([str(value) for value in one] for one in ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    lists = [f"({', '.join(one)})" for one in (mean, std)]
    return ["MODEL.BACKBONE.NAME", name, "INPUT.SIZE", "(160, 160)", "INPUT.PIXEL_MEAN", lists[0], "INPUT.PIXEL_STD",
            lists[1]]  # fmt: skip


def test_a_tower_by_name_and_file(weights, monkeypatch):
    clip = load_clip(f"timm:{NAME}:{weights}")
    model = timm.create_model(NAME, num_classes=0)
    model.load_state_dict({k: v for k, v in timm_names.read_state(weights).items() if not k.startswith("fc.")})
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        assert torch.equal(clip.encode_image(images), model.eval()(images))
    shape = shape_of(clip)
    assert (shape.resolution, shape.embed_dim, shape.vision_layers) == (160, model.num_features, 0)
    assert image_statistics(clip) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)) and not clip.training
    asked = []
    monkeypatch.setattr(timm_names, "download_pretrained_from_hf", lambda *words: asked.append(words) or weights)
    load_clip(f"timm:{NAME}.r160_in1k")
    assert asked == [(f"timm/{NAME}.r160_in1k", "model.safetensors")]


def test_wrong_names_and_weights_are_refused(weights, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="timm has no model 'test_resnett'; closest: 'test_resnet'"):
        load_clip("timm:test_resnett")
    with pytest.raises(ValueError, match="there is no file .*nowhere"):
        load_clip(f"timm:{NAME}:nowhere")
    with pytest.raises(ValueError, match="does not fit timm's"):
        load_clip(f"timm:test_vit:{weights}")
    state = timm_names.read_state(weights)
    key = "conv1.0.weight" if "conv1.0.weight" in state else next(iter(state))
    save_file(state | {key: state[key] / 0}, tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match=f"{key} has numbers that are not finite"):
        load_clip(f"timm:{NAME}:{tmp_path / 'bad.safetensors'}")

    def offline(*words):
        raise FileNotFoundError("no network")

    monkeypatch.setattr(timm_names, "download_pretrained_from_hf", offline)
    with pytest.raises(OSError, match="cannot fetch the weights of timm:test_resnet .*give timm:test_resnet:FILE"):
        load_clip(f"timm:{NAME}")


def test_without_texts_it_teaches_by_labelled_images_alone(run, clips, weights, tmp_path):
    """All classes have images; the logit scale is fitted, for there is none; the student has another size."""
    name = f"timm:{NAME}:{weights}"
    run("FeatureTeacher", tmp_path / "teacher", *words_of(name), "DATASET.NUM_SHOTS", "4")
    found = result(tmp_path / "teacher")
    vectors = ClassVectors.load(tmp_path / "teacher" / FILE_NAME)
    assert set(found["metrics"]) == {"all"} and len(vectors.classnames) == 5 and vectors.logit_scale != 100
    assert promptkd.load(tmp_path / "teacher").model.logit_scale == pytest.approx(vectors.logit_scale)
    assert export.main([str(tmp_path / "teacher"), "--format", "safetensors"]) == 0  # compared with the run
    several = ["TRAINER.PROMPTKD.TEACHERS", f"[{clips['teacher']}, {tmp_path / 'teacher'}]"]
    run("PromptKD", tmp_path / "kd", *KD, *several, epochs=1)
    about = result(tmp_path / "kd")["teacher"]["teachers"][1]
    assert (about["trainer"], about["backbone"]) == ("FeatureTeacher", name)
    assert about["images"] == "resized to 160 px and normalised by its own mean and deviation"


def test_a_class_without_images_has_no_vector(run, clips, weights, tmp_path):
    name = f"timm:{NAME}:{weights}"
    run("FeatureTeacher", tmp_path / "base", *words_of(name), *BASE)
    assert set(result(tmp_path / "base")["metrics"]) == {"base"}
    several = ["TRAINER.PROMPTKD.TEACHERS", f"[{clips['teacher']}, {tmp_path / 'base'}]"]
    with pytest.raises(ValueError, match="TEACHERS, 2 of 2: no class vector for 2 of 5 classes, first 'River'"):
        run("PromptKD", tmp_path / "kd", *KD, *several)
    with pytest.raises(ValueError, match="is an image tower without a text encoder: .*Train FeatureTeacher on it"):
        run("PromptKD", tmp_path / "kd", *KD, "TRAINER.PROMPTKD.TEACHER", name)
    with pytest.raises(ValueError, match="without a text encoder knows no class by its name"):
        run("ZeroshotCLIP", tmp_path / "zero", *words_of(name))
