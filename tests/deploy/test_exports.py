"""Exported folders and files answer as the run that they come from."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import KD

import promptkd
from promptkd import files
from promptkd.deploy import export, export_folder
from promptkd.deploy.onnx_classifier import OnnxClassifier
from promptkd.deploy.opening import open_classifier


@pytest.fixture(scope="module")
def student(run, clips, tmp_path_factory) -> Path:
    """The directory of a PromptKD run."""
    directory = tmp_path_factory.mktemp("student")
    words = [*KD, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAINER.MODAL", "cross"]
    run("PromptKD", directory, *words, epochs=1)
    return directory


def pictures() -> list[Image.Image]:
    """Smooth pictures of several sizes and modes."""
    rng = np.random.default_rng(5)
    sizes = [(40, 36), (97, 33), (31, 120), (64, 64)]
    rgb = [Image.fromarray(rng.integers(0, 255, (5, 4, 3), np.uint8)).resize(size) for size in sizes]
    return [*rgb, *(rgb[1].convert(mode) for mode in ("L", "CMYK", "P", "RGBA"))]


@pytest.mark.parametrize("slim", [False, True])
def test_a_folder_answers_as_its_run(student, clips, tmp_path, monkeypatch, slim):
    words = [str(student), str(tmp_path / "out"), "--format", "safetensors", *(["--slim"] if slim else [])]
    assert export.main(words) == 0
    assert (tmp_path / "out" / "encoder.safetensors").is_file() != slim
    if not slim:  # a self-contained one needs no weights by name
        monkeypatch.setattr("promptkd.model.zoo.load_clip", None)
    copy = promptkd.load(tmp_path / "out")
    monkeypatch.undo()
    whole = promptkd.load(student)
    assert copy.classnames == whole.classnames and copy.preprocessing == whole.preprocessing
    assert torch.equal(copy.probabilities(pictures()), whole.probabilities(pictures()))
    assert torch.equal(copy.features(pictures()), whole.features(pictures()))
    assert copy.about["trainer"] == "PromptKD" and copy.about["dataset"] == "EuroSAT"


def test_an_onnx_file_answers_as_its_run(student, tmp_path):
    assert export.main([str(student), str(tmp_path / "m.onnx"), "--format", "onnx"]) == 0
    ours, theirs = promptkd.load(student), open_classifier(tmp_path / "m.onnx")
    assert isinstance(theirs, OnnxClassifier) and theirs.about["trainer"] == "PromptKD"
    assert theirs.classnames == ours.classnames and theirs.preprocessing == ours.preprocessing
    for images in (pictures(), pictures()[:1]):
        np.testing.assert_allclose(theirs.probabilities(images), ours.probabilities(images), atol=1e-5)
        np.testing.assert_allclose(theirs.features(images), ours.features(images), atol=1e-4)
    assert theirs.predict(pictures()[0], 2)[0][0] == ours.predict(pictures()[0], 2)[0][0]
    for one in (ours, theirs):
        one.restrict(["River", "Forest"])
    np.testing.assert_allclose(theirs.probabilities(pictures()), ours.probabilities(pictures()), atol=1e-5)


def test_damage_is_one_line(student, tmp_path, capsys):
    folder, file = tmp_path / "folder", tmp_path / "m.onnx"
    assert export.main([str(student), str(folder), "--format", "safetensors"]) == 0
    assert export.main([str(student), str(folder), "--format", "safetensors"]) == 1
    assert "is there already" in capsys.readouterr().err
    content = bytearray((folder / "prompts.safetensors").read_bytes())
    content[-3] ^= 1
    (folder / "prompts.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="prompts.safetensors is damaged"):
        promptkd.load(folder)
    assert export.main([str(student), str(file), "--format", "onnx"]) == 0
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="m.onnx is damaged"):
        open_classifier(file)
    file.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="does not end in its hash"):
        open_classifier(file)
    unfinished = tmp_path / "unfinished"
    shutil.copytree(student, unfinished)
    (unfinished / "results.json").unlink()
    capsys.readouterr()
    assert export.main([str(unfinished), str(tmp_path / "x"), "--format", "safetensors"]) == 1
    assert "is not finished: it has no results.json" in capsys.readouterr().err
    assert not (tmp_path / "x").exists() and not list(tmp_path.glob(".*"))


def test_a_description_of_another_kind(student, tmp_path):
    assert export.main([str(student), str(tmp_path / "f"), "--format", "safetensors"]) == 0
    good = json.loads((tmp_path / "f" / export_folder.DESCRIPTION).read_text())
    for field, value, message in (
        ("format", 2, "of format 2"),
        ("spec", [], "spec is \\[\\], no mapping"),
        ("preprocessing", good["preprocessing"] | {"resize": 0}, "preprocessing.resize is 0"),
        ("preprocessing", good["preprocessing"] | {"std": [0, 1, 1]}, "deviations are above 0"),
        ("classes", ["A"], "name other classes"),
        ("architecture", {"model_cfg": {}}, "vision_cfg"),
        ("spec", good["spec"] | {"n_vision": 7}, "n_vision of its spec is 7"),
        ("files", {"../x": "0"}, "none of ours"),
    ):
        (tmp_path / "f" / export_folder.DESCRIPTION).write_text(json.dumps(good | {field: value}))
        with pytest.raises(ValueError, match=message):
            promptkd.load(tmp_path / "f")


def test_a_slim_folder_wants_the_weights_that_it_was_made_with(student, tmp_path):
    assert export.main([str(student), str(tmp_path / "f"), "--format", "safetensors", "--slim"]) == 0
    path = tmp_path / "f" / export_folder.DESCRIPTION
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"encoder": {"included": False, "weights": "0123456789abcdef"}}))
    with pytest.raises(ValueError, match="is slim and wants the image encoder 0123456789abcdef"):
        promptkd.load(tmp_path / "f")


def test_a_folder_that_fails_half_way_is_not_there(tmp_path):
    with pytest.raises(OSError, match="cannot write f in .*free space on that disk"):
        with files.new_folder(tmp_path / "f") as folder:
            (folder / "part").write_text("x")
            raise OSError(errno.ENOSPC, "No space left on device", str(folder / "part"))
    assert not list(tmp_path.iterdir())
