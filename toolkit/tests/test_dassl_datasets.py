"""Data sets of domains and of partly labelled images, the randaugment family, the detailed evaluator, second names."""

import random

import numpy as np
import pytest
import torch
from dassl_toy import toy_config
from PIL import Image

from dassl.data import DataManager
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, build_dataset
from dassl.data.transforms import autoaugment, build_transform, randaugment
from dassl.evaluation import build_evaluator
from dassl.utils import Registry


@pytest.fixture(autouse=True)
def offered_by_dassl(monkeypatch):
    """Only what Dassl registers: data sets of a project, which other tests of this process bring, take its names."""
    kept = {name: kind for name, kind in DATASET_REGISTRY._objects.items() if kind.__module__.startswith("dassl.")}
    monkeypatch.setattr(DATASET_REGISTRY, "_objects", kept)


def images(folder, *names):
    """Small images at these paths under a folder."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 6), (number * 9 % 255, 80, 10)).save(path)


def built(tmp_path, name, source=(), target=(), *options):
    words = ["DATASET.NAME", name, "DATASET.ROOT", str(tmp_path), *options]
    return build_dataset(
        toy_config(tmp_path, *words, "DATASET.SOURCE_DOMAINS", source, "DATASET.TARGET_DOMAINS", target)
    )


@pytest.mark.parametrize(
    ("name", "folder", "domains"),
    [("Office31", "office31", ("amazon", "webcam")), ("OfficeHome", "office_home", ("art", "real_world"))],
)
def test_domains_that_are_folders(tmp_path, name, folder, domains):
    for domain, count in zip(domains, (2, 3), strict=True):
        images(tmp_path / folder / domain, *(f"{c}/{i}.jpg" for c in ("Back_Pack", "Bike") for i in range(count)))
    dataset = built(tmp_path, name, domains[:1], domains[1:])
    assert (len(dataset.train_x), len(dataset.train_u), len(dataset.test)) == (4, 6, 6)
    assert dataset.classnames == (["back_pack", "bike"] if name == "OfficeHome" else ["Back_Pack", "Bike"])
    assert {item.domain for item in built(tmp_path, name, domains, domains[1:]).train_x} == {0, 1}
    with pytest.raises(ValueError, match="unknown name 'mars'"):
        built(tmp_path, name, ["mars"], domains[1:])
    with pytest.raises(FileNotFoundError, match="no folder"):
        built(tmp_path / "elsewhere", name, domains[:1], domains[1:])


def test_lists_of_visda_domainnet_and_pacs(tmp_path):
    visda, domainnet, pacs = (tmp_path / name for name in ("visda17", "domainnet", "pacs"))
    for part in ("train", "validation"):
        images(visda / part, "car/a b.jpg", "bus/1.jpg")
        (visda / part / "image_list.txt").write_text("car/a b.jpg 1\nbus/1.jpg 0\n")
    dataset = built(tmp_path, "VisDA17", ["synthetic"], ["real"])
    assert dataset.classnames == ["bus", "car"] and dataset.test[0].impath == str(visda / "validation/car/a b.jpg")
    (domainnet / "splits").mkdir(parents=True)
    for domain in ("real", "sketch"):
        for split in ("train", "test"):
            (domainnet / "splits" / f"{domain}_{split}.txt").write_text(f"{domain}/axe/1.jpg 0\n{domain}/bee/2.jpg 1\n")
    dataset = built(tmp_path, "DomainNet", ["real"], ["sketch"])
    assert (len(dataset.train_u), len(dataset.val)) == (2, 2) and dataset.classnames == ["axe", "bee"]
    (pacs / "splits").mkdir(parents=True)
    for domain in ("photo", "sketch"):
        for split, line in (("train", f"{domain}/dog/1.png 1"), ("crossval", f"{domain}/cat/2.png 2")):
            (pacs / "splits" / f"{domain}_{split}_kfold.txt").write_text(line + "\n" + pacs_damage(domain))
    dataset = built(tmp_path, "PACS", ["photo"], ["sketch"])
    assert [item.label for item in dataset.test] == [0, 1] and [item.label for item in dataset.train_x] == [0]
    for text in ("photo/dog/1.png one", "../secret 1", "/etc/passwd 1"):
        (pacs / "splits/photo_train_kfold.txt").write_text(text)
        with pytest.raises(ValueError, match="photo_train_kfold.txt, line 1: write the path"):
            built(tmp_path, "PACS", ["photo"], ["sketch"])


def pacs_damage(domain):
    return f"{domain}/dog/n02103406_4068-1.png 1\n" if domain == "sketch" else ""


def test_partly_labelled_images_and_their_two_loaders(tmp_path):
    for part in ("train", "test"):
        images(tmp_path / "cifar10" / part, *(f"{c}/{i}.png" for c in ("cat", "dog") for i in range(10)))
    words = ["DATASET.NUM_LABELED", 6, "DATASET.VAL_PERCENT", 0.2]
    random.seed(0)
    dataset = built(tmp_path, "CIFAR10", (), (), *words)
    assert [len(part) for part in (dataset.train_x, dataset.train_u, dataset.val, dataset.test)] == [6, 10, 4, 20]
    assert {item.impath for item in dataset.train_x}.isdisjoint(item.impath for item in dataset.train_u)
    assert len(built(tmp_path, "CIFAR10", (), (), *words, "DATASET.ALL_AS_UNLABELED", True).train_u) == 16
    node = ["DATASET.NAME", "CIFAR10", "DATASET.ROOT", str(tmp_path), "DATALOADER.TRAIN_U.SAME_AS_X", False]
    cfg = toy_config(tmp_path, *node, *words, "DATALOADER.TRAIN_X.BATCH_SIZE", 2, "DATALOADER.TRAIN_U.BATCH_SIZE", 5)
    manager = DataManager(cfg)
    assert len(next(iter(manager.train_loader_x))["img"]) == 2 and len(next(iter(manager.train_loader_u))["img"]) == 5
    for count, reason in ((1, "at least 1 for each of 2"), (20, "no image without a label")):
        with pytest.raises(ValueError, match=reason):
            built(tmp_path, "CIFAR10", (), (), "DATASET.NUM_LABELED", count, "DATASET.VAL_PERCENT", 0.0)


def test_every_operation_of_randaugment_keeps_the_size():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    for name, least, most in (
        *randaugment.randaugment_list(),
        *randaugment.randaugment_list2(),
        *randaugment.fixmatch_list(),
    ):
        for value in (least, most):
            changed = randaugment.OPERATIONS[name](picture, value)
            assert (changed.size, changed.mode) == (picture.size, "RGB"), name
    random.seed(1)
    for transform in (randaugment.RandAugment(3, 30), randaugment.RandAugment2(), randaugment.RandAugmentFixMatch()):
        assert any(transform(picture).tobytes() != picture.tobytes() for _ in range(5))
    assert autoaugment.ImageNetPolicy()(picture).size == picture.size
    with pytest.raises(ValueError, match="0 to 30"):
        randaugment.RandAugment(2, 31)


def test_solarize_add_touches_the_dark_alone():
    picture = Image.new("RGB", (1, 1), (100, 127, 128))
    assert randaugment.OPERATIONS["solarize_add"](picture, 50).getpixel((0, 0)) == (150, 177, 128)


@pytest.mark.parametrize("name", ["randaugment2", "randaugment_fixmatch"])
def test_configuration_asks_for_them(tmp_path, name):
    transform = build_transform(toy_config(tmp_path), choices=[name])
    assert transform(Image.new("RGB", (9, 9))).shape[0] == 3


def test_detailed_evaluator(tmp_path):
    evaluator = build_evaluator(toy_config(tmp_path, "TEST.EVALUATOR", "DetailedClassification"), lab2cname={})
    torch.manual_seed(0)
    logits, labels = torch.randn(60, 8) * 2, torch.randint(3, (60,))
    for part in (slice(0, 40), slice(40, 60)):
        evaluator.process(logits[part], labels[part])
    results = evaluator.evaluate()
    assert list(results) == ["accuracy", "error_rate", "macro_f1", "balanced_accuracy", "top5_accuracy", "ece", "nll"]
    probabilities, predicted = logits.softmax(1), logits.argmax(1)
    right = predicted == labels
    classes = [float(right[labels == c].float().mean()) for c in range(3)]
    assert results["balanced_accuracy"] == pytest.approx(100 * sum(classes) / 3)
    five = sum(
        int(label) in row.argsort(descending=True)[:5].tolist() for row, label in zip(logits, labels, strict=True)
    )
    assert results["top5_accuracy"] == pytest.approx(100 * five / 60)
    assert results["nll"] == pytest.approx(float(-probabilities.log()[range(60), labels].mean()), rel=1e-5)
    error, confidence = 0.0, probabilities.amax(1)
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            error += int(inside.sum()) / 60 * abs(float(confidence[inside].mean() - right[inside].float().mean()))
    assert results["ece"] == pytest.approx(100 * error, rel=1e-4)


def test_a_name_of_another_file_is_registered_behind_its_file():
    registry = Registry("ANIMAL", second_names=True)
    first = registry.register(type("Cat", (), {"__module__": "trainers.cats"}))
    with pytest.warns(UserWarning, match="that of trainers.lions is 'lions.Cat'"):
        second = registry.register(type("Cat", (), {"__module__": "trainers.lions"}))
    assert registry.get("Cat") is first and registry.get("lions.Cat") is second
    with pytest.raises(ValueError, match="already registered"):
        registry.register(type("Cat", (), {"__module__": "trainers.lions"}))
    with pytest.raises(ValueError, match="already registered"):
        registry.register(type("Cat", (), {"__module__": "trainers.cats"}))


def test_what_is_offered_gives_way(tmp_path):
    registry = Registry("ANIMAL")
    offered = registry.offer(type("Cat", (), {}))
    assert registry.get("Cat") is offered and registry.registered_names() == [] and registry.offered_names() == ["Cat"]
    mine = registry.register(type("Cat", (), {}))
    assert registry.get("Cat") is mine and registry.offered_names() == []
    assert {"Office31", "PACS", "CIFAR10"} <= set(DATASET_REGISTRY.offered_names())
    assert issubclass(DATASET_REGISTRY.get("PACS"), DatasetBase)
