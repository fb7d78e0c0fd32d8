"""predictions.csv and the accuracies per class, by hand and from a run."""

import csv
import io
from collections import Counter

import pytest
import torch
from conftest import CLASSES, result

from promptkd.results.predictions import COLUMNS, Predictions


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_rows_and_classes_by_hand(tmp_path):
    predictions = Predictions(tmp_path)
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0], [1.0, 0.0, 0.5]])
    labels = torch.tensor([0, 1, 2])
    paths = [str(tmp_path / "d" / "a, b.png"), str(tmp_path / "c.png"), "/elsewhere/é.png"]
    predictions.add("all", ["x", "y", "z"], paths, labels, logits)
    predictions.add("all", ["x", "y", "z"], ["/f.png"], torch.tensor([2]), torch.tensor([[0.0, 0.0, 9.0]]))
    rows = read(predictions.text())
    assert [row["path"] for row in rows] == ["d/a, b.png", "c.png", "/elsewhere/é.png", "/f.png"]
    assert [(row["label"], row["prediction"]) for row in rows] == [("x", "x"), ("y", "y"), ("z", "x"), ("z", "z")]
    assert [rows[0][f"class{i}"] for i in (1, 2, 3, 4)] == ["x", "z", "y", ""]
    assert float(rows[0]["p1"]) == pytest.approx(logits[0].softmax(0)[0].item(), abs=1e-6)
    assert predictions.per_class("all") == {"x": 100.0, "y": 100.0, "z": 50.0}


def test_a_class_without_images_has_no_accuracy(tmp_path):
    predictions = Predictions(tmp_path)
    predictions.add("new", ["x", "y"], ["/a"], torch.tensor([1]), torch.tensor([[1.0, 0.0]]))
    assert predictions.per_class("new") == {"y": 0.0}
    assert predictions.per_class("base") == {}


def test_a_run_leaves_them(run, tmp_path):
    run("ZeroshotCLIP", tmp_path, "DATASET.SUBSAMPLE_CLASSES", "base")
    text = (tmp_path / "predictions.csv").read_text(encoding="utf-8")
    assert tuple(text.splitlines()[0].split(",")) == COLUMNS
    rows, metrics = read(text), result(tmp_path)["metrics"]
    assert Counter(row["group"] for row in rows) == {"base": 9, "new": 6}
    for group in ("base", "new"):
        members = [row for row in rows if row["group"] == group]
        right = Counter(row["label"] for row in members if row["label"] == row["prediction"])
        images = Counter(row["label"] for row in members)
        assert metrics[group]["accuracy"] == pytest.approx(100 * sum(right.values()) / len(members))
        assert metrics[group]["per_class"] == pytest.approx({name: 100 * right[name] / n for name, n in images.items()})
        assert set(images) == set(CLASSES[:3] if group == "base" else CLASSES[3:])
        assert {row["prediction"] for row in members} <= set(images)
    assert all(not row["path"].startswith("/") and row["path"].startswith("eurosat/") for row in rows)
    assert len({row["path"] for row in rows}) == 15
