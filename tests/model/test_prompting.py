"""Prompts as arguments: against open_clip itself without prompts, against a naive walk with them."""

from __future__ import annotations

import pytest
import torch
from conftest import CLASSES
from torch import nn

from promptkd.model.class_vectors import ClassVectors, cosine_logits, encode_prompts, template_features, weights_hash
from promptkd.model.projector import projector
from promptkd.model.prompting import encode_image, shape_of
from promptkd.model.prompts import Prompts, StudentPrompts
from promptkd.model.templates import (
    IMAGENET_TEMPLATES,
    IMAGENET_TEMPLATES_SELECT,
    PROMPTSRC_TEMPLATES,
    dataset_template,
    ensemble_templates,
)
from promptkd.model.text import insert_context
from promptkd.model.tokens import embed, tokenize
from promptkd.model.zoo import load_clip


@pytest.fixture(scope="module")
def clip(clips):
    return load_clip(clips["teacher"])


def test_sizes_come_from_the_model(clip):
    shape = shape_of(clip)
    assert (shape.embed_dim, shape.resolution, shape.vision_layers, shape.text_layers) == (24, 32, 3, 3)
    assert (shape.vision_width, shape.text_width, shape.context_length) == (32, 32, 77)
    assert not any(parameter.requires_grad for parameter in clip.parameters()) and not clip.training


@torch.no_grad()
def test_without_prompts_it_is_open_clip(clip):
    images = torch.randn(3, 3, 32, 32)
    assert torch.allclose(encode_image(clip.visual, images), clip.encode_image(images), atol=1e-5)
    texts = [f"a photo of a {name}." for name in CLASSES]
    assert torch.allclose(encode_prompts(clip, texts), clip.encode_text(tokenize(texts)), atol=1e-5)


def test_text_is_cut_after_the_last_end_of_text(clip):
    tokens = embed(clip, ["a cat.", "a photo of two cats."])
    assert tokens.embeddings.shape[1] == 8 and tokens.eot.tolist() == [4, 7]


@torch.no_grad()
def test_visual_prompts_against_a_naive_walk(clip):
    """Appended after the patches through ln_pre; replaced before each deeper block; the class token is read out."""
    visual, images = clip.visual, torch.randn(2, 3, 32, 32)
    prompts = [torch.randn(2, 32) for _ in range(2)]
    expected = []
    for image in images:
        patches = visual.conv1(image[None]).flatten(2).transpose(1, 2)[0]  # (4, 32)
        tokens = torch.cat([visual.class_embedding[None], patches]) + visual.positional_embedding
        x = visual.ln_pre(torch.cat([tokens, prompts[0]]))
        for number, block in enumerate(visual.transformer.resblocks):
            if number == 1:
                x[-2:] = prompts[1]
            x = block(x[None])[0]
        expected.append(visual.ln_post(x[0]) @ visual.proj)
    assert torch.allclose(encode_image(visual, images, prompts), torch.stack(expected), atol=1e-5)


@torch.no_grad()
def test_deep_text_prompts_against_a_naive_walk(clip):
    prompts = Prompts(clip, n_text=2, depth_text=3, phrase="a photo of a")
    for value in prompts.parameters():
        value.normal_()
    features = prompts.encode_text(clip, prompts.tokens(clip, CLASSES))
    ids = tokenize([f"a photo of a {name}." for name in CLASSES])  # "of a" stays: the phrase is longer than the context
    for row, feature in zip(ids, features, strict=True):
        x = clip.token_embedding(row)
        x[1:3] = prompts.ctx
        x = x + clip.positional_embedding
        for number, block in enumerate(clip.transformer.resblocks):
            if number:
                x[1:3] = prompts.text_prompts[number - 1]
            x = block(x[None], attn_mask=clip.attn_mask)[0]
        assert torch.allclose(clip.ln_final(x[row.argmax()]) @ clip.text_projection, feature, atol=1e-5)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_context_around_the_class_name(clip, position):
    prompts = Prompts(clip, n_text=3, position=position)
    tokens = prompts.tokens(clip, ["sea lake", "cat"])
    rows = insert_context(tokens, prompts.ctx, position)
    for row, name in zip(rows, ["sea lake", "cat"], strict=True):
        words = [clip.token_embedding(i) for i in tokenize(name)[0][1 : 1 + len(name.split())]]
        around = {"end": 3, "middle": 1, "front": 0}[position]
        expected = [*prompts.ctx[:around], *words, *prompts.ctx[around:]]
        assert torch.equal(row[1 : 1 + len(expected)], torch.stack(expected))
        dot = clip.token_embedding(tokenize(".")[0][1])
        assert torch.equal(row[1 + len(expected)], dot)


