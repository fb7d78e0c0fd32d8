"""Confidence: ECE, Brier, the AUROC of unknown classes, and the temperature; each against a naive loop."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from conftest import result
from PIL import Image
from tiny_runs import BASE, METHODS

from promptkd.engine.confidence import Confidence, fit_temperature
from promptkd.engine.robust.command import main as robust


def test_measures_are_those_of_naive_loops():
    torch.manual_seed(0)
    logits, labels, outside = 3 * torch.randn(60, 4), torch.randint(4, (60,)), torch.randn(40, 4)
    found = Confidence()
    for part in range(0, 60, 25):  # in batches
        found.add(logits[part : part + 25], labels[part : part + 25])
    found.add_outside(outside)
    measures = found.measures()
    brier, bins, inside_scores = 0.0, {}, []
    for row, label in zip(logits.softmax(-1).tolist(), labels.tolist(), strict=True):
        brier += sum((p - (c == label)) ** 2 for c, p in enumerate(row))
        best = max(row)
        inside_scores.append(best)
        bins.setdefault(math.ceil(best * 15) - 1, []).append((best, row.index(best) == label))
    ece = sum(abs(sum(b for b, _ in one) - sum(r for _, r in one)) for one in bins.values()) / 60
    assert measures["brier"] == pytest.approx(brier / 60, rel=1e-5)
    assert measures["ece"] == pytest.approx(100 * ece, rel=1e-5)
    outside_scores = [max(row) for row in outside.softmax(-1).tolist()]
    wins = sum((a > b) + 0.5 * (a == b) for a in inside_scores for b in outside_scores)
    assert measures["auroc_outside"] == pytest.approx(100 * wins / (60 * 40), rel=1e-6)
    assert Confidence().measures() == {}


def test_the_temperature_is_the_best_of_a_grid():
    torch.manual_seed(1)
    labels = torch.randint(5, (400,))
    logits = 6 * (torch.nn.functional.one_hot(labels, 5) + 1.2 * torch.randn(400, 5))  # far too sure
    found = fit_temperature(logits, labels)
    grid = [0.1 * step for step in range(5, 200)]
    entropies = [float(torch.nn.functional.cross_entropy(logits / t, labels)) for t in grid]
    assert found["value"] == pytest.approx(grid[entropies.index(min(entropies))], abs=0.06)
    assert found["images"] == 400 and found["nll_after"] <= min(entropies) + 1e-4 < found["nll_before"]
    assert found["ece_after"] < found["ece_before"]


def test_images_of_another_data_set_are_told_by_their_confidence():
    torch.manual_seed(2)
    logits, others = 4 * torch.randn(30, 3), torch.randn(20, 3)
    found = Confidence()
    found.add(logits, torch.randint(3, (30,)))
    found.add_other_data(others[:15])
    found.add_other_data(others[15:])
    inside, outside = (each.softmax(-1).amax(-1).tolist() for each in (logits, others))
    pairs = sum((a > b) + 0.5 * (a == b) for a in inside for b in outside)
    measures = found.measures()
    assert measures["auroc_other_data"] == pytest.approx(100 * pairs / 600)
    assert "auroc_outside" not in measures


def test_a_run_is_measured_against_a_folder(run, tmp_path: Path, capsys):
    (tmp_path / "others" / "deep").mkdir(parents=True)
    for number in range(5):
        Image.new("RGB", (40, 30), (50 * number, 90, 10)).save(tmp_path / "others" / "deep" / f"{number}.png")
    words = [*BASE, *METHODS["CoOp"].words("CoOp")]
    run("CoOp", tmp_path / "run", *words, "TEST.OUTSIDE", str(tmp_path / "others"))
    metrics = result(tmp_path / "run")["metrics"]
    for group in ("base", "new"):
        assert 0 <= metrics[group]["auroc_other_data"] <= 100
    assert result(tmp_path / "run")["other_data"] == {"source": str(tmp_path / "others"), "images": 5}
    # a finished run is measured later, to the same numbers
    run("CoOp", tmp_path / "later", *words)
    before = result(tmp_path / "later")
    assert robust([str(tmp_path / "later"), "--against", str(tmp_path / "others")]) == 0
    after = result(tmp_path / "later")
    assert after["metrics"] == metrics and after["robustness"] is None and after["other_data"]["images"] == 5
    assert {**after, "metrics": None, "other_data": None} == {**before, "metrics": None}
    assert robust([str(tmp_path / "later"), "--against", "nothing"]) == 1
    assert "TEST.OUTSIDE nothing: no folder" in capsys.readouterr().err
    for wrong, message in (
        ("shipped", "ships none"),
        ("Pet", "no folder, and no data set 'Pet'"),
        ("/gone", "shipped"),
    ):
        with pytest.raises(ValueError, match=f"TEST.OUTSIDE {wrong}: .*{message}"):
            run("CoOp", tmp_path / "wrong", *words, "TEST.OUTSIDE", wrong)
    assert not [path for path in (tmp_path / "wrong").rglob("*") if path.suffix == ".json" or path.is_dir()]


def test_emoji_ships_images_of_other_things(tmp_path: Path):
    from promptkd.engine.command import main

    words = ["--root", str(tmp_path), "--trainer", "ZeroshotCLIP", "--dataset-config-file"]
    words += ["configs/datasets/emoji.yaml", "--config-file", "configs/trainers/ZeroshotCLIP/mini.yaml"]
    main([*words, "--output-dir", str(tmp_path / "run"), "TEST.OUTSIDE", "shipped"])
    found = result(tmp_path / "run")
    assert found["other_data"] == {"source": "shipped", "images": 337}
    assert found["metrics"]["all"]["images"] == 405 and 50 < found["metrics"]["all"]["auroc_other_data"] < 100


def test_a_run_records_them(run, tmp_path: Path):
    words = [*BASE, *METHODS["CoOp"].words("CoOp")]
    run("CoOp", tmp_path, *words, "TEST.TEMPERATURE", "True")
    found = result(tmp_path)
    for group in ("base", "new"):
        assert {"ece", "brier", "auroc_outside"} <= found["metrics"][group].keys()
    assert 0.05 <= found["temperature"]["value"] <= 20 and found["temperature"]["images"] > 0
