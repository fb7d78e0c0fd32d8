"""A finished run on single images, as its own evaluation sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import CLASSES
from tiny_runs import KD, SRC

from promptkd.deploy import export, predict


@pytest.mark.parametrize("trainer", ["PromptKD", "PromptSRC", "ZeroshotCLIP"])
def test_predictions_add_up_to_the_evaluation(run, clips, data_root, tmp_path, capsys, trainer):
    words = {"PromptKD": [*KD, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAINER.MODAL", "cross"]}
    words["PromptSRC"] = [*SRC, "DATASET.SUBSAMPLE_CLASSES", "all"]
    accuracy = run(trainer, tmp_path, *words.get(trainer, []), epochs=1)
    split = json.loads((Path(data_root) / "eurosat" / "split_zhou_EuroSAT.json").read_text())["test"]
    images = [str(Path(data_root) / "eurosat" / "2750" / path) for path, _, _ in split]
    capsys.readouterr()
    assert predict.main([str(tmp_path), *images, "--json", "--top", "2"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    right = sum(entry["top"][0]["class"] == name for entry, (_, _, name) in zip(found, split, strict=True))
    assert 100 * right / len(split) == pytest.approx(accuracy)
    assert all(entry["top"][0]["probability"] >= entry["top"][1]["probability"] for entry in found)


def test_classes_images_and_runs_that_are_not_there(run, tmp_path, data_root, capsys):
    run("ZeroshotCLIP", tmp_path)
    image = str(next((Path(data_root) / "eurosat" / "2750" / "River").iterdir()))
    assert predict.main([str(tmp_path), image, "--classes", *CLASSES[:2]]) == 0
    assert "River" not in capsys.readouterr().out.replace(image, "")
    (tmp_path / "text.jpg").write_text("no image")
    assert predict.main([str(tmp_path), str(tmp_path / "text.jpg"), image]) == 1
    shown = capsys.readouterr()
    assert "cannot read the image" in shown.err and "text.jpg" in shown.err and image in shown.out
    assert predict.main([str(tmp_path), image, "--classes", "Rivers"]) == 1
    assert "closest: 'River'" in capsys.readouterr().err
    assert predict.main([str(tmp_path / "nothing"), image]) == 1
    assert "holds no run" in capsys.readouterr().err


def test_words_that_mean_nothing_are_one_line(run, tmp_path, data_root, capsys):
    """shared/cases/predict-top-negative, and its kin."""
    run("ZeroshotCLIP", tmp_path / "run")
    image = str(next((Path(data_root) / "eurosat" / "2750" / "River").iterdir()))
    (tmp_path / "empty").mkdir()
    capsys.readouterr()
    for words, message in (
        ([image, "--top", "-1"], "--top -1: give 1 or more"),
        ([image, "--top", "0"], "--top 0: give 1 or more"),
        ([image, "--classes", "River", "Forest", "River"], "--classes names 'River' twice"),
        ([image, "--classes", "Lake"], "no class vector for 1 of 1 classes, first 'Lake'"),
        ([image, "--device", "gpu"], "--device 'gpu' is no device: give cpu, cuda, cuda:N or mps"),
        ([image, "--device", "meta"], "--device meta: give cpu, cuda"),
        ([image, "--device", "cpu:3"], "--device cpu:3: PyTorch sees 1 here"),
        ([image, str(tmp_path / "nowhere.png")], "No such file"),
        ([str(tmp_path / "empty")], "a folder without images"),
    ):
        assert predict.main([str(tmp_path / "run"), *words]) == 1, words
        shown = capsys.readouterr()
        good = [line for line in shown.out.splitlines() if "River" in line or "class" in line]
        assert message in shown.err and len(shown.err.splitlines()) == 1, words
        assert bool(good) == (words[-1].endswith("nowhere.png")), "the images that are there are classified"
    assert export.main([str(tmp_path / "run"), "--epoch", "0"]) == 1
    assert capsys.readouterr().err == "error: --epoch 0: epochs are counted from 1\n"
