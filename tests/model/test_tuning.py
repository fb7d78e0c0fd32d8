"""Students whose image encoder learns: what is tuned, what is not; the walk is that of a changed encoder."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch
from conftest import SIZE, tiny_config
from open_clip.model import CLIP
from torch import nn

from promptkd.model.image_side import merged
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompting import encode_image
from promptkd.model.spec import PromptSpec
from promptkd.model.towers import blocks_of, norm_names
from promptkd.model.tuning import encode_with, tuned_names

RESNET = {"image_size": SIZE, "layers": [1, 2, 1, 1], "width": 8, "head_width": 16, "patch_size": None}
LORA = {"lora_rank": 3, "lora_alpha": 6.0}


def tower(kind: str) -> CLIP:
    """A frozen tiny CLIP with a Vision Transformer or a ResNet."""
    config = tiny_config(16)
    torch.manual_seed(7)
    model = CLIP(16, config["vision_cfg"] if kind == "vit" else RESNET, config["text_cfg"])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as if it had been trained
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.requires_grad_(False).eval()


def student(clip: CLIP, tune: str, **changes: object) -> PromptedClip:
    if tune == "lora":
        pytest.importorskip("peft")
        changes = LORA | changes
    spec = PromptSpec(projector_layers=2, projector_dim=24, tune=tune, **changes)
    return PromptedClip(clip, spec, Precision.choose("fp32", torch.device("cpu")))


def images(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))


TUNES = ("norm", "last:1", "last:2", "full", "lora")


@pytest.mark.parametrize("kind", ["vit", "resnet"])
@pytest.mark.parametrize("tune", TUNES)
def test_it_starts_as_clip_and_equals_a_changed_encoder(kind, tune):
    clip = tower(kind)
    before = {name: value.clone() for name, value in clip.state_dict().items()}
    model = student(clip, tune)
    with torch.no_grad():
        start = encode_with(clip.visual, images(), model.prompts.tower.weights(clip.visual))
        torch.testing.assert_close(start, encode_image(clip.visual, images()), rtol=1e-6, atol=1e-6)
        for value in model.prompts.tower.parameters():
            value.add_(0.05 * torch.randn_like(value))
        model.freeze()
        changed = copy.deepcopy(clip.visual)
        for name, value in model.prompts.tower.weights(clip.visual).items():
            changed.get_parameter(name).copy_(value)
        wanted = model.prompts.projector(encode_image(changed, images()))
        got = model.image_features(images())
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
        assert (got - model.prompts.projector(start)).abs().max() > 1e-3, "what is tuned enters"
        plain = merged(model)
        assert torch.equal(plain.image_features(images()), got) and not plain.spec.tune
        assert set(plain.prompts.state_dict()) == {n for n in model.prompts.state_dict() if n.startswith("projector.")}
    assert all(torch.equal(before[name], value) for name, value in clip.state_dict().items()), "CLIP stays as it is"


@pytest.mark.parametrize("kind", ["vit", "resnet"])
@pytest.mark.parametrize("tune", TUNES)
def test_gradients_reach_what_is_tuned_and_nothing_else(kind, tune):
    clip = tower(kind)
    model = student(clip, tune)
    with torch.no_grad():
        for name, value in model.prompts.named_parameters():
            if name.endswith("lora_B.weight"):  # which starts at 0, so that A has no gradient at the very first step
                value.normal_(std=0.02)
    model.image_features(images(8)).square().sum().backward()
    reached = {name for name, value in model.prompts.named_parameters() if value.grad is not None}
    assert reached == {name for name, _ in model.prompts.named_parameters()}
    flat = [n for n, v in model.prompts.named_parameters() if not v.grad.any() and n != "projector.0.bias"]
    assert flat == [] or kind == "vit" and all("k_" in n or "in_proj_bias" in n for n in flat)
    assert not any(value.grad is not None for value in clip.parameters())
    if tune == "lora":
        names = {name.removeprefix("tower.") for name in reached if name.startswith("tower.")}
        assert all(".lora_" in name or "in_proj_lora_" in name for name in names)
    else:
        names = {name.removeprefix("tower.") for name in reached if name.startswith("tower.")}
        assert names == set(tuned_names(clip.visual, tune))


def test_parts_of_encoders():
    vit, resnet = tower("vit").visual, tower("resnet").visual
    blocks, behind = blocks_of(vit)
    assert len(blocks) == 3 and set(behind) == {"ln_post.weight", "ln_post.bias", "proj"}
    assert all(name.startswith("transformer.resblocks.2.") for name in blocks[-1])
    blocks, behind = blocks_of(resnet)
    assert len(blocks) == 5 and all(name.startswith("attnpool.") for name in behind)
    assert {name.rpartition(".")[0] for name in blocks[1]} >= {
        "layer2.0.conv1",
        "layer2.0.bn1",
        "layer2.0.downsample.0",
    }
    assert set(norm_names(vit)) >= {"ln_pre.weight", "transformer.resblocks.0.ln_2.bias", "ln_post.bias"}
    assert set(norm_names(resnet)) >= {"bn1.weight", "layer3.0.bn3.bias", "layer1.0.downsample.1.weight"}


@pytest.mark.parametrize(
    ("name", "count", "last", "behind"),
    [
        ("MobileCLIP2-S0", 20, "trunk.stages.3.blocks.1.", ("trunk.final_conv.", "trunk.head.fc.")),
        ("ViT-B-16-SigLIP", 12, "trunk.blocks.11.", ("trunk.attn_pool.",)),
    ],
)
def test_parts_of_towers_of_timm(name, count, last, behind):
    """As they are in open_clip, without numbers."""
    config = open_clip.get_model_config(name)
    with torch.device("meta"):
        visual = open_clip.model._build_vision_tower(config["embed_dim"], config["vision_cfg"])
    blocks, rest = blocks_of(visual)
    assert len(blocks) == count and any(name.startswith(last) for name in blocks[-1])
    assert all(any(name.startswith(begin) for name in rest) for begin in behind)
    assert all(name.startswith(behind) for name in rest), "norms that timm counts to the last block are in that"
    names = {name for block in blocks for name in block} | set(rest)
    assert names < {name for name, _ in visual.named_parameters()}, "the stem is in none"
    assert norm_names(visual)


def test_statistics_of_batch_norms_stay(capsys):
    clip = tower("resnet")
    model = student(clip, "full")
    before = {name: value.clone() for name, value in clip.visual.named_buffers()}
    model.prompts.train()
    model.image_features(images(8)).sum().backward()
    assert all(torch.equal(before[name], value) for name, value in clip.visual.named_buffers())
    assert not any("tower" in name and "running" in name for name in model.prompts.state_dict())


@pytest.mark.parametrize(
    ("kind", "tune", "changes", "message"),
    [
        ("vit", "last:4", {}, "3 blocks, set last:1 to last:3"),
        ("resnet", "last:99", {}, "5 blocks, set last:1 to last:5"),
        (
            "vit",
            "lora",
            {"lora_modules": "atn"},
            r"atn: no layer .* did you mean attn\? It has attn, c_fc, c_proj, conv1",
        ),
        ("resnet", "lora", {"lora_modules": "conv1,mlp"}, "mlp: no layer"),
    ],
)
def test_what_an_encoder_has_not(kind, tune, changes, message):
    with pytest.raises(ValueError, match=message):
        student(tower(kind), tune, **changes)


def test_prompts_of_a_resnet_say_what_to_set():
    with pytest.raises(ValueError, match="set TUNE to projector, norm, lora, last:N or full"):
        PromptSpec(n_vision=2, depth_vision=1, projector_layers=2, projector_dim=24).build(tower("resnet"))


def test_chosen_layers_alone_have_adapters():
    model = student(tower("vit"), "lora", lora_modules="c_fc")
    names = {name for name in model.prompts.state_dict() if name.startswith("tower.")}
    assert names == {f"tower.transformer.resblocks.{n}.mlp.c_fc.lora_{k}.weight" for n in range(3) for k in "AB"}
    assert model.prompts.state_dict()["tower.transformer.resblocks.0.mlp.c_fc.lora_A.weight"].shape == (3, 32)


def test_a_spec_that_tunes_is_checked():
    for entries in (
        {"tune": "norms", "projector_layers": 2},
        {"tune": "norm"},
        {"tune": "lora", "projector_layers": 2},
        {"tune": "full", "lora_alpha": float("nan"), "projector_layers": 2},
    ):
        with pytest.raises(ValueError, match="spec"):
            PromptSpec.from_dict(entries)
    spec = PromptSpec(projector_layers=2, projector_dim=24, tune="lora", **LORA)
    assert PromptSpec.from_dict(spec.to_dict()) == spec
