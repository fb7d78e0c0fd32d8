"""Each method through train.main: what it trains and saves, resuming, evaluating, precisions, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import CLASSES, SIZE, result, write_clip
from open_clip.model import CustomTextCLIP
from open_clip.tokenizer import HFTokenizer
from tiny_runs import ATTACKED, BASE, METHODS

from dassl.engine import TRAINER_REGISTRY
from promptkd import guests
from promptkd.engine import checkpoints
from promptkd.model.class_vectors import FILE_NAME, ClassVectors
from promptkd.model.precision import Precision
from promptkd.model.prompting import takes_text_prompts
from promptkd.model.zoo import load_clip

EVERY = pytest.mark.parametrize("trainer", METHODS)


def saved(directory: Path, trainer: str, epoch: int) -> dict[str, torch.Tensor]:
    path = directory / METHODS[trainer].folder / f"model.pth.tar-{epoch}"
    return checkpoints.read_checkpoint(path)["state_dict"]


def test_every_supervised_method_is_tested():
    guests.register()
    ours = {
        name
        for name in TRAINER_REGISTRY.registered_names()
        if hasattr(TRAINER_REGISTRY.get(name), "Options")
        and not name.startswith("Zeroshot")
        and not name.endswith(
            ("_KDPL", "UPL", "TFUP", "TFUPT")
        )  # tests/trainers/test_kdpl.py, test_upl.py, test_tfup.py
    }
    assert ours == METHODS.keys() | {"PromptKD", "AdvPromptKD", "FeatureTeacher"}  # test_feature_teacher.py


@EVERY
def test_trains_resumes_to_the_same_bits_and_is_evaluated(run, tmp_path: Path, monkeypatch, trainer: str):
    method = METHODS[trainer]
    words = [*BASE, *method.words(trainer)]
    run(trainer, tmp_path / "whole", *words)
    state = saved(tmp_path / "whole", trainer, 2)
    assert set(state) == method.keys
    assert all(value.dtype is torch.float32 and value.isfinite().all() for value in state.values())
    found = result(tmp_path / "whole")
    assert found["protocol"] == "base2new" and set(found["metrics"]) == {"base", "new", "hm"}
    assert found["learned_on"] == "EuroSAT" and found["shots"] == 4 and not found["transductive"]
    assert method.published <= checkpoints.to_published(state, method.folder == "prompt_learner").keys()

    kind = TRAINER_REGISTRY.get(trainer)
    step, steps = kind.forward_backward, iter(range(100))

    def stop_in_the_second_epoch(self, batch):
        if next(steps) == 4:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(kind, "forward_backward", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        run(trainer, tmp_path / "halved", *words)
    monkeypatch.setattr(kind, "forward_backward", step)
    start = saved(tmp_path / "halved", trainer, 1)
    assert any(not torch.equal(start[name], state[name]) for name in state)
    run(trainer, tmp_path / "halved", *words)
    for name, value in saved(tmp_path / "halved", trainer, 2).items():
        assert torch.equal(value, state[name]), name

    flags = ["--eval-only", f"--model-dir={tmp_path / 'whole'}"]
    run(trainer, tmp_path / "again", *flags, *words)
    assert result(tmp_path / "again")["metrics"] == found["metrics"]
    # the published habit: a second command for the new classes
    run(trainer, tmp_path / "new", *flags, *method.words(trainer), "DATASET.SUBSAMPLE_CLASSES", "new")
    again = result(tmp_path / "new")["metrics"]["new"]
    # of base images, beside whom the AUROC is measured, there are none; and batches are others, so that sums round
    new = {key: value for key, value in found["metrics"]["new"].items() if key != "auroc_outside"}
    assert again.pop("per_class") == new.pop("per_class") and again == pytest.approx(new, rel=1e-5)


@EVERY
def test_bf16_keeps_what_is_learned_in_float32(run, tmp_path: Path, trainer: str):
    if trainer in ATTACKED:
        with pytest.raises(ValueError, match="an attack needs frozen weights in float32"):
            run(trainer, tmp_path, *BASE, *METHODS[trainer].words(trainer, PREC="bf16"), epochs=1)
        return
    run(trainer, tmp_path, *BASE, *METHODS[trainer].words(trainer, PREC="bf16"), epochs=1)
    state = saved(tmp_path, trainer, 1)
    assert all(value.dtype is torch.float32 and value.isfinite().all() for value in state.values())


@EVERY
def test_published_checkpoint_gives_the_same_evaluation(run, tmp_path: Path, trainer: str):
    """Our tensors under the published names, with what published files hold beside them, load as ours do."""
    method = METHODS[trainer]
    words = [*BASE, *method.words(trainer)]
    run(trainer, tmp_path / "ours", *words, epochs=1)
    state = checkpoints.to_published(saved(tmp_path / "ours", trainer, 1), method.folder == "prompt_learner")
    prefix = "" if method.folder == "prompt_learner" else "prompt_learner."
    state |= {f"{prefix}token_prefix": torch.zeros(3, 1, 32), f"{prefix}token_suffix": torch.zeros(3, 70, 32)}
    if prefix:
        state |= {"image_encoder.conv1.weight": torch.zeros(1), "logit_scale": torch.tensor(4.6)}
    target = tmp_path / "published" / method.folder / "model.pth.tar-5"
    target.parent.mkdir(parents=True)
    torch.save({"state_dict": {k: v.half() for k, v in state.items()}, "epoch": 5}, target)
    run(trainer, tmp_path / "again", "--eval-only", f"--model-dir={tmp_path / 'published'}", *words)
    ours, theirs = (result(tmp_path / name)["metrics"] for name in ("ours", "again"))
    for group in ("base", "new"):  # half precision may move an image that lies between two classes
        assert ours[group]["accuracy"] == pytest.approx(
            theirs[group]["accuracy"], abs=100 / ours[group]["images"] + 0.1
        )


@pytest.mark.parametrize("trainer", [name for name in METHODS if name not in ("CoCoOp", "VPT")])
def test_any_method_with_class_vectors_teaches(run, tmp_path: Path, trainer: str):
    run(trainer, tmp_path / "teacher", *BASE, *METHODS[trainer].words(trainer), epochs=1)
    depth = ["TRAINER.PROMPTKD.PROMPT_DEPTH_VISION", "2"]
    run("PromptKD", tmp_path / "kd", "TRAINER.PROMPTKD.TEACHER", str(tmp_path / "teacher"), *depth, epochs=1)
    assert result(tmp_path / "kd")["teacher"]["trainer"] == trainer
    teacher = result(tmp_path / "teacher")["metrics"]
    assert result(tmp_path / "kd")["teacher"]["metrics"]["hm"] == pytest.approx(teacher["hm"])


def test_conditional_text_has_no_class_vectors(run, tmp_path: Path):
    run("CoCoOp", tmp_path / "run", *BASE, *METHODS["CoCoOp"].words("CoCoOp"), epochs=1)
    assert not (tmp_path / "run" / FILE_NAME).exists()
    depth = ["TRAINER.PROMPTKD.PROMPT_DEPTH_VISION", "2"]
    with pytest.raises(ValueError, match="CoCoOp run without class vectors"):
        run("PromptKD", tmp_path / "kd", "TRAINER.PROMPTKD.TEACHER", str(tmp_path / "run"), *depth)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_class_specific_contexts_do_the_trained_classes_only(run, tmp_path: Path, capsys, position: str):
    words = METHODS["CoOp"].words("CoOp", CSC=True, CLASS_TOKEN_POSITION=position)
    run("CoOp", tmp_path / "base", *BASE, *words, epochs=1)
    assert "a class-specific context cannot do new classes" in capsys.readouterr().out
    found = result(tmp_path / "base")
    assert set(found["metrics"]) == {"base"} and saved(tmp_path / "base", "CoOp", 1)["ctx"].shape == (3, 3, 32)
    assert list(ClassVectors.load(tmp_path / "base" / FILE_NAME).classnames) == CLASSES[:3]
    with pytest.raises(ValueError, match="a class-specific context cannot do new classes: set CSC False"):
        run("CoOp", tmp_path / "new", *words, "DATASET.SUBSAMPLE_CLASSES", "new")
    flags = ["--eval-only", f"--model-dir={tmp_path / 'base'}"]
    with pytest.raises(ValueError, match="has tensors for each of 3 other classes"):
        run("CoOp", tmp_path / "all", *flags, *words)
    run("CoOp", tmp_path / "again", *flags, *BASE, *words)
    assert result(tmp_path / "again")["metrics"] == found["metrics"]


def test_contexts_of_classes_start_apart(run, tmp_path: Path):
    run(
        "CoOp",
        tmp_path,
        *METHODS["CoOp"].words("CoOp", CSC=True),
        "OPTIM.LR",
        "1e-12",
        "OPTIM.WARMUP_EPOCH",
        "-1",
        epochs=1,
    )
    ctx = saved(tmp_path, "CoOp", 1)["ctx"]  # (C, n, d)
    assert len({tuple(row.flatten().tolist()) for row in ctx}) == len(CLASSES)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny CLIP whose image encoder is a ResNet."""
    vision = {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64, "patch_size": None}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    return str(write_clip(tmp_path_factory.mktemp("resnet") / "rn.safetensors", config, 4))


