"""The teacher cache: what tells teachers apart, and two processes at once. test_teacher_cache.py trains with it."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import result
from tiny_runs import KD, LEARN, PROCESSES, same_bits, torchrun

from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.spec import PromptSpec
from promptkd.model.zoo import load_clip
from promptkd.teacher import cache as teacher_cache
from promptkd.teacher import cache_store
from promptkd.teacher.feature_keys import encoder_key


def test_learned_prompts_and_build_of_a_teacher_count(clips):
    """A PromptSRC teacher is its visual prompts, too; and its tower's heads, which the weights do not tell."""
    clip = load_clip(clips["teacher"])
    precision = Precision.choose("fp32", torch.device("cpu"))
    teacher = PromptedClip(clip, PromptSpec(n_text=2, n_vision=2, depth_vision=2), precision)
    prompts = teacher.prompts
    before = encoder_key(teacher)
    torch.nn.init.normal_(prompts.ctx)  # class vectors come from it, image features do not
    assert encoder_key(teacher) == before
    torch.nn.init.normal_(prompts.vision_prompts[1])
    learned_other = encoder_key(teacher)
    clip.visual.transformer.resblocks[0].attn.num_heads *= 2
    assert len({str(key) for key in (before, learned_other, encoder_key(teacher))}) == 3


def test_rows_that_are_not_finite_count_as_damaged(tmp_path):
    entry = cache_store.Entry(cache_store.Store(tmp_path, 10**6), {"a": 1}, {}, 3)
    rows = torch.tensor([[1.0, 2.0], [float("nan"), 0.0], [3.0, float("inf")]])
    view = entry.make(0, rows)
    view.write(np.arange(3), rows)
    features, present, damaged = view.read(np.arange(3))
    assert present.tolist() == [True, False, False] and damaged == 2 and torch.equal(features[0], rows[0])
    entry.close()
    for name in ("view-0001.int64.2", "view-0001.float32.-1", "view-0001.Tensor.2", "view-0001.float32"):
        (tmp_path / name).write_bytes(bytes(100))
        with pytest.raises(ValueError):
            cache_store.ViewFile(tmp_path / name, 3)


def fill(folder: Path, order: float, start: object, say: object) -> None:
    """Two passes over 20 views of 400 images; features are known numbers of image, view and who computed them."""
    torch.set_num_threads(1)
    counts = {"read": 0, "computed": 0}
    entry = cache_store.Entry(cache_store.Store(folder, 10**9), {"a": 1}, {}, 400)
    cache = teacher_cache.StoredFeatures(entry, "views", 20, counts)
    right = True
    for epoch in range(40):
        start.wait()  # each view is made by both at the same time
        view = cache.start_epoch(epoch)
        for rows in torch.randperm(400, generator=torch.Generator().manual_seed(int(1000 * order) + epoch)).split(16):
            images = (rows * 7 + view).float()[:, None]
            by = cache.features(rows, images, lambda some: some.expand(-1, 64) * 3 + order) - images * 3
            right &= bool(((by == 0) | (by == 0.5)).all() and (by == by[:, :1]).all())
    cache.finish(torch.device("cpu"))
    say.put((right, counts))


def test_two_processes_at_once(tmp_path, capfd):
    """Both fill and read the same views, in other orders, and find nothing but what belongs to a row."""
    context = multiprocessing.get_context("fork")
    start, say = context.Barrier(2), context.Queue()
    runs = [context.Process(target=fill, args=(tmp_path, order, start, say)) for order in (0, 0.5)]
    for process in runs:
        process.start()
    found = [say.get(timeout=120) for _ in runs]
    for process in runs:
        process.join()
    assert all(right for right, _ in found) and "damaged" not in capfd.readouterr().out
    assert sorted(path.name for path in tmp_path.glob("*/view-*")) == [f"view-{n:04d}.float32.64" for n in range(20)]
    computed = [counts["computed"] for _, counts in found]
    assert all(counts["read"] + counts["computed"] == 40 * 400 for _, counts in found)
    assert max(computed) <= 20 * 400 <= sum(computed)  # nothing is computed again, and nothing was lost


@pytest.mark.slow
def test_two_processes_of_one_run(argv, clips, tmp_path):
    """Each keeps and reads the images of its share; the run's numbers are those without a cache."""
    cache = ["TRAINER.PROMPTKD.CACHE_DIR", str(tmp_path / "cache"), "TRAINER.PROMPTKD.TEACHER_CACHE"]
    words = [*KD, *LEARN, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAINER.PROMPTKD.EVALUATE_TEACHER", "False"]
    words += ["DATALOADER.TRAIN_X.BATCH_SIZE", "10"]
    runs = {"plain": [], "filling": [*cache, "exact"], "filled": [*cache, "exact"]}
    jobs = [
        {"argv": argv("PromptKD", tmp_path / name, *words, *more), "state": str(tmp_path / f"{name}.pt")}
        for name, more in runs.items()
    ]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    done = torchrun(str(PROCESSES), str(tmp_path / "jobs.json"))
    assert "Teacher images: 60 read from the cache, 0 computed" in done.stdout, done.stderr
    found = {name: result(tmp_path / name)["teacher"].get("cache") for name in runs}
    exact = {"mode": "exact"}
    assert found == {
        "plain": None,
        "filling": exact | {"read": 0, "computed": 60},
        "filled": exact | {"read": 60, "computed": 0},
    }
    plain, *others = (torch.load(tmp_path / f"{name}.pt-0", weights_only=True)["learned"] for name in runs)
    assert all(same_bits(plain, other) for other in others)