def test_class_specific_context_starts_equal_and_is_learned_apart(clip):
    prompts = Prompts(clip, n_text=2, n_classes=3, phrase="a photo")
    assert prompts.ctx.shape == (3, 2, 32) and torch.equal(prompts.ctx[0], prompts.ctx[2])
    prompts.encode_text(clip, prompts.tokens(clip, ["a", "b", "c"]))[1].sum().backward()
    assert prompts.ctx.grad[1].abs().sum() > 0 and not prompts.ctx.grad[0].any()


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_projector_depth(layers):
    module = projector(16, 24, layers)
    assert sum(isinstance(part, nn.Linear) for part in module) == layers
    assert module(torch.randn(4, 16)).shape == (4, 24)
    with pytest.raises(ValueError, match="PROJECT_LAYER is 1, 2 or 3"):
        projector(16, 24, 4)


def test_a_bias_in_front_of_batchnorm_is_not_moved_by_rounding():
    module = projector(16, 24, 2)
    (module(torch.randn(8, 16)) * 1000).square().sum().backward()
    assert not module[0].bias.grad.any() and module[3].bias.grad.any() and module[0].weight.grad.any()


def test_student_learns_no_text(clip):
    names = set(StudentPrompts(clip, 40, 2, 2).state_dict())
    assert not any(name.startswith(("ctx", "text")) for name in names)
    assert StudentPrompts(clip, 40, 2, 2).encode_image(clip, torch.randn(2, 3, 32, 32)).shape == (2, 40)


@torch.no_grad()
def test_template_means(clip):
    templates = ["a photo of a {}.", "art of the {}."]
    raw = torch.stack(
        [clip.encode_text(tokenize([t.replace("{}", n) for n in CLASSES])) for t in templates]
    )  # (T, C, D)
    unit = nn.functional.normalize
    assert torch.allclose(
        template_features(clip, CLASSES, templates), unit(unit(raw, dim=-1).mean(0), dim=-1), atol=1e-5
    )
    raw_mean = template_features(clip, CLASSES, templates, normalize_each=False)
    assert torch.allclose(raw_mean, unit(raw.mean(0), dim=-1), atol=1e-5)


def test_template_lists():
    assert (len(IMAGENET_TEMPLATES), len(IMAGENET_TEMPLATES_SELECT), len(PROMPTSRC_TEMPLATES)) == (80, 7, 60)
    assert IMAGENET_TEMPLATES[39] == PROMPTSRC_TEMPLATES[0] == "a photo of a {}."
    assert len(set(PROMPTSRC_TEMPLATES)) == 60 and all(text.count("{}") == 1 for text in IMAGENET_TEMPLATES)
    assert dataset_template("EuroSAT") == "a centered satellite photo of {}."
    assert len(ensemble_templates("ImageNet")) == 7 and len(ensemble_templates("ImageNetSketch")) == 8
    assert len(ensemble_templates("EuroSAT")) == 8


def test_logits_are_float32_under_autocast():
    """In bfloat16 a logit of 30 would be off by 0.06."""
    image, text, of_images = torch.randn(3, 8), torch.randn(5, 8), torch.randn(3, 5, 8)
    for features in (text, of_images):
        expected = cosine_logits(image, features, 30.0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = cosine_logits(image, features, 30.0)
        assert logits.dtype is torch.float32 and torch.equal(logits, expected)


def test_cosine_logits_naive():
    image, text = torch.randn(2, 5), torch.randn(3, 5)
    for row, logits in zip(image, cosine_logits(image, text, 7.0), strict=True):
        for other, value in zip(text, logits, strict=True):
            assert value == pytest.approx(float(7 * row @ other / row.norm() / other.norm()), abs=1e-4)
    per_image = torch.stack([text, text.flip(0)])
    assert torch.allclose(
        cosine_logits(image, per_image, 7.0)[1], cosine_logits(image, text, 7.0)[1].flip(0), atol=1e-5
    )


def test_class_vectors_file(tmp_path):
    features = nn.functional.normalize(torch.randn(3, 4), dim=-1)
    features[2] = features[0]  # ImageNet has two classes of one name: they have one text, and one vector
    vectors = ClassVectors(("crane", "a b", "crane"), features, 50.0, {"made_by": "PromptSRC on ViT-L/14"})
    vectors.save(tmp_path / "v.safetensors")
    back = ClassVectors.load(tmp_path / "v.safetensors")
    assert back.classnames == vectors.classnames and back.logit_scale == 50.0 and back.source == vectors.source
    assert torch.equal(back.select(["a b", "crane"]).features, features[[1, 0]])
    with pytest.raises(ValueError, match=r"first 'cranes'; closest: 'crane'.*PromptSRC on ViT-L/14"):
        back.select(["a b", "cranes"])
    with pytest.raises(FileNotFoundError, match="no class vectors at"):
        ClassVectors.load(tmp_path / "other.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="holds no class vectors"):
        ClassVectors.load(tmp_path / "bad.safetensors")
    assert [path.name for path in tmp_path.glob("*.part")] == []


def test_weights_hash_sees_every_weight(clip):
    prompts = Prompts(clip, n_text=2, depth_text=2)
    before = weights_hash(prompts)
    with torch.no_grad():
        prompts.text_prompts[0][1, 3] += 1e-4
    assert weights_hash(prompts) != before