@pytest.mark.parametrize("trainer", ["CoOp", "CoCoOp", "KgCoOp"])
def test_methods_of_the_text_run_on_a_resnet(run, resnet: str, tmp_path: Path, trainer: str):
    run(trainer, tmp_path, *BASE, *METHODS[trainer].words(trainer), backbone=resnet, epochs=1)
    assert set(saved(tmp_path, trainer, 1)) == METHODS[trainer].keys


def test_a_stored_resnet_is_channels_last_and_computes_the_same(resnet: str):
    stored = Precision.choose("fp32", torch.device("cpu")).store(load_clip(resnet))
    assert stored.visual.conv2.weight.is_contiguous(memory_format=torch.channels_last)
    images = torch.randn(2, 3, SIZE, SIZE)
    torch.testing.assert_close(stored.encode_image(images), load_clip(resnet).encode_image(images))


@pytest.mark.parametrize("trainer", ["VPT", "IVLP", "MaPLe", "PromptSRC"])
def test_visual_prompts_on_a_resnet_are_refused(run, resnet: str, tmp_path: Path, trainer: str):
    with pytest.raises(
        ValueError, match="visual prompts need a Vision Transformer, this image encoder is a ModifiedResNet"
    ):
        run(trainer, tmp_path, *BASE, *METHODS[trainer].words(trainer), backbone=resnet)
    assert not list(tmp_path.rglob("*.pth.tar*"))


