"""PromptedClip and PromptSpec: one object computes what methods, teachers and students need, and is read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import CLASSES, SIZE
from torch.nn import functional as F

import promptkd
from promptkd.model import saved
from promptkd.model.class_vectors import cosine_logits, template_features
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompting import encode_image
from promptkd.model.spec import PromptSpec
from promptkd.model.zoo import load_clip

SPECS = {
    "zero-shot": PromptSpec(),
    "context": PromptSpec(n_text=3),
    "words, class name in the middle": PromptSpec(n_text=4, phrase="a photo of a", position="middle"),
    "a context for each class": PromptSpec(n_text=2, n_classes=len(CLASSES)),
    "both encoders": PromptSpec(n_text=4, depth_text=3, n_vision=2, depth_vision=3, phrase="a photo of a"),
    "visual": PromptSpec(n_vision=4, depth_vision=2, phrase="a photo of a"),
    "conditional": PromptSpec(kind="conditional", n_text=4, phrase="a photo of a"),
    "compound": PromptSpec(kind="compound", n_text=2, depth_text=3, phrase="a photo of a"),
    "student": PromptSpec(n_vision=2, depth_vision=2, projector_layers=2, projector_dim=24),
    "student of one layer": PromptSpec(n_vision=2, depth_vision=1, projector_layers=1, projector_dim=24),
    "student with a residual": PromptSpec(projector_layers=3, projector_dim=24, projector="residual"),
}


def prompted(clip: str, spec: PromptSpec, **options) -> PromptedClip:
    torch.manual_seed(5)
    cpu = Precision.choose("fp32", torch.device("cpu"))
    return PromptedClip(load_clip(clip), spec, cpu, about={"backbone": clip, "trainer": "Test"}, **options)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_comes_back_from_its_fields_and_from_its_tensors(clips, name):
    spec = SPECS[name]
    assert PromptSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    learned = spec.build(load_clip(clips["student"])).state_dict()
    found = PromptSpec.of_tensors(learned, spec.phrase, spec.position)
    # a depth without tokens is nothing; what has no tokens is not told by tensors
    assert replace(found, depth_text=spec.depth_text if not spec.n_text else found.depth_text) == spec
    shapes = {key: value.shape for key, value in found.build(load_clip(clips["student"])).state_dict().items()}
    assert shapes == {key: value.shape for key, value in learned.items()}


@pytest.mark.parametrize(
    "entries, message",
    [
        ([1], "a spec is a mapping"),
        ({"n_words": 3}, "no field 'n_words'; it has kind, n_text"),
        ({"n_text": "3"}, "n_text of a spec is '3': give a int"),
        ({"n_text": True}, "n_text of a spec is True"),
        ({"n_text": -1}, "n_text of a spec is -1"),
        ({"depth_vision": 10**9}, "depth_vision of a spec is 1000000000"),
        ({"kind": "other"}, "no prompts of kind 'other'"),
        ({"position": "behind"}, "the class name at the 'behind'"),
        ({"projector": "deep"}, "no projector 'deep': give mlp or residual"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(entries, message):
    with pytest.raises(ValueError, match=message):
        PromptSpec.from_dict(entries)


def test_only_specs_without_a_part_for_each_class_or_image_teach():
    teaching = {name for name, spec in SPECS.items() if spec.any_class}
    apart = {"a context for each class", "conditional", "student", "student of one layer", "student with a residual"}
    assert teaching == SPECS.keys() - apart


@torch.no_grad()
def test_features_and_logits_are_those_of_the_parts(clips, images):
    model = prompted(clips["student"], SPECS["both encoders"])
    text = model.prompts.encode_text(model.clip, model.prompts.tokens(model.clip, CLASSES))
    image = model.prompts.encode_image(model.clip, images)
    expected = model.logit_scale * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).t()
    torch.testing.assert_close(model.logits(images, model.text_features(CLASSES)), expected)
    torch.testing.assert_close(model.classifier(CLASSES)(images), expected)
    torch.testing.assert_close(model.frozen_image_features(images), encode_image(model.clip.visual, images))
    vectors = model.class_vectors(CLASSES)
    assert vectors.source["made_by"] == f"Test on {clips['student']}"
    assert vectors.source["template"] == model.template == "a photo of a {}."
    model.vectors = vectors
    torch.testing.assert_close(model.logits(images), expected)
    torch.testing.assert_close(model.text_features(CLASSES[:2]), vectors.features[:2])


@torch.no_grad()
def test_a_conditional_model_has_no_class_vectors(clips, images):
    model = prompted(clips["student"], SPECS["conditional"])
    image = F.normalize(model.image_features(images), dim=-1)
    rows = []
    for one in image:  # naively: an image at a time
        text = model.text_features_for(one[None], CLASSES)[0]
        rows.append(cosine_logits(one[None], text, model.logit_scale)[0])
    torch.testing.assert_close(model.classifier(CLASSES)(images), torch.stack(rows))
    with pytest.raises(ValueError, match="no class vectors"):
        model.class_vectors(CLASSES)


@torch.no_grad()
def test_text_that_nothing_learns_is_encoded_once(clips, monkeypatch):
    model, calls = prompted(clips["student"], SPECS["visual"]), []
    encode = model.prompts.encode_text
    monkeypatch.setattr(model.prompts, "encode_text", lambda *given: (calls.append(1), encode(*given))[1])
    first, second = model.text_features(CLASSES), model.text_features(CLASSES)
    assert first is second and calls == [1]
    templates = ["a sketch of a {}.", "{} from above."]
    zero_shot = prompted(clips["student"], SPECS["zero-shot"], templates=templates)
    torch.testing.assert_close(zero_shot.text_features(CLASSES), template_features(zero_shot.clip, CLASSES, templates))
    assert zero_shot.template == " | ".join(templates)


@pytest.mark.parametrize("name", ["both encoders", "compound", "student", "zero-shot"])
def test_a_saved_model_comes_back(clips, images, tmp_path: Path, name):
    templates = ["a photo of a {}."] if name == "zero-shot" else []
    model = prompted(clips["student"], SPECS[name], templates=templates)
    names: list[str] = CLASSES
    if name == "student":
        model.vectors, names = prompted(clips["teacher"], SPECS["context"]).class_vectors(CLASSES), []
    model.save(tmp_path / "model", names)
    model.freeze()
    with torch.no_grad():
        expected = model.classifier(CLASSES)(images)
    again = PromptedClip.load(tmp_path / "model")
    assert again.vectors is not None and list(again.vectors.classnames) == CLASSES
    with torch.no_grad():
        torch.testing.assert_close(again.logits(images), expected)
    assert not any(parameter.requires_grad for parameter in again.prompts.parameters())
    assert promptkd.load(tmp_path / "model").classnames == tuple(CLASSES)


def test_a_damaged_saved_model_is_one_line(clips, tmp_path: Path):
    model = prompted(clips["student"], SPECS["context"])
    with pytest.raises(FileNotFoundError, match="holds no saved model"):
        PromptedClip.load(tmp_path)
    model.save(tmp_path, CLASSES)
    content = json.loads((tmp_path / saved.SPEC_FILE).read_text())
    for change in ({"spec": {"n_text": "x"}}, {"format": 7}, {"backbone": 3}, {"spec": None}):
        (tmp_path / saved.SPEC_FILE).write_text(json.dumps(content | change))
        with pytest.raises(ValueError, match="prompts.json cannot be read"):
            PromptedClip.load(tmp_path)
    (tmp_path / saved.SPEC_FILE).write_text(json.dumps(content | {"spec": content["spec"] | {"n_text": 4}}))
    with pytest.raises(ValueError, match="learned.safetensors does not fit"):
        PromptedClip.load(tmp_path)
    nameless = PromptedClip(load_clip(clips["student"]), PromptSpec(), Precision.choose("fp32", torch.device("cpu")))
    with pytest.raises(ValueError, match="backbone has no name"):
        nameless.save(tmp_path / "b")
