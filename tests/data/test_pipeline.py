"""Parts of a batch add up; the loader's rate is measured; draft decoding and the decoded cache are as they say."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CLASSES
from PIL import Image
from tiny_runs import LEARN, SRC, learned
from torch.utils.data import Dataset

import benchmarks.loader
import train
from dassl.data.datasets import Datum
from promptkd.data.loading import decoding, pipeline
from promptkd.engine import checkpoints
from promptkd.engine.config import default_config
from promptkd.engine.progress import Progress
from promptkd.engine.step import scaled_rate
from promptkd.home import ROOT
from promptkd.model.precision import Precision

FAR = [*LEARN, "OPTIM.LR", "0.05"]


def assert_same(one: Path, other: Path) -> None:
    """Weights after two epochs, to rounding: far nearer than the second epoch moved them."""
    for name, value in learned(one, 2).items():
        moved = (value - learned(one, 1)[name]).abs().max()
        assert moved > 1e-4 and (learned(other, 2)[name] - value).abs().max() <= 2e-4 * moved + 1e-7, name


def test_parts_of_a_batch_add_up(run, tmp_path):
    """Batches of 4 in parts of 1, 1 and 2; PromptSRC's loss on the text, which no image enters, counts once."""
    for parts in ("1", "3"):
        run("PromptSRC", tmp_path / parts, *SRC, *FAR, "TRAIN.ACCUMULATE", parts)
    assert_same(tmp_path / "1", tmp_path / "3")


def test_parts_of_a_batch_with_a_scaled_loss(run, clips, tmp_path, monkeypatch):
    """As fp16 has it; the projector without BatchNorm, whose statistics would be those of each part."""
    words = ["TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAINER.PROMPTKD.PROMPT_DEPTH_VISION", "2", *FAR]
    words += ["TRAINER.PROMPTKD.EVALUATE_TEACHER", "False", "TRAINER.PROMPTKD.KD_WEIGHT", "50"]
    words += ["TRAINER.PROMPTKD.PROJECT_LAYER", "1"]
    run("PromptKD", tmp_path / "whole", *words)
    monkeypatch.setattr(Precision, "scales_loss", property(lambda self: True))
    run("PromptKD", tmp_path / "parts", *words, "TRAIN.ACCUMULATE", "2")
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_micro_batches_are_the_batch():
    batch = {"img": torch.arange(7), "impath": [str(n) for n in range(7)]}
    parts = list(pipeline.micro_batches(batch, 3))
    assert [len(part["img"]) for _, part in parts] == [2, 2, 3]
    assert torch.equal(torch.cat([part["img"] for _, part in parts]), batch["img"])
    assert [path for _, part in parts for path in part["impath"]] == batch["impath"]
    assert sum(share * part["img"].float().mean() for share, part in parts) == pytest.approx(3.0)


@pytest.mark.parametrize(
    "words, message",
    [
        (("TRAIN.ACCUMULATE", "5"), "TRAIN.ACCUMULATE 5: a process has 4 images a step, set 1 to 4"),
        (("OPTIM.SCALE_LR_TO_BATCH", "-8"), "SCALE_LR_TO_BATCH -8"),
        (("INPUT.DRAFT", "0.5"), "INPUT.DRAFT 0.5"),
        (("DATALOADER.DECODED_CACHE_GB", "-1"), "DECODED_CACHE_GB -1"),
        (("DATALOADER.PREFETCH_FACTOR", "0"), "PREFETCH_FACTOR 0"),
        (("DATALOADER.DECODED_CACHE_GB", "1", "DATALOADER.DECODED_CACHE_DIR", "/nowhere"), "/nowhere"),
    ],
)
def test_what_cannot_be_meant_is_refused(run, tmp_path, words, message):
    with pytest.raises((ValueError, OSError), match=message):
        run("CoOp", tmp_path, *words)


def test_learning_rate_follows_the_batch():
    recipe = ROOT / "configs/trainers/PromptKD/vit_b16_c2_ep20_batch256_4+4ctx_imagenet.yaml"
    cfg = train.configure(train.parser().parse_args(["--config-file", str(recipe), "--trainer", "PromptKD"]))
    assert scaled_rate(cfg).LR == pytest.approx(0.16)  # the author's for batch 256
    assert cfg.OPTIM.LR == 0.005
    plain = default_config({})
    assert scaled_rate(plain) is plain.OPTIM


class Slow(Dataset):
    """Items that take a while."""

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int) -> int:
        time.sleep(0.01)
        return index


@pytest.mark.parametrize("step, starves", [(0.0, True), (0.2, False)])
def test_a_starving_device_is_told_of(step, starves):
    loader = pipeline.TimedLoader(Slow(), batch_size=2)
    for _ in loader:
        time.sleep(step)
    line = pipeline.starvation(loader)
    given, taken = loader.rates()
    assert loader.batches == 15 and given <= 100  # 0.01 s an image
    assert (line is not None) == starves
    if starves:
        assert f"gives {given:.0f} images/s, the step takes {taken:.0f} images/s" in line
        assert "raise DATALOADER.NUM_WORKERS (now 0)" in line
    else:
        assert taken <= 10


def test_a_trainer_says_it_once_and_of_gpus_alone(capsys):
    loader = pipeline.TimedLoader(Slow(), batch_size=2)
    assert len(list(loader)) == 16
    progress = Progress()
    for device, lines in (("cpu", 0), ("cuda", 1), ("cuda", 0)):
        progress.warn_of_slow_loader(loader, torch.device(device))
        assert capsys.readouterr().out.count("WARNING: the device waits for images") == lines


