"""Every form of an export, and its check against the run before it gets its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tiny_runs import KD, METHODS

import promptkd
from promptkd.data.images import upright
from promptkd.deploy import export
from promptkd.deploy.exporting.checking import Comparison
from promptkd.deploy.exporting.pictures import made_up
from promptkd.deploy.opening import open_classifier
from promptkd.deploy.preprocessing import Preprocessing, transform_of_run
from promptkd.results.directory import read_configuration


@pytest.fixture(scope="module")
def student(run, clips, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("student")
    words = [*KD, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAINER.MODAL", "cross"]
    run("PromptKD", directory, *words, epochs=1)
    return directory


def test_an_onnx_file_of_any_size(student, tmp_path, capsys):
    file = tmp_path / "any.onnx"
    assert export.main([str(student), str(file), "--format", "onnx", "--dynamic-size", "--opset", "19"]) == 0
    assert "15 of 15" in capsys.readouterr().out  # test images
    session = onnxruntime.InferenceSession(str(file))
    ours = promptkd.load(student)
    for what, picture in made_up():
        pixels = np.asarray(upright(picture))[None]
        got = session.run(["probabilities"], {"images": pixels})[0]
        np.testing.assert_allclose(got, ours.probabilities([picture]), atol=0.01, err_msg=what)
    np.testing.assert_allclose(open_classifier(file).probabilities([picture]), ours.probabilities([picture]), atol=1e-5)


@pytest.mark.parametrize(
    "words",
    [
        ["--int8", "dynamic"],
        pytest.param(["--int8", "static"], marks=pytest.mark.slow),
        pytest.param(["--fp16"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_smaller_numbers(student, tmp_path, words):
    """Tiny random models have near ties: what is asked here is that the probabilities stay near."""
    file = tmp_path / "small.onnx"
    assert export.main([str(student), str(file), "--format", "onnx", *words, "--least-agreement", "60"]) == 0
    pictures = [picture for _, picture in made_up()]
    ours, theirs = promptkd.load(student), open_classifier(file)
    np.testing.assert_allclose(theirs.probabilities(pictures), ours.probabilities(pictures), atol=0.05)
    weights = sum(value.numel() for value in ours.model.clip.visual.state_dict().values())
    assert file.stat().st_size < 4 * weights + 60_000, "a graph has some kilobytes, and float32 four bytes a weight"


@pytest.mark.slow
def test_a_program_of_torch(student, tmp_path):
    assert export.main([str(student), str(tmp_path / "m.pt2"), "--format", "torch"]) == 0
    module = torch.export.load(tmp_path / "m.pt2").module()
    ours = promptkd.load(student)
    pictures = [picture for _, picture in made_up()]
    pixels = torch.from_numpy(ours.preprocessing.batch(pictures))
    for count in (1, 3):
        probabilities, features, _ = module(pixels[:count])
        torch.testing.assert_close(probabilities, ours.probabilities(pictures[:count]), atol=1e-5, rtol=0)
        torch.testing.assert_close(features, ours.features(pictures[:count]), atol=1e-4, rtol=1e-4)


def test_a_disagreement_leaves_nothing(student, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("promptkd.model.deployed.DeployedModel.normalized", lambda self, pixels: pixels * 3)
    assert export.main([str(student), str(tmp_path / "m.onnx"), "--format", "onnx"]) == 1
    shown = capsys.readouterr()
    assert "the export disagrees with the run" in shown.err and len(shown.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_cocoop_is_refused(run, tmp_path, capsys):
    run("CoCoOp", tmp_path / "run", *METHODS["CoCoOp"].words("CoCoOp"), epochs=1)
    capsys.readouterr()
    for kind in ("safetensors", "onnx", "torch"):
        assert export.main([str(tmp_path / "run"), "--format", kind]) == 1
        error = capsys.readouterr().err
        assert "is a run of CoCoOp" in error and "no class vectors" in error and len(error.splitlines()) == 1


def test_words_that_do_not_go_together(student, tmp_path, capsys, monkeypatch):
    for words, message in (
        (["--slim", "--format", "onnx"], "--slim is for --format safetensors, not onnx"),
        (["--int8", "--format", "torch"], "--int8 is for --format onnx or web, not torch"),
        (["--int8", "--fp16", "--format", "onnx"], "give one of them"),
        (["--opset", "9", "--format", "onnx"], "--opset 9: PyTorch writes 18 to 23"),
        (["--opset", "99", "--format", "onnx"], "--opset 99: PyTorch writes 18 to 23"),
        (["--calibration", "x", "--format", "onnx"], "only --int8 static"),
        (["--least-agreement", "101", "--format", "onnx"], "a percentage"),
        (["--images", str(tmp_path / "none"), "--format", "safetensors"], "cannot read the image"),
    ):
        assert export.main([str(student), str(tmp_path / "out"), *words]) == 1, words
        error = capsys.readouterr().err
        assert message in error and len(error.splitlines()) == 1, words
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert export.main([str(student), str(tmp_path / "out"), "--format", "onnx"]) == 1
    assert "pip install 'promptkd[onnx]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_data_that_have_gone(student, tmp_path, capsys):
    """The check falls back on made-up pictures, and says so; --images gives it others."""
    words = [str(student), str(tmp_path / "a"), "--format", "safetensors"]
    assert export.main([*words, "--data", str(tmp_path)]) == 1
    capsys.readouterr()
    picture = next(iter(made_up()))[1]
    picture.save(tmp_path / "picture.png")
    assert export.main([*words, "--images", str(tmp_path / "picture.png")]) == 0
    assert "1 of 1" in capsys.readouterr().out


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
def test_preprocessing_is_torchvisions(student, interpolation):
    """To the bit, for every size and mode: Pillow and NumPy against the transform of the evaluation."""
    config = read_configuration(student)
    config.INPUT.INTERPOLATION = interpolation
    for size in ([32, 32], [24, 40], [33, 32]):
        config.INPUT.SIZE = size
        for transforms in (["normalize"], [], ["normalize", "instance_norm"]):
            config.INPUT.TRANSFORMS = transforms
            ours, theirs = Preprocessing.of_run(config), transform_of_run(config)
            for what, picture in made_up():
                wanted = theirs(upright(picture))
                assert ours.pixels(picture).shape == (*size, 3)
                assert torch.allclose(ours.tensor(picture), wanted, atol=1e-6, rtol=0), (what, size)
    pixels = Preprocessing((32, 32), 32, interpolation, (0.0,) * 3, (1.0,) * 3).pixels(picture)
    config.INPUT.update({"SIZE": [32, 32], "TRANSFORMS": []})
    assert np.array_equal(pixels, (transform_of_run(config)(upright(picture)) * 255).round().byte().permute(1, 2, 0))


def test_a_comparison_counts():
    comparison = Comparison()
    ours = np.array([[0.6, 0.4], [0.5, 0.5], [0.2, 0.8]], np.float32)
    theirs = np.array([[0.4, 0.6], [0.499999, 0.500001], [0.2, 0.8]], np.float32)
    comparison.add(ours, theirs, ["A", "", "B"], ["A", "B"])
    assert (comparison.images, comparison.agreeing, comparison.ties) == (3, 1, 1)
    assert comparison.largest == pytest.approx(0.2) and comparison.accuracies == (100.0, 50.0)
