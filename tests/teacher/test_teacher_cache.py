"""The teacher cache through train.main: the same numbers with and without it, and never another run's features."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
from conftest import result, tiny_config, write_clip
from PIL import Image
from tiny_runs import KD, learned, same_bits

from promptkd.model.prompted_clip import PromptedClip
from promptkd.teacher import cache_store
from trainers.promptkd import PromptKD

OPTION = "TRAINER.PROMPTKD."
IMAGES, BATCHES = 30, 6  # of the tiny data set, 5 a batch


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """Batch sizes that went through the teacher's image encoder."""
    sizes: list[int] = []
    encode = PromptedClip.image_features

    def counted(self, images):
        if not self.spec.projector_layers:  # the student has one
            sizes.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(PromptedClip, "image_features", counted)
    return sizes


@pytest.fixture
def distil(run, clips, tmp_path, encoded):
    """`distil(name, words...)` trains a student in a folder of that name: its results, and its last weights."""

    def call(name: str, *words: str, mode: str = "exact", teacher: str = "", epochs: int = 2, seed: int = 1):
        encoded.clear()
        options = {"TEACHER": teacher or clips["teacher"], "EVALUATE_TEACHER": "False", "TEACHER_CACHE": mode}
        options["CACHE_DIR"] = str(tmp_path / "cache")
        named = [word for key, value in options.items() for word in (OPTION + key, value)]
        batch = ("DATALOADER.TRAIN_X.BATCH_SIZE", "5")
        run("PromptKD", tmp_path / name, *KD, *named, *batch, *words, epochs=epochs, seed=seed)
        return result(tmp_path / name), learned(tmp_path / name, epochs)

    return call


def counts(found: dict) -> tuple[int, int]:
    return found["teacher"]["cache"]["read"], found["teacher"]["cache"]["computed"]


@pytest.mark.parametrize("precision, kind", [("fp32", "float32"), ("bf16", "bfloat16")])
def test_exact_is_exact_filling_and_filled(distil, encoded, tmp_path, capsys, precision, kind):
    words = ("TRAINER.PROMPTKD.PREC", precision)
    plain, expected = distil("plain", *words, mode="")
    assert "cache" not in plain["teacher"] and encoded == [5] * 2 * BATCHES
    filling, first = distil("filling", *words)
    assert counts(filling) == (0, 2 * IMAGES) and encoded == [5] * 2 * BATCHES
    capsys.readouterr()
    filled, second = distil("filled", *words)
    assert counts(filled) == (2 * IMAGES, 0) and encoded == []
    assert "Teacher images: 60 read from the cache, 0 computed" in capsys.readouterr().out
    assert same_bits(expected, first) and same_bits(expected, second)
    assert plain["metrics"] == filling["metrics"] == filled["metrics"]
    assert plain["config_hash"] == filled["config_hash"]  # the same run, however it was computed
    views = sorted((tmp_path / "cache").glob("*/view-*"))
    assert [path.name for path in views] == [f"view-{n:04d}.{kind}.24" for n in range(2)]


def test_another_loss_and_student_use_the_same_features(distil, encoded):
    distil("one")
    words = ("KD_WEIGHT", "7", OPTION + "TEMPERATURE", "2.0", OPTION + "PROJECT_LAYER", "3")
    _, expected = distil("plain", OPTION + words[0], *words[1:], mode="")
    found, weights = distil("other", OPTION + words[0], *words[1:])
    assert counts(found) == (2 * IMAGES, 0) and encoded == [] and same_bits(expected, weights)


def test_workers_and_longer_runs_share(distil):
    distil("short", epochs=1)
    assert counts(distil("long", "DATALOADER.NUM_WORKERS", "1")[0]) == (IMAGES, IMAGES)


