"""What bad input gets: one clear line before training, and nothing lost."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
import torch
from conftest import CLASSES, SIZE, last_words, tiny_config, write_clip
from open_clip.model import CLIP
from programs import start
from tiny_runs import KD, SRC

import train
from promptkd.home import ROOT
from promptkd.model.class_vectors import FILE_NAME, ClassVectors
from promptkd.model.zoo import load_clip

CASES = {
    "unknown trainer": (["--trainer", "PromtKD"], r"PromtKD.*PromptKD"),
    "unknown data set": (["DATASET.NAME", "EuroSATT"], r"EuroSATT.*EuroSAT"),
    "unknown backbone": (["MODEL.BACKBONE.NAME", "ViT-B/61"], r"no CLIP model 'ViT-B/61'; closest: 'ViT-B/16'"),
    "architecture without weights": (["MODEL.BACKBONE.NAME", "ViT-B-16:nosuchtag"], r"nosuchtag.*laion2b"),
    "unknown recipe": (
        ["--config-file", "configs/trainers/PromptKD/vit_b16_c2_ep20.yaml"],
        r"no configuration file .*closest in .*vit_b16_c2_ep20_batch8",
    ),
    "unknown key": (
        ["TRAINER.PROMPTKD.KD_WEIGT", "1"],
        r"TRAINER.PROMPTKD.KD_WEIGT; closest: TRAINER.PROMPTKD.KD_WEIGHT",
    ),
    "value of another type": (["OPTIM.MAX_EPOCH", "many"], r"OPTIM.MAX_EPOCH is 'many', but wants int"),
    "key without value": (["OPTIM.LR"], r"pairs.*OPTIM.LR"),
    "wrong root": (["--root", "/no/such/root"], r"/no/such/root is not a folder"),
    "size of another model": (["INPUT.SIZE", "(224, 224)"], r'takes 32 px: set INPUT.SIZE "\(32, 32\)"'),
    "means of another model": (["INPUT.PIXEL_MEAN", "(0.5, 0.5, 0.5)"], r"PIXEL_MEAN.*set INPUT.PIXEL_MEAN"),
    "unknown subsample": (["DATASET.SUBSAMPLE_CLASSES", "novel"], r"novel.*all, base, new"),
    "unknown precision": (["TRAINER.PROMPTSRC.PREC", "fp8"], r"fp8.*fp32, bf16, fp16, amp"),
    "split that is not reported": (["TEST.SPLIT", "train"], r"TEST.SPLIT 'train'.*test.*val"),
    "held-out images without a teacher": (["POOL.HELD_OUT", "0.1"], r"HELD_OUT 0.1: PromptSRC has no teacher"),
    "key that nothing reads": (["DATASET.NUM_LABELED", "40"], r"DATASET.NUM_LABELED 40.*do not read it"),
    "several views": (["DATALOADER.K_TRANSFORMS", "2"], r"K_TRANSFORMS 2.*one transformed view"),
    "no transform": (["INPUT.NO_TRANSFORM", "True"], r"NO_TRANSFORM True"),
    "no batch": (["DATALOADER.TRAIN_X.BATCH_SIZE", "0"], r"BATCH_SIZE 0: set 1 or more"),
    "no printing": (["TRAIN.PRINT_FREQ", "0"], r"PRINT_FREQ 0: set 1 or more"),
    "no deviation": (["TRAINER.PROMPTSRC.GPA_STD", "0"], r"GPA_STD 0.0: a standard deviation is above 0"),
    "recipe in an unknown folder": (
        ["--config-file", "configs/trainers/PromptKDD/mini.yaml"],
        r"closest to PromptKDD: PromptKD",
    ),
    "unknown selection": (
        ["TEST.FINAL_MODEL", "best_test"],
        r"best_test.*last_step, best_val, best_on_test_as_published",
    ),
    "depth beyond the model": (["TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION", "9"], r"PROMPT_DEPTH_VISION 9.*3 blocks"),
    "text depth beyond the model": (["TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT", "9"], r"PROMPT_DEPTH_TEXT 9.*3 blocks"),
    "context longer than the text": (
        ["TRAINER.PROMPTSRC.N_CTX_TEXT", "75", "TRAINER.PROMPTSRC.CTX_INIT", ""],
        r"75 context tokens leave no room",
    ),
    "class name that overflows": (
        ["TRAINER.PROMPTSRC.N_CTX_TEXT", "73", "TRAINER.PROMPTSRC.CTX_INIT", ""],
        r"too long for context length 77",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_before_training(clips, data_root, tmp_path, name):
    words, message = CASES[name]
    base = ["--root", data_root, "--trainer", "PromptSRC", "--output-dir", str(tmp_path / "out")]
    base += ["--dataset-config-file", "configs/datasets/eurosat.yaml"]
    flags = words if words[0].startswith("--") else []
    options = ["MODEL.BACKBONE.NAME", clips["student"], "INPUT.SIZE", f"({SIZE}, {SIZE})", *SRC, "VERBOSE", "False"]
    with pytest.raises((ValueError, OSError, RuntimeError)) as error:
        train.main(last_words(*base, *flags, *options, *([] if flags else words)))

    assert re.search(message, " ".join(str(error.value).split())), str(error.value)
    assert not list((tmp_path / "out").rglob("*.pth.tar*"))


def test_command_line_prints_one_line_and_fails(tmp_path):
    done = start(tmp_path, sys.executable, ROOT / "train.py", "--trainer", "PromptSRC", "OPTIM.LRR", "1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: command line: no configuration key OPTIM.LRR; closest: OPTIM.LR")
    assert len(done.stderr.splitlines()) == 1


def test_evaluation_without_checkpoint_is_an_error(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at .*VLPromptLearner"):
        run("PromptSRC", tmp_path / "out", "--eval-only", f"--model-dir={tmp_path}", *SRC)
    with pytest.raises(ValueError, match="--eval-only needs --model-dir"):
        run("PromptSRC", tmp_path / "out", "--eval-only", *SRC)


def test_checkpoint_of_another_backbone_or_shape(run, clips, tmp_path):
    run("PromptSRC", tmp_path / "run", *SRC, epochs=1)
    flags = ["--eval-only", f"--model-dir={tmp_path / 'run'}"]
    with pytest.raises(ValueError, match="was learned on backbone .*student.*set MODEL.BACKBONE.NAME"):
        run("PromptSRC", tmp_path / "a", *flags, *SRC, backbone=clips["teacher"])
    with pytest.raises(ValueError, match=r"vision_prompts.2.*prompt depth"):
        run("PromptSRC", tmp_path / "b", *flags, *SRC, "TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION", "2")
    with pytest.raises(ValueError, match=r"ctx is \(4, 32\), this model wants \(3, 32\)"):
        run("PromptSRC", tmp_path / "c", *flags, *SRC, "TRAINER.PROMPTSRC.N_CTX_TEXT", "3")
    with pytest.raises(FileNotFoundError, match=r"model.pth.tar-7; there is model.pth.tar-1"):
        run("PromptSRC", tmp_path / "d", *flags, "--load-epoch=7", *SRC)


def test_checkpoint_of_another_text(run, tmp_path, capsys):
    words = ["TRAINER.COOP.N_CTX", "4", "TRAINER.COOP.CLASS_TOKEN_POSITION"]
    run("CoOp", tmp_path / "run", *words, "front", epochs=1)
    flags = ["--eval-only", f"--model-dir={tmp_path / 'run'}"]
    with pytest.raises(ValueError, match="'X X X X {}.', class name at the front, .* at the end: set CTX_INIT"):
        run("CoOp", tmp_path / "a", *flags, *words, "end")
    with pytest.raises(ValueError, match="this run has 'a photo of a {}.'"):
        run("CoOp", tmp_path / "b", *flags, *words, "front", "TRAINER.COOP.CTX_INIT", "a photo of a")
    words = [word.replace("COOP", "KGCOOP") for word in words]
    run("KgCoOp", tmp_path / "c", *flags, *words, "front", "TRAINER.KGCOOP.CTX_INIT", "")
    assert "was learned by CoOp: KgCoOp goes on with it" in capsys.readouterr().out


def test_teachers_that_do_not_fit(run, clips, tmp_path):
    with pytest.raises(FileNotFoundError, match="no teacher: set TRAINER.PROMPTKD.TEACHER"):
        run("PromptKD", tmp_path / "a", *KD)
    with pytest.raises(ValueError, match="no CLIP model 'nowhere'"):
        run("PromptKD", tmp_path / "b", *KD, "TRAINER.PROMPTKD.TEACHER", "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        run("PromptKD", tmp_path / "c", *KD, "TRAINER.PROMPTKD.TEACHER", str(tmp_path / "empty"))
    config = tiny_config(16)
    config["vision_cfg"]["image_size"] = 64
    larger = write_clip(tmp_path / "larger.safetensors", config, 3)
    loop = ["TRAINER.PROMPTKD.STUDENT_IN_LOOP", "True"]  # else it gets larger images
    with pytest.raises(ValueError, match="takes 64 px"):
        run("PromptKD", tmp_path / "d", *KD, *loop, "TRAINER.PROMPTKD.TEACHER", str(larger))
    with pytest.raises(ValueError, match="learns without labels"):
        run("PromptKD", tmp_path / "e", *KD, "TRAINER.PROMPTKD.CE_WEIGHT", "0.5")


def test_a_student_is_no_teacher(run, clips, tmp_path):
    run("PromptKD", tmp_path / "kd", *KD, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], epochs=1)
    with pytest.raises(ValueError, match="PromptKD run: it has no text encoder"):
        run("PromptKD", tmp_path / "a", *KD, "TRAINER.PROMPTKD.TEACHER", str(tmp_path / "kd"))


def test_class_vectors_that_lack_a_class(run, clips, tmp_path):
    run("PromptKD", tmp_path / "kd", *KD, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], epochs=1)
    file = tmp_path / "kd" / FILE_NAME
    ClassVectors.load(file).select(CLASSES[:4]).save(file)
    with pytest.raises(ValueError, match="no class vector for 1 of 5 classes, first 'Sea or Lake'"):
        run("PromptKD", tmp_path / "a", "--eval-only", f"--model-dir={tmp_path / 'kd'}", *KD)


def test_directory_of_another_run_is_kept(run, clips, tmp_path):
    run("ZeroshotCLIP", tmp_path)
    before = (tmp_path / "results.json").read_text()
    with pytest.raises(ValueError, match="holds another run .SEED is 2, was 1.*choose another --output-dir"):
        run("ZeroshotCLIP", tmp_path, seed=2)
    assert (tmp_path / "results.json").read_text() == before
    run("ZeroshotCLIP", tmp_path, "TRAIN.PRINT_FREQ", "3")  # prints otherwise, computes the same


def test_a_finished_run_is_measured_by_another_command(run, tmp_path):
    run("ZeroshotCLIP", tmp_path)
    words = ["TEST.ROBUST.ATTACK", "pgd"]
    with pytest.raises(
        ValueError, match=f"holds this run, .*ATTACK is 'pgd', was .*promptkd robust {tmp_path}.*options"
    ):
        run("ZeroshotCLIP", tmp_path, *words)
    with pytest.raises(ValueError, match="holds another run .*SEED is 2"):
        run("ZeroshotCLIP", tmp_path, *words, seed=2)


def test_output_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="cannot write to --output-dir"):
        run("ZeroshotCLIP", tmp_path / "file" / "out")


def test_full_disk_keeps_the_earlier_checkpoint(run, clips, tmp_path, monkeypatch):
    """The second save fails half way: the run stops with an error and the first checkpoint still resumes."""
    replace, saved = os.replace, []

    def full(source, target):
        if "pth.tar" in str(target):
            saved.append(target)
            if len(saved) == 2:
                raise OSError(28, "No space left on device")
        return replace(source, target)

    words = [*KD, "TRAINER.PROMPTKD.TEACHER", clips["teacher"]]
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        run("PromptKD", tmp_path, *words)
    monkeypatch.setattr(os, "replace", replace)
    assert [path.name for path in (tmp_path / "VLPromptLearner").glob("model.pth.tar-*")] == ["model.pth.tar-1"]
    run("PromptKD", tmp_path, *words)
    assert json.loads((tmp_path / "results.json").read_text())["epochs"] == 2


def test_truncated_image_is_named_and_skipped_only_where_asked(clips, data_root, tmp_path, run):
    import shutil

    root = tmp_path / "data"
    shutil.copytree(data_root, root)
    broken = root / "eurosat" / "2750" / "Forest" / "0.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    words = [*KD, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], "DATASET.ROOT", str(root)]
    with pytest.raises(OSError, match=r"Forest/0\.jpg"):
        run("PromptKD", tmp_path / "a", *words, epochs=1)
    run("PromptKD", tmp_path / "b", *words, "DATASET.SKIP_BAD_IMAGES", "True", epochs=1)
    assert json.loads((tmp_path / "b" / "results.json").read_text())["train_images"] == 29


def test_visual_prompts_on_a_resnet(run, tmp_path):
    torch.manual_seed(0)
    model = CLIP(
        embed_dim=16,
        vision_cfg={"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        text_cfg={"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
        quick_gelu=True,
    )
    path = tmp_path / "resnet.pt"
    torch.save(model.state_dict(), path)
    with pytest.raises(ValueError, match="image encoder is a ModifiedResNet: set TUNE to projector, norm"):
        run("PromptKD", tmp_path / "a", *KD, "TRAINER.PROMPTKD.TEACHER", str(path), backbone=str(path))
    assert load_clip(str(path)).visual.output_dim == 16
    run("ZeroshotCLIP", tmp_path / "b", backbone=str(path))


@pytest.mark.parametrize("content", [b"", b"not a weight file", b"PK\x03\x04 broken"])
def test_files_that_hold_no_weights(tmp_path: Path, content: bytes):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is no weight file that can be read safely"):
        load_clip(str(path))
