"""TFUP and TFUP-T: the choice of images and the cache against loops written out, and runs through train.main."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from conftest import CLASSES, result
from torch.nn import functional as F

from promptkd.deploy.classifier import Classifier
from promptkd.engine import checkpoints
from promptkd.engine.losses import marginal_entropy
from promptkd.model.feature_cache import FeatureCache, class_probabilities, representatives
from trainers.tfup import cache_shots
from trainers.tfupt import CosineBySteps


def divergence(one: list[float], other: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(one, other, strict=True))


def naive_representatives(p: list[list[float]], count: int) -> list[list[int]]:
    """Row numbers of each class, by KL divergences summed one by one."""
    found = []
    for label in range(len(p[0])):
        among = sorted(range(len(p)), key=lambda row: -p[row][label])[: min(2 * count, len(p))]
        score = {j: sum(divergence(p[j], p[m]) for m in among) for j in among}
        found.append(sorted(among, key=lambda j: score[j])[: min(count, len(p))])
    return found


@pytest.mark.parametrize("count", [1, 4, 30])
def test_representatives_are_those_of_the_loops(count: int):
    torch.manual_seed(0)
    p = (1.5 * torch.randn(20, 5, dtype=torch.float64)).softmax(-1)
    rows, labels = representatives(p, count)
    kept = min(count, 20)
    assert labels.tolist() == [label for label in range(5) for _ in range(kept)]
    assert rows.unflatten(0, (5, kept)).tolist() == naive_representatives(p.tolist(), count)


def test_the_cache_is_that_of_the_loops():
    torch.manual_seed(0)
    images, keys, weights = torch.randn(3, 8), torch.randn(6, 8), torch.randn(4, 8)
    labels = torch.tensor([0, 0, 1, 1, 2, 3])
    p, q = (class_probabilities(one, weights).tolist() for one in (images, keys))
    cosines = (F.normalize(images, dim=-1) @ F.normalize(keys, dim=-1).t()).tolist()
    cache = FeatureCache(keys, labels)
    similarity, logits = cache.similarity(images, weights), cache.logits(images, weights, 0.7)
    for t in range(3):
        kl = [divergence(p[t], q[j]) for j in range(6)]
        mean = sum(kl) / 6
        std = math.sqrt(sum((one - mean) ** 2 for one in kl) / 5)
        z = [(one - mean) / std for one in kl]
        expected = [2 * (1 - (one - min(z)) / (max(z) - min(z))) for one in z]
        assert similarity[t].tolist() == pytest.approx(expected, abs=1e-9)
        for label in range(4):
            terms = [math.exp(-0.7 * (1 - cosines[t][j] * expected[j])) for j in range(6) if labels[j] == label]
            assert logits[t, label].item() == pytest.approx(sum(terms), rel=1e-5)
    alone = cache.similarity(images[1:2], weights)
    assert torch.allclose(alone, similarity[1:2], atol=1e-12), "the other images of a batch have no say"


def test_equal_similarities_are_no_division_by_zero():
    weights, image = torch.randn(4, 8), torch.randn(1, 8)
    cache = FeatureCache(image.expand(5, 8), torch.tensor([0, 1, 2, 3, 3]))
    assert torch.equal(cache.similarity(image, weights), torch.full((1, 5), 2.0, dtype=torch.float64))
    assert cache.logits(image, weights).isfinite().all()
    same = representatives(torch.full((6, 3), 1 / 3), 2)
    assert same[0].tolist() == [0, 1, 0, 1, 0, 1], "equal scores go by the order of the list"


def test_marginal_entropy():
    even, one = torch.zeros(4, 5), torch.tensor([[50.0, 0, 0, 0, 0]] * 4)
    assert marginal_entropy(even).item() == pytest.approx(-math.log(5), abs=1e-4)
    assert marginal_entropy(one).item() == pytest.approx(0, abs=1e-4)
    logits = torch.randn(3, 4)
    mean = [sum(math.exp(row[c]) / sum(map(math.exp, row)) for row in logits.tolist()) / 3 for c in range(4)]
    assert marginal_entropy(logits).item() == pytest.approx(sum(m * math.log(m + 1e-6) for m in mean), rel=1e-5)


def test_rates_of_both_schedules():
    weight = torch.nn.Parameter(torch.zeros(1))
    for period, batches in ((7, [2, 5]), (4, [2, 5])):
        optimizer = torch.optim.AdamW([weight], lr=0.5)
        rates = CosineBySteps(0.5, period, batches)
        got = []
        for epoch, count in enumerate(batches):
            rates.before_epoch(epoch)
            for _ in range(count):
                rates.before_step(optimizer)
                got.append(optimizer.param_groups[0]["lr"])
        want = [0.25 * (1 + math.cos(math.pi * t / period)) for t in range(7)]
        assert got == pytest.approx(want)
    rates.before_epoch(1)
    rates.before_step(optimizer)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(want[2]), "a resumed run goes on with its step"


def test_the_published_number_of_shots():
    assert [cache_shots(n, 10, 0.3) for n in (60, 400, 9000)] == [9, 12, 16]


TFUP = ["TRAINER.TFUP.PREC", "fp32"]
TFUPT = ["TRAINER.TFUPT.PREC", "fp32", "TRAINER.TFUPT.WARMUP_EPOCHS", "1", "OPTIM.NAME", "adamw", "OPTIM.LR", "0.01"]
TFUPT += ["TRAINER.TFUPT.THRESHOLD", "0.2", "TRAINER.TFUPT.SHOTS", "2", "TRAINER.TFUPT.TRAINING_SHOTS", "3"]
BASE = ["DATASET.SUBSAMPLE_CLASSES", "base"]


def test_training_free(run, tmp_path: Path):
    run("TFUP", tmp_path / "all", *TFUP)
    run("TFUP", tmp_path / "base", *TFUP, *BASE)
    whole, half = result(tmp_path / "all"), result(tmp_path / "base")
    assert set(whole["metrics"]) == {"all"} and set(half["metrics"]) == {"base", "new", "hm"}
    assert whole["learned_parameters"] == 0 and whole["transductive"] and whole["unlabelled_images"] == 30
    assert whole["seen"]["from"] == "train split" and half["seen"]["pseudo_labels"]["base"]["count"] == 3 * 9
    assert "all" in whole["seen"]["pseudo_labels"]


def test_test_images_are_said_to_be_seen(run, tmp_path: Path):
    run("TFUP", tmp_path, *TFUP, "TRAINER.TFUP.IMAGES", "test")
    found = result(tmp_path)
    assert found["seen"] | {"pseudo_labels": 0} == {
        "images": 15, "classes": "all", "from": "test images", "pseudo_labels": 0
    }  # fmt: skip
    assert found["transductive"] and found["unlabelled_images"] == 15


def test_a_group_has_a_cache_of_its_own(run, tmp_path: Path):
    """The classes of the other group have no say: new alone gives the numbers of new beside base."""
    run("TFUP", tmp_path / "both", *TFUP, *BASE, "TRAINER.TFUP.SHOTS", "3")
    file = tmp_path / "both" / "predictions.csv"
    assert file.is_file() and result(tmp_path / "both")["seen"]["pseudo_labels"]["new"]["count"] == 2 * 3


def test_descriptions_in_the_place_of_a_template(run, tmp_path: Path):
    texts = {name.lower(): [f"{name} from above.", f"what {name} looks like, " + "very " * 90] for name in CLASSES}
    file = tmp_path / "texts.json"
    file.write_text(json.dumps(texts))
    run("TFUP", tmp_path / "run", *TFUP, "TRAINER.TFUP.DESCRIPTIONS", str(file))
    assert result(tmp_path / "run")["settings"]["TRAINER.TFUP.DESCRIPTIONS"] == str(file)
    del texts["forest"]
    file.write_text(json.dumps(texts))
    with pytest.raises(ValueError, match="has no texts of 1 of 5 classes, first 'Forest'"):
        run("TFUP", tmp_path / "other", *TFUP, "TRAINER.TFUP.DESCRIPTIONS", str(file))
    file.write_text("[]")
    with pytest.raises(ValueError, match="is not a map of class names to lists of texts"):
        run("TFUP", tmp_path / "third", *TFUP, "TRAINER.TFUP.DESCRIPTIONS", str(file))


def test_adapters_train_resume_and_are_evaluated(run, tmp_path: Path, monkeypatch, data_root: str):
    from PIL import Image

    from dassl.engine import TRAINER_REGISTRY

    run("TFUPT", tmp_path / "whole", *TFUPT, epochs=3)
    found = result(tmp_path / "whole")
    assert found["seen"]["pseudo_labels"]["count"] == 15 and found["unlabelled_images"] == 30
    file = tmp_path / "whole" / "adapters" / "model.pth.tar-3"
    state = checkpoints.read_checkpoint(file)["state_dict"]
    names = {"class_weights", "text_adapter.res", "image_adapter.fc.0.weight", "image_adapter.fc.2.weight"}
    assert set(state) == names and state["text_adapter.res"].abs().max() > 0
    kind = TRAINER_REGISTRY.get("TFUPT")
    step, steps = kind.forward_backward, iter(range(100))

    def stop_in_the_third_epoch(self, batch):
        if next(steps) == 12:  # 3 batches of the warm-up and 7 of all images are two epochs
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(kind, "forward_backward", stop_in_the_third_epoch)
    with pytest.raises(KeyboardInterrupt):
        run("TFUPT", tmp_path / "halved", *TFUPT, epochs=3)
    monkeypatch.setattr(kind, "forward_backward", step)
    run("TFUPT", tmp_path / "halved", *TFUPT, epochs=3)
    again = checkpoints.read_checkpoint(tmp_path / "halved" / "adapters" / "model.pth.tar-3")["state_dict"]
    assert all(torch.equal(again[name], state[name]) for name in names)
    run("TFUPT", tmp_path / "again", "--eval-only", f"--model-dir={tmp_path / 'whole'}", *TFUPT, epochs=3)
    assert result(tmp_path / "again")["metrics"] == found["metrics"]
    image = Image.open(next(Path(data_root).rglob("*.jpg")))
    assert len(Classifier(tmp_path / "whole").predict(image, top=3)) == 3


def test_adapters_in_base_to_new(run, tmp_path: Path):
    run("TFUPT", tmp_path / "all", *TFUPT, *BASE, epochs=2)
    run("TFUPT", tmp_path / "base", *TFUPT, *BASE, "TRAINER.TFUPT.UNLABELLED", "base", epochs=2)
    assert set(result(tmp_path / "all")["metrics"]) == {"base", "new", "hm"}
    assert set(result(tmp_path / "base")["metrics"]) == {"base"}, "it says nothing of classes that it never saw"


def test_the_published_choice_of_an_epoch_says_so(run, tmp_path: Path):
    run("TFUPT", tmp_path, *TFUPT, "TEST.FINAL_MODEL", "best_on_test_as_published", epochs=2)
    assert "TEST images" in result(tmp_path)["selection"]


@pytest.mark.parametrize("trainer", ["TFUP", "TFUPT"])
def test_images_of_a_folder_need_no_labels(run, tmp_path: Path, data_root: str, trainer: str):
    images = tmp_path / "images"
    images.mkdir()
    for number, file in enumerate(sorted(Path(data_root).rglob("*.jpg"))[::5]):
        (images / f"{number}.jpg").write_bytes(file.read_bytes())
    (images / "classnames.txt").write_text("\n".join(CLASSES) + "\n")
    words = {"TFUP": TFUP, "TFUPT": TFUPT}[trainer]
    run(trainer, tmp_path / "run", *words, "DATASET.NAME", "Unlabeled", "DATASET.ROOT", str(images))
    assert (tmp_path / "run" / "predictions.csv").read_text().count(".jpg") == 11
    with pytest.raises(ValueError, match="IMAGES test: Unlabeled has no test images"):
        more = [f"TRAINER.{trainer}.IMAGES", "test"]
        run(trainer, tmp_path / "x", *words, *more, "DATASET.NAME", "Unlabeled", "DATASET.ROOT", str(images))


def test_labels_do_not_draw_the_images(run, tmp_path: Path):
    with pytest.raises(ValueError, match="set it to 0, and TRAINER.TFUP.SHOTS"):
        run("TFUP", tmp_path, *TFUP, "DATASET.NUM_SHOTS", "4")
