"""FeatureTeacher: closed forms against loops and definitions, feature files, and runs of it as teachers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from conftest import result
from safetensors.torch import load_file, save_file
from tiny_runs import BASE, KD
from torch.nn import functional as F

import promptkd
from promptkd.data.images import read_published
from promptkd.deploy import export
from promptkd.deploy.preprocessing import transform_of_run
from promptkd.engine.runs import read_run
from promptkd.model.class_vectors import FILE_NAME, ClassVectors
from promptkd.teacher import feature_files
from promptkd.teacher.closed_form import add_to_texts, every_fourth, find_directions
from promptkd.teacher.feature_files import FeatureFile
from trainers.feature_teacher import FeatureTeacher

OPTION = "TRAINER.FEATURETEACHER."


def clusters(classes: int, images: int, channels: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features near a common direction, those of a class nearer to each other; and their labels."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(1, channels, generator=draw) + 0.8 * torch.randn(classes, channels, generator=draw)
    labels = torch.arange(classes).repeat_interleave(images)
    return centres[labels] + 0.5 * torch.randn(len(labels), channels, generator=draw), labels


def linear(method: str, features: torch.Tensor, labels: torch.Tensor, strength: float):
    """Weights and biases of the classifier by its definition, image by image, of uncentred features."""
    x = F.normalize(features.double(), dim=1)
    number, channels = x.shape
    classes = int(labels.max()) + 1
    means = torch.stack(
        [sum(x[i] for i in range(number) if labels[i] == c) / (labels == c).sum() for c in range(classes)]
    )
    if method == "ridge":  # with a constant channel that is not penalised
        ones = torch.cat([x, torch.ones(number, 1, dtype=x.dtype)], dim=1)
        penalty = strength * x.var(dim=0, unbiased=False).mean() * number * torch.eye(channels + 1, dtype=x.dtype)
        penalty[-1, -1] = 0
        both = torch.linalg.solve(ones.T @ ones + penalty, ones.T @ F.one_hot(labels, classes).double())
        return both[:-1].T, both[-1]
    precision = torch.eye(channels, dtype=x.dtype)
    if method == "gda":
        covariance = torch.zeros(channels, channels, dtype=x.dtype)
        for i in range(number):
            covariance += torch.outer(x[i] - means[labels[i]], x[i] - means[labels[i]]) / number
        precision = channels * torch.linalg.inv(
            (number - 1) * covariance + strength * covariance.trace() * torch.eye(channels, dtype=x.dtype)
        )
    weights = means @ precision
    return weights, -0.5 * (weights * means).sum(dim=1)


@pytest.mark.parametrize("method", ["gda", "ridge", "mean"])
def test_directions_are_those_of_the_classifier_by_its_definition(method):
    features, labels = clusters(4, 5, 8)
    found = find_directions(features, labels, 4, method, 0.7)
    weights, biases = linear(method, features, labels, 0.7)
    x = F.normalize(features.double(), dim=1)
    common = F.normalize(x.mean(dim=0), dim=0)
    assert torch.allclose(found.common, common)
    # without what the images have in common both are the same, up to one factor for all classes
    away = torch.eye(8, dtype=x.dtype) - torch.outer(common, common)
    wanted, rows = (weights - weights.mean(0)) @ away, found.rows @ away
    factor = (rows * wanted).sum() / wanted.square().sum()
    assert factor > 0 and torch.allclose(rows, factor * wanted, atol=1e-9)
    assert torch.allclose(found.rows.sum(dim=0), torch.zeros(8, dtype=x.dtype), atol=1e-9)
    assert float(found.rows.square().sum(dim=1).mean()) == pytest.approx(1)
    # the bias in the direction: of images that all have the same share of the common one, logits are exact
    even = x - (x @ common - 0.6)[:, None] * common
    folded = find_directions(even, labels, 4, method, 0.7)
    weights, biases = linear(method, even, labels, 0.7)
    unit = F.normalize(even, dim=1)
    share = unit @ F.normalize(unit.mean(0), dim=0)
    if float(share.std()) < 1e-6:
        logits, mine = unit @ weights.T + biases, unit @ folded.rows.T
        logits, mine = (one - one.mean(dim=1, keepdim=True) for one in (logits, mine))
        assert torch.allclose(mine / mine.norm(), logits / logits.norm(), atol=1e-6)


def test_class_vectors_keep_their_distance_from_all_images():
    features, labels = clusters(5, 6, 16)
    directions = find_directions(features, labels, 5, "gda", 1.0)
    texts = F.normalize(torch.randn(5, 16, generator=torch.Generator().manual_seed(1)), dim=1)
    for weight in (0.3, 0.8):
        vectors = add_to_texts(texts, directions, weight).double()
        assert torch.allclose(vectors.norm(dim=1), torch.ones(5, dtype=torch.float64), atol=1e-6)
        near = (vectors @ directions.common).mean(), (texts.double() @ directions.common).mean()
        assert float(near[0]) == pytest.approx(float(near[1]), abs=1e-6)
        x = F.normalize(features.double(), dim=1)
        right = [int((x @ rows.double().T).argmax(1).eq(labels).sum()) for rows in (texts, vectors)]
        assert right[0] < right[1]
    assert torch.equal(add_to_texts(texts, directions, 1.0), texts)
    alone = add_to_texts(None, directions, 0.0)
    assert torch.equal(alone, add_to_texts(texts, directions, 0.0)) and (alone.norm(dim=1) - 1).abs().max() < 1e-6


def test_images_that_tell_nothing_are_refused():
    features, labels = clusters(3, 4, 8)
    with pytest.raises(ValueError, match="1 of 4 classes have no labelled image, first number 3"):
        find_directions(features, labels, 4, "gda", 1.0)
    for method in ("gda", "ridge", "mean"):
        with pytest.raises(ValueError, match="tell no class from another"):
            find_directions(torch.ones(12, 8), labels, 3, method, 1.0)
    one_each = find_directions(features[::4], labels[::4], 3, "gda", 1.0)  # no covariance is known: class means
    means = find_directions(features[::4], labels[::4], 3, "mean", 1.0)
    assert torch.allclose(one_each.rows, means.rows, atol=1e-6)


@pytest.fixture(scope="module")
def taught(run, clips, tmp_path_factory) -> Path:
    """A FeatureTeacher run on the tiny teacher CLIP: base classes have images, new ones their texts."""
    folder = tmp_path_factory.mktemp("feature_teacher") / "run"
    run("FeatureTeacher", folder, *BASE, backbone=clips["teacher"])
    return folder


def test_a_run_leaves_class_vectors_that_classify(taught, run, clips, tmp_path, data_root):
    found = result(taught)
    assert found["shots"] == 4 and found["learned_on"] == "EuroSAT" and found["epochs"] is not None
    assert set(found["metrics"]) == {"base", "new", "hm"} and not found["transductive"]
    vectors = ClassVectors.load(taught / FILE_NAME)
    assert len(vectors.classnames) == 5 and vectors.source["made_by"].startswith("FeatureTeacher on")
    run("ZeroshotCLIP2", tmp_path / "texts", *BASE, backbone=clips["teacher"])
    texts = ClassVectors.load(tmp_path / "texts" / FILE_NAME)
    base, new = texts.classnames[:3], texts.classnames[3:]
    assert torch.allclose(vectors.select(new).features, texts.select(new).features, atol=1e-6)
    assert not torch.allclose(vectors.select(base).features, texts.select(base).features, atol=1e-3)
    flags = ("--eval-only", f"--model-dir={taught}")
    run("FeatureTeacher", tmp_path / "again", *BASE, *flags, backbone=clips["teacher"])
    assert result(tmp_path / "again")["metrics"] == found["metrics"]
    classifier = promptkd.load(taught)
    image = read_published(f"{data_root}/eurosat/2750/Forest/0.jpg")
    assert len(classifier.predict(image, top=5)) == 5


def test_without_validation_images_some_labelled_ones_stand_in(taught, run, clips, tmp_path, monkeypatch):
    assert every_fourth(torch.tensor([0] * 9 + [1] * 2 + [2])).nonzero().flatten().tolist() == [3, 7, 10]
    monkeypatch.setattr(FeatureTeacher, "validation_items", lambda self: [])
    run("FeatureTeacher", tmp_path / "run", *BASE, backbone=clips["teacher"])
    assert result(tmp_path / "run")["metrics"].keys() == result(taught)["metrics"].keys()
    with pytest.raises(ValueError, match="TEXT_WEIGHT: there is no image to choose it by, for EuroSAT has no"):
        run("FeatureTeacher", tmp_path / "one", *BASE, "DATASET.NUM_SHOTS", "1", backbone=clips["teacher"])
    words = ["DATASET.NUM_SHOTS", "1", OPTION + "TEXT_WEIGHT", "(0.8,)"]
    run("FeatureTeacher", tmp_path / "one", *BASE, *words, backbone=clips["teacher"])


def test_it_teaches_alone_and_beside_others(taught, run, clips, tmp_path, data_root):
    run("PromptKD", tmp_path / "alone", *KD, "TRAINER.PROMPTKD.TEACHER", str(taught), epochs=1)
    alone = result(tmp_path / "alone")
    assert alone["teacher"]["metrics"]["hm"] == result(taught)["metrics"]["hm"]
    assert (alone["teacher"]["trainer"], alone["teacher"]["shots"]) == ("FeatureTeacher", 4)
    stored = ClassVectors.load(taught / FILE_NAME)
    assert torch.equal(ClassVectors.load(tmp_path / "alone" / FILE_NAME).features, stored.features)
    several = ["TRAINER.PROMPTKD.TEACHERS", f"[{clips['teacher']}, {taught}]"]
    run("PromptKD", tmp_path / "both", *KD, *several, epochs=1)
    assert [one["trainer"] for one in result(tmp_path / "both")["teacher"]["teachers"]] == [
        "ZeroshotCLIP", "FeatureTeacher",
    ]  # fmt: skip
    # of classes that it never had a name of it takes the texts
    teacher = promptkd.load_teacher(str(taught), ["Forest", "a kitchen"], templates=["a photo of a {}."])
    plain = promptkd.load_teacher(clips["teacher"], ["a kitchen"], templates=["a photo of a {}."])
    assert torch.equal(teacher.vectors.features[0], stored.select(["Forest"]).features[0])
    assert torch.allclose(teacher.vectors.features[1], plain.vectors.features[0], atol=1e-6)


def test_features_of_a_file_give_the_same_vectors(taught, run, clips, tmp_path, data_root):
    """A file made elsewhere: of the images by their content, wherever they lie and whatever they are called."""
    images = sorted(str(path) for path in Path(data_root, "eurosat/2750").glob("*/*.jpg"))
    model = promptkd.load_teacher(clips["teacher"], ["Forest"])
    transform = transform_of_run(read_run(taught).config)
    with torch.no_grad():
        pixels = torch.stack([transform(read_published(path)) for path in images])
        features = model.image_features(pixels)
    moved = tmp_path / "moved"
    shutil.copytree(Path(data_root, "eurosat/2750"), moved)
    names = [str(moved / Path(path).relative_to(Path(data_root, "eurosat/2750"))) for path in images]
    feature_files.write(tmp_path / "features.safetensors", features, names, clips["teacher"])
    words = [*BASE, OPTION + "FEATURES", str(tmp_path / "features.safetensors")]
    run("FeatureTeacher", tmp_path / "run", *words, backbone=clips["teacher"])
    made = ClassVectors.load(tmp_path / "run" / FILE_NAME)
    assert torch.allclose(made.features, ClassVectors.load(taught / FILE_NAME).features, atol=1e-5)


def test_files_of_other_images_and_towers_are_refused(run, clips, tmp_path, data_root):
    images = sorted(str(path) for path in Path(data_root, "eurosat/2750").glob("*/*.jpg"))
    good = tmp_path / "good.safetensors"
    feature_files.write(good, torch.rand(len(images), 24), images, clips["teacher"])
    tensors = load_file(good)

    def refused(message: str, **changes) -> None:
        path, header = tmp_path / "bad.safetensors", changes.pop("header", {})
        save_file({name: value for name, value in (tensors | changes).items() if value is not None}, path, header)
        with pytest.raises(ValueError, match=message):
            run("FeatureTeacher", tmp_path / "run", *BASE, OPTION + "FEATURES", str(path), backbone=clips["teacher"])

    refused(r"no features of \d+ of 12 images, first .*jpg.*other images", sha256=tensors["sha256"].flip(1))
    refused("has features of 16 channels, this tower's have 24", features=torch.rand(len(images), 16))
    refused("has features by another, this run has", header={"backbone": "another"})
    refused("features has numbers that are not finite", features=tensors["features"] / 0)
    refused("no tensor sha256", sha256=None)
    refused(r"sha256 is \(55, 32\) of torch.int64", sha256=tensors["sha256"].long())
    refused(r"features are \(55,\)", features=torch.rand(55))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run("FeatureTeacher", tmp_path / "run", *BASE, OPTION + "FEATURES", "nowhere", backbone=clips["teacher"])
    with pytest.raises(ValueError, match="2 rows for 1 images"):
        feature_files.write(good, torch.rand(2, 3), images[:1])
    assert torch.equal(FeatureFile.read(good).of_images(images[3:5]), tensors["features"][3:5])


@pytest.mark.parametrize("method", ["ridge", "mean"])
def test_each_method_and_one_text_weight(method, run, clips, tmp_path, capsys):
    words = [*BASE, OPTION + "METHOD", method, OPTION + "TEXT_WEIGHT", "(0.4,)", OPTION + "SCALE", "33"]
    run("FeatureTeacher", tmp_path / "run", *words, backbone=clips["teacher"])
    assert f"{method} of 12 images of 3 classes, text weight 0.4, logit scale 33" in capsys.readouterr().out
    assert ClassVectors.load(tmp_path / "run" / FILE_NAME).logit_scale == 33
    assert promptkd.load(tmp_path / "run").model.logit_scale == 33
    assert export.main([str(tmp_path / "run"), "--format", "safetensors"]) == 0  # compared with the run
    assert promptkd.load(tmp_path / "run" / "safetensors").model.logit_scale == 33


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["METHOD", "lda"], "choose gda, ridge, mean"),
        (["SHRINKAGE", "0"], "SHRINKAGE 0.0: set more than 0"),
        (["TEXT_WEIGHT", "()"], "give one value or more"),
        (["TEXT_WEIGHT", "(0.5, 1.5)"], "TEXT_WEIGHT .*at most 1"),
    ],
)
def test_options_that_cannot_be_meant(run, clips, tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        run("FeatureTeacher", tmp_path / "run", *BASE, OPTION + words[0], words[1], backbone=clips["teacher"])


def test_an_evaluation_needs_a_run(run, clips, tmp_path):
    with pytest.raises(ValueError, match="--eval-only needs --model-dir"):
        run("FeatureTeacher", tmp_path / "run", "--eval-only", backbone=clips["teacher"])
