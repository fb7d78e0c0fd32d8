"""INPUT.ON_DEVICE: the same crops and mirrored views as the CPU's, resized by another filter of the same shape."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from conftest import SIZE, last_words, result
from PIL import Image

import train
from dassl.data.transforms import build_transform
from promptkd.data.loading import device_crops
from promptkd.engine.task import loaders


def config(*words: str, root: str = ""):
    options = [
        "--seed",
        "1",
        "--dataset-config-file",
        "configs/datasets/eurosat.yaml",
        "INPUT.SIZE",
        f"({SIZE}, {SIZE})",
    ]
    options += ["DATALOADER.NUM_WORKERS", "0", "VERBOSE", "False", "INPUT.ON_DEVICE", "True"]
    return train.configure(
        train.parser().parse_args(last_words(*([f"--root={root}"] if root else []), *options, *words))
    )


@pytest.mark.parametrize(
    "transforms", ["('random_resized_crop', 'random_flip', 'normalize')", "('random_resized_crop',)"]
)
def test_views_are_those_of_the_cpu(transforms: str):
    cfg = config("INPUT.TRANSFORMS", transforms)
    whole, cropping = build_transform(cfg, is_train=True), device_crops.CropTransform(cfg)
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((90, 70), Image.Resampling.BICUBIC)
    mirrored = set()
    for seed in range(12):
        torch.manual_seed(seed)
        expected = whole(image)
        torch.manual_seed(seed)
        crop = cropping(image)
        mirrored.add(crop.mirrored)
        (got,) = device_crops.finished_views(cfg, device_crops.CropBatch.of([crop]), torch.device("cpu"))
        levels = 255 * (cfg.INPUT.PIXEL_STD[0] if "normalize" in transforms else 1)
        difference = levels * (got - expected).abs()
        assert got.shape == expected.shape and difference.mean() < 0.5 and difference.quantile(0.99) < 1.5
    assert mirrored == ({True, False} if "random_flip" in transforms else {False})


def test_batches_hold_crops_as_decoded(data_root: str):
    cfg = config("DATALOADER.TRAIN_X.BATCH_SIZE", "4", root=data_root)
    _, loader = loaders(cfg)
    batch = next(iter(loader))
    assert len(batch["img"]) == len(batch["label"]) == 4
    crops = list(batch["img"].on(torch.device("cpu")))
    assert all(crop.pixels.dtype is torch.uint8 and crop.pixels.shape[0] == 3 for crop in crops)
    assert len({crop.pixels.shape for crop in crops}) > 1
    part = batch["img"][1:3]
    assert len(part) == 2
    for crop, same in zip(part.on(torch.device("cpu")), crops[1:3], strict=True):
        assert torch.equal(crop.pixels, same.pixels) and crop.mirrored == same.mirrored


def test_a_batch_of_a_worker_opens_few_files(data_root: str):
    """Each tensor of a worker's is an open file here: one a crop would soon be too many."""
    cfg = config("DATALOADER.TRAIN_X.BATCH_SIZE", "30", "DATALOADER.NUM_WORKERS", "1", root=data_root)
    _, loader = loaders(cfg)
    before = len(os.listdir("/proc/self/fd"))
    batches = iter(loader)
    held = next(batches)
    assert len(held["img"]) == 30 and len(os.listdir("/proc/self/fd")) - before < 20


def test_a_run_learns_from_them(run, tmp_path):
    words = ["OPTIM.WARMUP_EPOCH", "0", "TRAINER.COOP.N_CTX", "2", "INPUT.ON_DEVICE", "True", "TRAIN.ACCUMULATE", "2"]
    run("CoOp", tmp_path, *words, "DATALOADER.NUM_WORKERS", "1")
    assert result(tmp_path)["settings"]["INPUT.ON_DEVICE"] is True
    assert (tmp_path / "prompt_learner" / "model.pth.tar-2").is_file()


@pytest.mark.parametrize(
    "words",
    [
        ("INPUT.TRANSFORMS", "('random_resized_crop', 'colorjitter')"),
        ("INPUT.TRANSFORMS", "('random_flip', 'normalize')"),
    ],
)
def test_what_the_device_cannot_do_is_refused(run, tmp_path, words):
    with pytest.raises(ValueError, match="INPUT.ON_DEVICE True"):
        run("CoOp", tmp_path, "INPUT.ON_DEVICE", "True", *words)
