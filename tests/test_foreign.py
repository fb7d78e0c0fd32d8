"""Trainer files that were written for upstream run here, and give what ours give."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CLASSES, SIZE, result, tiny_config
from open_clip.model import CLIP as OpenClip
from PIL import Image
from torch import nn
from torch.nn import functional as F

from clip import clip as openai
from clip.model import CLIP, convert_weights
from clip.simple_tokenizer import SimpleTokenizer, default_bpe
from dassl.data.datasets import Datum
from datasets.oxford_pets import OxfordPets
from promptkd.engine import checkpoints
from promptkd.model.class_vectors import encode_prompts
from promptkd.model.compound import CompoundPrompts
from promptkd.model.prompts import Prompts
from promptkd.model.zoo import from_state, load_clip

ROOT = Path(__file__).parents[1]
FOREIGN = ROOT / "tests/foreign"


@pytest.fixture(scope="session", autouse=True)
def dropped_in():
    """The files, imported as if they lay in trainers/."""
    for file in sorted(FOREIGN.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"trainers.{file.stem}", file)
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


@pytest.fixture(scope="module")
def openai_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny CLIP as OpenAI's state dict: heads of 64 channels, QuickGELU, no architecture in the file."""
    torch.manual_seed(3)
    config = tiny_config(24, width=64, layers=2)
    config["vision_cfg"]["head_width"], config["text_cfg"]["heads"] = 64, 1
    model = OpenClip(**config, quick_gelu=True)
    state = model.state_dict() | {"input_resolution": torch.tensor(SIZE), "context_length": torch.tensor(77)}
    path = tmp_path_factory.mktemp("openai") / "tiny.pt"
    torch.save(state | {"vocab_size": torch.tensor(49408)}, path)
    return str(path)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_context_learner_trains_and_its_checkpoint_is_coops(run, openai_file: str, tmp_path: Path, precision: str):
    words = ["TRAINER.COOP.CTX_INIT", "a_photo_of_a", "TRAINER.COOP.PREC", precision]
    run("ForeignCoOp", tmp_path / "foreign", *words, backbone=openai_file)
    saved = checkpoints.read_checkpoint(tmp_path / "foreign/prompt_learner/model.pth.tar-2")["state_dict"]
    assert set(saved) == {"ctx", "token_prefix", "token_suffix"}
    own = load_clip(openai_file)
    start = own.token_embedding(openai.tokenize("a photo of a"))[0, 1:5]
    assert not torch.equal(saved["ctx"].float(), start) and saved["ctx"].isfinite().all()
    if precision == "fp16":
        return
    flags = ["--eval-only", f"--model-dir={tmp_path / 'foreign'}", "--load-epoch=2"]
    theirs = run("ForeignCoOp", tmp_path / "again", *flags, *words, backbone=openai_file)
    ours = run("CoOp", tmp_path / "ours", *flags, *words, backbone=openai_file)
    assert ours == pytest.approx(theirs)
    assert result(tmp_path / "ours")["trainer"] == "CoOp"