REFUSED = {
    "MaPLe deeper than the model": ("MaPLe", {"PROMPT_DEPTH": 9}, r"PROMPT_DEPTH 9: this image encoder has 3 blocks"),
    "VPT deeper than the model": ("VPT", {"PROMPT_DEPTH_VISION": 12}, r"PROMPT_DEPTH_VISION 12.*3 blocks"),
    "context longer than the text": ("CoOp", {"N_CTX": 75}, r"75 context tokens leave no room"),
    "no room for a class name": ("CoCoOp", {"N_CTX": 73}, r"too long for context length 77"),
    "phrase longer than the text": ("CoOp", {"CTX_INIT": "photo " * 80}, r"80 context tokens leave no room"),
    "phrase longer than the text, few tokens learned": ("MaPLe", {"CTX_INIT": "photo " * 80}, r"too long for context"),
    "no context": ("CoOp", {"N_CTX": 0}, r"TRAINER.COOP.N_CTX 0: set 1 or more"),
    "no visual tokens": ("VPT", {"N_CTX_VISION": 0}, r"TRAINER.VPT.N_CTX_VISION 0: set 1 or more"),
    "a negative context": ("CoCoOp", {"N_CTX": -1}, r"TRAINER.COCOOP.N_CTX -1: set 1 or more"),
    "unknown position": (
        "CoOp",
        {"CLASS_TOKEN_POSITION": "start"},
        r"_POSITION 'start': choose end, middle, front",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_before_training(run, tmp_path: Path, case: str):
    trainer, changes, message = REFUSED[case]
    with pytest.raises((ValueError, RuntimeError), match=message):
        run(trainer, tmp_path, *BASE, *METHODS[trainer].words(trainer, **changes))
    assert not list(tmp_path.rglob("*.pth.tar*"))


@pytest.mark.parametrize(
    ("trainer", "changes", "said"),
    [
        ("CoOp", {"N_CTX": 2, "CTX_INIT": "a photo of a"}, "makes a context of 4 tokens: N_CTX 2 is not used"),
        ("IVLP", {"N_CTX_TEXT": 6}, "has fewer than 6 tokens: the context starts at random"),
        ("MaPLe", {"N_CTX": 2, "CTX_INIT": "a photo of a nice big"}, "has 6 tokens, 2 are learned: the others stay"),
    ],
)
def test_what_is_published_in_silence_is_said(run, tmp_path: Path, capsys, trainer: str, changes: dict, said: str):
    run(trainer, tmp_path, *BASE, *METHODS[trainer].words(trainer, **changes), epochs=1)
    assert said in capsys.readouterr().out
    assert saved(tmp_path, trainer, 1)["ctx"].shape[0] == {"CoOp": 4, "IVLP": 6, "MaPLe": 2}[trainer]


@pytest.mark.parametrize(("capability", "told"), [("AVX2", 1), ("AVX512", 0)])
def test_bf16_where_the_cpu_has_none_is_told(capability: str, told: int, monkeypatch, capsys):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert Precision.choose("bf16", torch.device("cpu")).compute is torch.bfloat16
    assert capsys.readouterr().out.count("this CPU has no instructions for it") == told


def test_a_text_projection_with_a_bias_stays_float32():
    """SigLIP's, whose vocabulary is not CLIP's: no context can be put among its words."""
    vision = {"image_size": SIZE, "layers": 1, "width": 64, "patch_size": SIZE // 2}
    text = {"context_length": 8, "vocab_size": 32, "width": 32, "heads": 2, "layers": 1, "proj_bias": True}
    siglip = CustomTextCLIP(16, vision, text)
    stored = Precision.choose("bf16", torch.device("cpu")).store(siglip)
    assert {p.dtype for p in stored.parameters()} == {torch.float32}
    siglip.tokenizer = object.__new__(HFTokenizer)
    assert not takes_text_prompts(siglip)