def test_anything_the_features_depend_on_misses(distil, clips, tmp_path):
    distil("one", epochs=1)
    other = str(write_clip(tmp_path / "other.safetensors", tiny_config(24), 3))
    for name, words in {
        "seed": {"seed": 2},
        "teacher": {"teacher": other},
        "transform": {"words": ("INPUT.RRCROP_SCALE", "(0.5, 1.0)")},
        "batch": {"words": ("DATALOADER.TRAIN_X.BATCH_SIZE", "6")},
        "data": {"words": (OPTION + "UNLABELLED", "base", "DATALOADER.TRAIN_X.BATCH_SIZE", "6")},
        "precision": {"words": (OPTION + "PREC", "bf16")},
        "mode": {"mode": "views"},
    }.items():
        found, _ = distil(name, *words.pop("words", ()), epochs=1, **words)
        assert found["teacher"]["cache"]["read"] == 0, name
    assert counts(distil("again", epochs=1)[0]) == (IMAGES, 0)


def test_a_changed_image_misses(distil, data_root, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(data_root, root)
    words = ("DATASET.ROOT", str(root))
    distil("one", *words, epochs=1)
    image = root / "eurosat" / "2750" / "Forest" / "0.jpg"
    before = image.stat()
    assert counts(distil("same", *words, epochs=1)[0])[1] == 0
    Image.new("RGB", (40, 36), "red").save(image, quality=30)
    with image.open("ab") as file:
        file.write(bytes(max(0, before.st_size - image.stat().st_size)))
    os.truncate(image, before.st_size)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))  # as rsync -t and cp -p do
    _, weights = distil("changed", *words, epochs=1)
    assert same_bits(weights, distil("plain", *words, epochs=1, mode="")[1])
    moved = tmp_path / "moved"
    root.rename(moved)
    assert counts(distil("moved", "DATASET.ROOT", str(moved), epochs=1)[0])[1] == 0
    kept = ("DATASET.ROOT", str(moved), "DATALOADER.DECODED_CACHE_GB", "0.01")
    assert counts(distil("decoded", *kept, epochs=1)[0])[1] == 0


def test_views_come_again(distil, encoded, monkeypatch):
    seen: list[dict[int, torch.Tensor]] = []
    step = PromptKD.forward_backward

    def remember(self, batch):
        if self.batch_idx == 0:
            seen.append({})
        seen[-1] |= dict(zip(batch["index"].tolist(), batch["img"], strict=True))
        return step(self, batch)

    monkeypatch.setattr(PromptKD, "forward_backward", remember)
    two = (OPTION + "CACHE_VIEWS", "2")
    found, weights = distil("views", *two, mode="views", epochs=4)
    assert found["teacher"]["cache"] == {"mode": "views", "views": 2, "read": 2 * IMAGES, "computed": 2 * IMAGES}
    assert sum(encoded) == 2 * IMAGES
    for epoch in (0, 1):
        assert all(torch.equal(seen[epoch][n], seen[epoch + 2][n]) for n in range(IMAGES))
        assert list(seen[epoch]) != list(seen[epoch + 2])  # in another order
    assert not any(torch.equal(seen[0][n], seen[1][n]) for n in range(IMAGES))
    assert not same_bits(weights, distil("plain", mode="", epochs=4)[1])
    assert found["settings"][OPTION + "CACHE_VIEWS"] == 2
    again, _ = distil("again", OPTION + "CACHE_VIEWS", "3", mode="views", epochs=4)
    assert counts(again) == (3 * IMAGES, IMAGES)  # the first two views, and the first once more


def test_only_missing_images_are_computed(distil, encoded, tmp_path):
    """views: a row that is not there does not send its batch through the teacher; exact: it does."""
    for mode, sizes in (("views", [1]), ("exact", [5])):
        distil(f"{mode} one", mode=mode, epochs=1)
        (view,) = set((tmp_path / "cache").glob("*/view-0000*"))
        with open(view, "r+b") as file:
            file.seek(4 * 7)
            file.write(bytes(4))
        assert counts(distil(f"{mode} two", mode=mode, epochs=1)[0]) == (IMAGES - sizes[0], sizes[0])
        assert encoded == sizes
        shutil.rmtree(tmp_path / "cache")