class Code:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_checkpoints_of_foreign_trainers_are_read_without_their_objects(run, openai_file: str, tmp_path, monkeypatch):
    words = ["TRAINER.COOP.CTX_INIT", "a_photo_of_a", "TRAINER.COOP.PREC", "fp32"]
    run("ForeignCoOp", tmp_path / "run", *words, backbone=openai_file, epochs=1)
    path = tmp_path / "run" / "prompt_learner" / "model.pth.tar-1"
    content = checkpoints.read_checkpoint(path)
    torch.save(content | {"scheduler": Code(tmp_path / "ran")}, path)  # upstream stores its schedule as an object
    load = torch.load  # of backbones, which clip/clip.py has written anew by then
    monkeypatch.setattr(
        torch, "load", lambda file, *words, **more: "pth" not in str(file) and load(file, *words, **more)
    )
    flags = ["--eval-only", f"--model-dir={tmp_path / 'run'}", "--load-epoch=1"]
    assert run("ForeignCoOp", tmp_path / "again", *flags, *words, backbone=openai_file) > 0
    content["state_dict"]["ctx"][0, 0] = float("nan")
    torch.save(content, path)
    with pytest.raises(ValueError, match="model.pth.tar-1.*'ctx' of its state_dict has numbers that are not finite"):
        run("ForeignCoOp", tmp_path / "third", *flags, *words, backbone=openai_file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_conditional_learner_trains_on_any_backbone(run, clips, openai_file: str, tmp_path: Path, precision: str):
    words = ["TRAINER.COCOOP.N_CTX", "3", "TRAINER.COCOOP.PREC", precision]
    for name, backbone in (("openai", openai_file), ("open_clip", clips["student"])):
        run("ForeignCoCoOp", tmp_path / name, *words, backbone=backbone, epochs=1)
        path = tmp_path / name / "prompt_learner/model.pth.tar-1"
        saved = checkpoints.read_checkpoint(path)["state_dict"]
        assert saved["meta_net.linear1.weight"].isfinite().all() and saved["ctx"].shape[0] == 3


def test_keys_that_nobody_here_declares_are_taken(run, clips, tmp_path: Path, capsys: pytest.CaptureFixture):
    words = ["TRAINER.COOP.CTX_INIT", "a photo of a", "TRAINER.COOP.PREC", "fp32"]
    run("ForeignCoOp", tmp_path / "a", *words, "TRAINER.OTHER.ALPHA", "0.5", "LOSS.T", "2", backbone=clips["student"])
    assert "TRAINER.OTHER is taken as given" in capsys.readouterr().out
    config = (tmp_path / "a" / "config.yaml").read_text()
    assert "ALPHA: 0.5" in config and "W: 1.0" in config
    with pytest.raises(ValueError, match="no configuration key LOSS"):
        run("CoOp", tmp_path / "b", "LOSS.T", "2")


def test_zero_shot_takes_its_loader_and_templates_from_the_files_beside_it(run, openai_file: str, tmp_path: Path):
    theirs = run("ForeignZeroshot", tmp_path / "theirs", "--eval-only", backbone=openai_file)
    ours = run("ZeroshotCLIP2", tmp_path / "ours", "--eval-only", backbone=openai_file)
    assert ours == pytest.approx(theirs)
    assert sys.modules["trainers.zeroshot"].COUNTS == (60, 7)
    assert "imagenet_templates" not in (ROOT / "trainers/__init__.py").read_text()  # it is no trainer


def pair(name: str, design: dict | None = None):
    """OpenAI's form in float32 (its weights went through half precision) and our plain model of the same weights."""
    state = torch.load(openai._download(openai._MODELS[name]), map_location="cpu")
    theirs = openai.build_model(state, design).float()
    weights = {key: value.clone() for key, value in theirs.state_dict().items() if "VPT" not in key}
    return theirs, from_state(weights, load_clip(name).config or None).eval()


@pytest.mark.parametrize("which", ["student", "openai"])
def test_plain_model_computes_as_ours(clips, openai_file: str, which: str):
    theirs, ours = pair(clips["student"] if which == "student" else openai_file)
    images, texts = torch.randn(2, 3, SIZE, SIZE), [f"a photo of a {name}." for name in CLASSES]
    with torch.no_grad():
        torch.testing.assert_close(theirs.encode_image(images), ours.encode_image(images))
        text = theirs.encode_text(openai.tokenize(texts))
        torch.testing.assert_close(text, encode_prompts(ours, texts))
        logits, transposed = theirs(images, openai.tokenize(texts))
    expected = ours.logit_scale.exp() * F.normalize(ours.encode_image(images), dim=-1) @ F.normalize(text, dim=-1).t()
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(transposed, logits.t())
    assert (theirs.visual.input_resolution, theirs.visual.output_dim) == (SIZE, ours.visual.output_dim)
    assert all(parameter.requires_grad for parameter in theirs.parameters())


def test_built_models_have_half_matrices_and_loaded_ones_float(openai_file: str):
    built = openai.build_model(torch.load(openai_file))
    assert built.dtype is built.text_projection.dtype is built.visual.proj.dtype is torch.float16
    assert built.ln_final.weight.dtype is torch.float32
    model, transform = openai.load(openai_file)
    assert model.dtype is torch.float32 and callable(transform)


def test_package_loads_as_openais(openai_file: str):
    """`import clip` alone, with OpenAI's arguments; and our own models stay open_clip's."""
    import clip

    model, transform = clip.load(openai_file, device="cpu", jit=False, download_root="nowhere")
    assert (model.dtype, model.visual.input_resolution, model.training) == (torch.float32, SIZE, False)
    assert next(clip.load(openai_file)[0].parameters()).is_cuda == torch.cuda.is_available()
    assert clip._MODELS is clip.clip._MODELS and clip.model.CLIP is type(model) is not type(load_clip(openai_file))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8))
    resized = np.asarray(image.resize((40, 32), Image.Resampling.BICUBIC).crop((4, 0, 36, 32)), dtype=np.float32) / 255
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    expected = torch.from_numpy((resized - np.array(mean)) / np.array(std)).permute(2, 0, 1).float()
    for taken in (transform, clip.clip._transform(SIZE)):
        torch.testing.assert_close(taken(image), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        clip.nothing  # noqa: B018


def naive_block(weights: dict[str, torch.Tensor], name: str, x: torch.Tensor, heads: int, mask: torch.Tensor):
    """OpenAI's residual attention block for one sequence (L, d), each head by itself; mask (L, L) or 0."""
    w = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
    size = x.shape[1] // heads

    def norm(x, which):
        centred = x - x.mean(1, keepdim=True)
        return (
            centred / (centred.pow(2).mean(1, keepdim=True) + 1e-5).sqrt() * w[f"{which}.weight"] + w[f"{which}.bias"]
        )

    q, k, v = (norm(x, "ln_1") @ w["attn.in_proj_weight"].T + w["attn.in_proj_bias"]).chunk(3, dim=1)
    parts = []
    for at in range(0, x.shape[1], size):
        one = slice(at, at + size)
        parts.append((q[:, one] @ k[:, one].T / size**0.5 + mask).softmax(1) @ v[:, one])
    x = x + torch.cat(parts, 1) @ w["attn.out_proj.weight"].T + w["attn.out_proj.bias"]
    hidden = norm(x, "ln_2") @ w["mlp.c_fc.weight"].T + w["mlp.c_fc.bias"]
    return x + hidden * torch.sigmoid(1.702 * hidden) @ w["mlp.c_proj.weight"].T + w["mlp.c_proj.bias"]


def naive_blocks(model: nn.Module, tower: str, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """All blocks of `openai_file`, whose towers have two of one head: (L, N, d) -> (L, N, d)."""
    sequences = []
    for one in x.unbind(1):
        for number in range(2):
            one = naive_block(model.state_dict(), f"{tower}.resblocks.{number}", one, 1, mask)
        sequences.append(one)
    return torch.stack(sequences, 1)


@torch.no_grad()
@pytest.mark.parametrize("tower", ["transformer", "visual.transformer"])
def test_blocks_are_walked_as_openais(openai_file: str, tower: str):
    """(L, N, d), all at once, as a Sequential, one by one; texts see what is before them; a mask put on them counts."""
    model = openai.build_model(torch.load(openai_file)).float()
    transformer, length = model.get_submodule(tower), 77 if tower == "transformer" else 5
    torch.manual_seed(0)
    x = torch.randn(length, 3, 64)
    causal = torch.tensor([[0.0 if j <= i else -torch.inf for j in range(length)] for i in range(length)])
    expected = naive_blocks(model, tower, x, causal if tower == "transformer" else torch.zeros(1))
    one_by_one = x
    for block in transformer.resblocks:
        one_by_one = block(one_by_one)
    for walked in (transformer(x), transformer.resblocks(x), one_by_one):
        torch.testing.assert_close(walked, expected, atol=1e-4, rtol=1e-4)
    read_only = torch.zeros(length, length)
    read_only[:, -2:] = -torch.inf
    read_only[-2:, -2:].fill_diagonal_(0)
    for block in transformer.resblocks:
        block.attn_mask = read_only
    torch.testing.assert_close(transformer(x), naive_blocks(model, tower, x, read_only), atol=1e-4, rtol=1e-4)
    block = transformer.resblocks[0]
    rest = x + block.attention(block.ln_1(x))
    torch.testing.assert_close(block(x), rest + block.mlp(block.ln_2(rest)))
    with pytest.raises(ValueError, match="a list of 4 is of another CLIP"):
        transformer.resblocks([x, x, 0.5, 0])


def test_masks_and_keys_are_openais(openai_file: str):
    state = torch.load(openai_file)
    model = openai.build_model(state)
    masked = [block.attn_mask for block in model.transformer.resblocks]
    assert all(torch.equal(mask, model.build_attention_mask()) for mask in masked) and masked[0].shape == (77, 77)
    assert [block.attn_mask for block in model.visual.transformer.resblocks] == [None, None]
    sizes = {"input_resolution", "context_length", "vocab_size"}
    assert set(model.state_dict()) == {*state} - sizes - {"attn_mask"}


def test_image_encoder_is_one_whole(openai_file: str):
    """What is exchanged, hooked or given by torch.func (as replicas are) is what computes, with prompts or without."""
    design = {"trainer": "IVLP", "vision_depth": 2, "vision_ctx": 2, "language_depth": 0, "language_ctx": 0}
    images = torch.randn(2, 3, SIZE, SIZE)
    for details in (None, design):
        visual = openai.build_model(torch.load(openai_file), details).float().visual
        shapes: list[tuple[int, ...]] = []
        for block in visual.transformer.resblocks:
            block.register_forward_hook(lambda module, inputs, output, to=shapes: to.append(tuple(output.shape)))
        with torch.no_grad():
            features = visual(images)
            assert shapes == [(5 if details is None else 7, 2, 64)] * 2
            changed = {"ln_post.bias": visual.ln_post.bias + 1}
            moved = torch.func.functional_call(visual, changed, (images,))
            torch.testing.assert_close(moved, features + visual.proj.sum(0), atol=1e-4, rtol=1e-4)
            projection, visual.proj = visual.proj, None
            before = visual(images)
            torch.testing.assert_close(before @ projection, features)
            norm, visual.ln_post = visual.ln_post, nn.Identity()
            torch.testing.assert_close(norm(visual(images)), before)


def test_towers_that_openai_does_not_have(clips):
    """One that is pooled otherwise stays open_clip's; norms take half tokens; other models are refused."""
    config = tiny_config(16)
    config["vision_cfg"]["pool_type"] = "avg"
    torch.manual_seed(5)
    averaged, images = OpenClip(**config).eval(), torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        expected = averaged.encode_image(images)
        model = CLIP(averaged)
        torch.testing.assert_close(model.encode_image(images), expected)
        with pytest.raises(ValueError, match="visual prompts need a Vision Transformer"):
            model.add_prompts(1, 2, 0, 0)
        half = CLIP(OpenClip(**tiny_config(16)))
        convert_weights(half)
        assert half.encode_image(images).dtype is half.encode_text(openai.tokenize("a cat")).dtype is torch.float16
    with pytest.raises(ValueError, match="Linear is no plain CLIP"):
        CLIP(nn.Linear(2, 2))


def test_prompts_as_parameters_have_published_names_and_compute_as_ours(clips):
    design = {"trainer": "IVLP", "vision_depth": 3, "vision_ctx": 2, "language_depth": 2, "language_ctx": 4}
    theirs, ours = pair(clips["student"], design)
    named = {f"image_encoder.{k.removeprefix('visual.')}": p for k, p in theirs.named_parameters() if "visual" in k}
    named |= {f"text_encoder.{k}": p for k, p in theirs.named_parameters() if k.startswith("transformer")}
    learned = {name: value.detach() for name, value in named.items() if "VPT" in name}
    assert sorted(learned) == [
        "image_encoder.VPT",
        "image_encoder.transformer.resblocks.1.VPT_shallow",
        "image_encoder.transformer.resblocks.2.VPT_shallow",
        "text_encoder.transformer.resblocks.1.VPT_shallow",
    ]
    prompts = Prompts(ours, n_text=4, depth_text=2, n_vision=2, depth_vision=3, phrase="a photo of a")
    learned["prompt_learner.ctx"] = prompts.ctx.detach()
    checkpoints.load_learned(prompts, learned, "theirs")
    images, texts = torch.randn(2, 3, SIZE, SIZE), [f"a photo of a {name}." for name in CLASSES]
    with torch.no_grad():
        torch.testing.assert_close(theirs.encode_image(images), prompts.encode_image(ours, images))
        expected = prompts.encode_text(ours, prompts.tokens(ours, CLASSES))
        torch.testing.assert_close(theirs.encode_text(openai.tokenize(texts)), expected)


def test_prompts_as_arguments_compute_as_ours(clips):
    theirs, ours = pair(clips["student"], {"trainer": "MaPLe", "vision_depth": 0, "language_depth": 0})
    prompts = CompoundPrompts(ours, n_text=2, depth=3, phrase="a photo of a")
    shared, *deep = (
        project(p) for project, p in zip(prompts.projections, [prompts.ctx, *prompts.text_prompts], strict=True)
    )
    images, ids = torch.randn(2, 3, SIZE, SIZE), openai.tokenize([f"a photo of a {name}." for name in CLASSES])
    with torch.no_grad():
        features = theirs.visual(images, shared, deep)
        torch.testing.assert_close(features, prompts.encode_image(ours, images))
        x = (theirs.token_embedding(ids) + theirs.positional_embedding).permute(1, 0, 2)
        x, returned, used = theirs.transformer([x, list(prompts.text_prompts), 0])
        x = theirs.ln_final(x.permute(1, 0, 2))[torch.arange(len(ids)), ids.argmax(-1)] @ theirs.text_projection
        torch.testing.assert_close(x, prompts.encode_text(ours, prompts.tokens(ours, CLASSES)))
    assert used == 2 and len(returned) == 2


def test_tokenizer_and_names():
    bpe = SimpleTokenizer()
    ids = bpe.encode("a photo of a cat.")
    assert (
        bpe.decode(ids).strip() == "a photo of a cat ." and openai.tokenize("a photo of a cat.")[0, 1:7].tolist() == ids
    )
    assert bpe.encoder["<|endoftext|>"] == 49407
    assert openai._MODELS["ViT-B/16"].endswith("ViT-B-16.pt") and openai._MODELS["mini-student"] == "mini-student"
    with pytest.raises(ValueError, match="no CLIP model 'nothing'"):
        openai._download(openai._MODELS["nothing"])


def test_tokenizer_takes_the_path_of_its_vocabulary(tmp_path: Path):
    ids = openai.tokenize("a photo of a cat.")[0, 1:7].tolist()
    copied = shutil.copy(default_bpe(), tmp_path / "words.gz")
    for path in (copied, default_bpe(), "clip/bpe_simple_vocab_16e6.txt.gz"):
        assert SimpleTokenizer(path).encode("a photo of a cat.") == ids
    with pytest.raises(FileNotFoundError):
        SimpleTokenizer(str(tmp_path / "other.gz"))


def test_data_set_files_take_split_functions_from_oxford_pets(tmp_path: Path):
    data = [Datum(f"{tmp_path}/images/{i % 3}/{i}.jpg", i % 3, 0, f"name {i % 3}") for i in range(30)]
    rows = [(d.impath, d.label, d.classname) for d in data]
    rng, parts = random.Random(1), ([], [])
    for label in range(3):  # upstream: shuffle the places of a class, the first fifth of them is val
        places = [place for place, row in enumerate(rows) if row[1] == label]
        rng.shuffle(places)
        for part, chosen in zip(parts, (places[2:], places[:2]), strict=True):
            part += [rows[place] for place in chosen]
    train, val = OxfordPets.split_trainval(data)
    assert tuple([(d.impath, d.label, d.classname) for d in part] for part in (train, val)) == parts

    file, images = tmp_path / "split.json", f"{tmp_path}/images"
    OxfordPets.save_split(train, val, data[:3], str(file), images)
    assert json.loads(file.read_text())["test"] == [[f"{i}/{i}.jpg", i, f"name {i}"] for i in range(3)]
    again = OxfordPets.read_split(str(file), images)
    assert [[repr(d) for d in part] for part in again] == [[repr(d) for d in part] for part in (train, val, data[:3])]
    base, new = (OxfordPets.subsample_classes(train, val, subsample=group) for group in ("base", "new"))
    assert {d.label for d in base[0]} == {0, 1} and {(d.label, d.classname) for d in new[1]} == {(0, "name 2")}
    with pytest.raises(ValueError, match="subpath"):
        OxfordPets.save_split(train, val, val, str(file), "elsewhere")