def picture(path: Path, width: int, height: int, **options) -> Path:
    """A smooth picture with some detail."""
    y, x = np.mgrid[:height, :width]
    waves = [127 + 100 * np.sin(x / (9 + c)) * np.cos(y / (11 + c)) for c in range(3)]
    Image.fromarray(np.stack(waves, -1).astype(np.uint8)).save(path, **options)
    return path


@pytest.mark.parametrize(
    "size, edge, decoded",
    [
        ((640, 480), 224, (320, 240)),
        ((640, 480), 240, (320, 240)),
        ((640, 480), 241, None),  # half would be too small
        ((2000, 1800), 224, (250, 225)),
        ((100, 90), 224, None),
    ],
)
def test_draft_never_goes_below_what_is_needed(tmp_path, size, edge, decoded):
    path = picture(tmp_path / "a.jpg", *size, quality=95)
    decoded_image = decoding.read_draft(str(path), edge)
    assert (decoded_image and decoded_image.size) == decoded
    if decoded_image is None:
        return
    # what it does to pixels: near a box filter over the full image
    full = Image.open(path).convert("RGB").resize(decoded, Image.Resampling.BOX)
    assert np.abs(np.asarray(decoded_image, float) - np.asarray(full, float)).mean() < 3


def test_draft_leaves_other_files_alone_and_turns_own_images(tmp_path):
    assert decoding.read_draft(str(picture(tmp_path / "a.png", 640, 480)), 224) is None
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    assert decoding.read_draft(str(tmp_path / "broken.jpg"), 224) is None
    exif = Image.Exif()
    exif[0x0112] = 6
    path = str(picture(tmp_path / "b.jpg", 640, 480, exif=exif))
    assert decoding.read_draft(path, 224).size == (320, 240)
    assert decoding.read_draft(path, 224, upright=True).size == (240, 320)


def items(tmp_path: Path, count: int) -> list[Datum]:
    return [Datum(str(picture(tmp_path / f"{n}.jpg", 60 + n, 40)), label=n) for n in range(count)]


def test_cache_is_exact_bounded_and_removed(tmp_path, monkeypatch):
    """Room for two of three images; the two come from the cache, the third is decoded each time."""
    cfg, data = default_config({}), items(tmp_path, 3)
    cfg.DATALOADER.DECODED_CACHE_DIR = str(tmp_path)
    cfg.DATALOADER.DECODED_CACHE_GB = (60 + 61) * 40 * 3 / decoding.GIB
    plain = decoding.DecodedImages(default_config({}), data, transform=np.asarray, is_train=True)
    kept = decoding.wrapper(cfg, None)(cfg, data, transform=np.asarray, is_train=True)
    for number in range(3):
        assert np.array_equal(kept[number]["img"], plain[number]["img"])
    read = []
    decode = kept.decode
    monkeypatch.setattr(kept, "decode", lambda path: read.append(path) or decode(path))
    for number in range(3):
        assert np.array_equal(kept[number]["img"], plain[number]["img"])
    assert read == [data[2].impath]
    assert not list(tmp_path.glob("decoded-*"))  # it has no name, so that nothing stays behind


def test_workers_that_are_not_forked_find_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("multiprocessing.get_start_method", lambda: "spawn")
    cache = decoding.DecodedCache(str(tmp_path), 1000, 2)
    image = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3))
    cache.get(1, lambda: image)
    theirs = pickle.loads(pickle.dumps(cache))
    assert np.array_equal(theirs.get(1, lambda: None), image)
    cache._remove()  # as at the end of the process
    assert not list(tmp_path.iterdir())


def test_workers_share_the_cache(run, clips, tmp_path, monkeypatch):
    """The same bits with it as without, from forked workers too; where images are kept makes no other run."""
    words = ["DATALOADER.NUM_WORKERS", "2", "DATALOADER.DECODED_CACHE_GB", "0.001"]
    read = tmp_path / "read"
    decode = decoding.DecodedImages.decode

    def counted(self, path):
        with open(read, "a") as file:
            file.write(f"{self.cache is not None} {path}\n")
        return decode(self, path)

    monkeypatch.setattr(decoding.DecodedImages, "decode", counted)
    for name, options in (("plain", []), ("cached", words)):
        run("CoOp", tmp_path / name, "TRAINER.COOP.N_CTX", "3", "DATASET.NUM_SHOTS", "4", *options)
    files = [tmp_path / name / "prompt_learner/model.pth.tar-2" for name in ("plain", "cached")]
    one, two = (checkpoints.read_checkpoint(file)["state_dict"]["ctx"] for file in files)
    assert torch.equal(one, two)
    lines = [line for line in read.read_text().splitlines() if line.startswith("True")]
    # each of 20 images about once in two epochs: twice only where two workers met it before it was kept
    assert len(set(lines)) == 4 * len(CLASSES) and len(lines) < 1.5 * 4 * len(CLASSES)
    hashes = [json.loads((tmp_path / n / "results.json").read_text())["config_hash"] for n in ("plain", "cached")]
    assert hashes[0] == hashes[1]


def test_loader_benchmark_prints_rates(data_root, capsys):
    words = ["--root", data_root, "--dataset", "eurosat", "--workers", "0", "--batch", "4", "--images", "16", "--json"]
    measures = benchmarks.loader.main([*words, "INPUT.SIZE", "(32, 32)"])
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert measures[0].images == 16 and measures[0].first > 0 and measures[0].later > 0
    assert printed["loader"][0]["images"] == 16 and "torch" in printed["versions"]
    with pytest.raises(ValueError, match="--passes 1"):
        benchmarks.loader.main([*words[:4], "--passes", "1"])