def test_resumed_run_equals_uninterrupted(distil, tmp_path, monkeypatch):
    _, expected = distil("whole", mode="")
    steps, step = iter(range(100)), PromptKD.forward_backward

    def stop(self, batch):
        if next(steps) == BATCHES + 2:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(PromptKD, "forward_backward", stop)
    with pytest.raises(KeyboardInterrupt):
        distil("broken")
    monkeypatch.setattr(PromptKD, "forward_backward", step)
    found, weights = distil("broken")
    assert same_bits(weights, expected) and counts(found) == (10, 2 * IMAGES - 10)


def test_size_is_bounded_and_a_live_entry_stays(distil, tmp_path, capsys):
    one_view = IMAGES * (4 + 24 * 4)
    bound = (OPTION + "CACHE_GB", str(2.5 * one_view / 1e9))
    for seed in (1, 2):
        distil(f"seed {seed}", *bound, epochs=1, seed=seed)
    first, second = sorted((tmp_path / "cache").glob("*/view-*"), key=lambda path: path.stat().st_mtime)
    capsys.readouterr()
    assert counts(distil("seed 3", *bound, epochs=1, seed=3)[0])[1] == IMAGES
    assert f"removes {first.parent}" in capsys.readouterr().out
    assert not first.parent.exists() and second.is_file()
    with open(second.parent / "live", "a") as live:
        cache_store.fcntl.flock(live, cache_store.fcntl.LOCK_SH)  # a run has it
        found, weights = distil("seed 4", *bound, epochs=2, seed=4)
    said = capsys.readouterr().out
    assert second.is_file() and said.count("no room for a view") == 1
    assert same_bits(weights, distil("plain", mode="", seed=4)[1]) and counts(found) == (0, 2 * IMAGES)
    taken = sum(path.stat().st_size for path in (tmp_path / "cache").glob("*/view-*"))
    assert taken == 2 * one_view


@pytest.mark.parametrize("damage", ["cut", "bits", "key", "name"])
def test_a_damaged_file_is_named_and_made_anew(distil, tmp_path, capsys, damage):
    _, expected = distil("one")
    view, _ = sorted((tmp_path / "cache").glob("*/view-*"))
    named = view
    if damage == "cut":
        os.truncate(view, view.stat().st_size // 2)
    elif damage == "bits":
        content = bytearray(view.read_bytes())
        content[-100] ^= 1
        view.write_bytes(content)
    elif damage == "key":
        named = view.with_name("key.json")
        named.write_text('{"key": ')
    else:
        named = view.rename(view.with_name("view-0000.floating.24"))
    capsys.readouterr()
    found, weights = distil("two")
    assert f"Stored features: {named} " in capsys.readouterr().out
    computed = {"cut": IMAGES, "bits": 5, "key": 2 * IMAGES, "name": IMAGES}[damage]
    assert same_bits(weights, expected) and counts(found) == (2 * IMAGES - computed, computed)
    assert counts(distil("three")[0]) == (2 * IMAGES, 0)


def test_a_full_disk_stops_the_cache_not_the_run(distil, monkeypatch, capsys):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_store.os, "pwrite", full)
    found, weights = distil("full")
    assert "Stored features: No space left on device" in capsys.readouterr().out
    assert same_bits(weights, distil("plain", mode="")[1]) and counts(found) == (0, 2 * IMAGES)


@pytest.mark.parametrize(
    "words, message",
    [
        (("TEACHER_CACHE", "exakt"), "choose exact, views"),
        (("CACHE_VIEWS", "0"), "CACHE_VIEWS 0"),
        (("CACHE_GB", "0"), "CACHE_GB 0"),
        (("CACHE_DIR", __file__), "cannot write to TRAINER.PROMPTKD.CACHE_DIR"),
    ],
)
def test_options_that_cannot_be_meant(distil, words, message):
    with pytest.raises((ValueError, OSError), match=message):
        distil("run", OPTION + words[0], words[1])


def test_a_seed_that_is_not_fixed_is_refused(distil):
    with pytest.raises(ValueError, match="give --seed"):
        distil("run", seed=-1)
