"""Order and views of training images follow from (seed, epoch, image) alone."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_runs import KD, learned, same_bits
from torch.utils.data import DataLoader, RandomSampler
from yacs.config import CfgNode

from dassl.config import get_cfg_default
from dassl.data.data_manager import DatasetWrapper
from dassl.data.datasets import Datum
from dassl.data.transforms import build_transform
from promptkd.data.loading import views
from promptkd.data.loading.workers import clamped_workers


def loader(folder: Path, workers: int = 0) -> DataLoader:
    cfg: CfgNode = get_cfg_default()
    cfg.INPUT.SIZE, cfg.INPUT.TRANSFORMS = (8, 8), ("random_resized_crop", "random_flip")
    items = [Datum(impath=str(folder / f"{n}.png"), label=0, domain=0, classname="a") for n in range(6)]
    data = DatasetWrapper(cfg, items, transform=build_transform(cfg, is_train=True), is_train=True)
    plain = DataLoader(data, batch_size=2, sampler=RandomSampler(data), num_workers=workers, drop_last=True)
    return views.seeded_loader(plain, str(folder))


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n in range(6):
        noise = torch.randint(256, (20, 20, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
        Image.fromarray(noise.numpy()).save(folder / f"{n}.png")
    return folder


def epoch_of(some: DataLoader, seed: int, epoch: int) -> dict[int, torch.Tensor]:
    """Index -> view, in the order of the pass."""
    views.set_epoch(some, seed, epoch)
    return {int(i): image for batch in some for i, image in zip(batch["index"], batch["img"], strict=True)}


def test_seed_and_epoch_decide(pictures):
    some = loader(pictures)
    first, again, later, other = (epoch_of(some, *m) for m in ((1, 0), (1, 0), (1, 1), (2, 0)))
    assert sorted(first) == list(range(6))
    assert list(first) == list(again) and all(torch.equal(first[i], again[i]) for i in first)
    assert list(first) != list(later) or list(first) != list(other)
    assert not any(torch.equal(first[i], later[i]) or torch.equal(first[i], other[i]) for i in first)


def test_workers_and_place_do_not_matter(pictures, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(pictures, moved)
    ours, theirs = loader(pictures), loader(moved, workers=2)
    for epoch in (3, 4):  # the workers stay from pass to pass, and see the epoch change
        one, two = epoch_of(ours, 1, epoch), epoch_of(theirs, 1, epoch)
        assert list(one) == list(two) and all(torch.equal(one[i], two[i]) for i in one)


def test_a_view_leaves_the_random_numbers_of_training_alone(pictures):
    some = loader(pictures)
    views.set_epoch(some, 1, 0)
    torch.manual_seed(5)
    random.seed(5)
    some.dataset[0]
    after = torch.rand(3), random.random()
    torch.manual_seed(5)
    random.seed(5)
    assert torch.equal(after[0], torch.rand(3)) and after[1] == random.random()


def test_a_run_does_not_depend_on_its_workers(run, clips, tmp_path):
    weights = []
    for workers in ("0", "2"):
        folder = tmp_path / workers
        teacher = ("TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAINER.PROMPTKD.EVALUATE_TEACHER", "False")
        run("PromptKD", folder, *KD, *teacher, "DATALOADER.NUM_WORKERS", workers)
        weights.append(learned(folder, 2))
    assert same_bits(*weights)


def test_workers_are_as_asked_and_at_most_one_a_core(monkeypatch, capsys):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5}, raising=False)
    assert [clamped_workers(asked) for asked in (0, 2, 3)] == [0, 2, 3] and not capsys.readouterr().out
    assert clamped_workers(8) == 3
    assert capsys.readouterr().out == "DATALOADER.NUM_WORKERS 8: 3 workers load images, one for each core\n"
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert clamped_workers(2) == 1, "where the system tells nothing"
