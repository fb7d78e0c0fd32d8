"""A run with a temperature (TEST.TEMPERATURE True): every form of it divides its logits, and thresholds fit it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import KD

import promptkd
from promptkd.deploy import export, export_folder, predict
from promptkd.deploy.exporting.pictures import made_up
from promptkd.deploy.opening import open_classifier
from promptkd.deploy.rejection import Rejection, scores

T = 2.5
PICTURES = [picture for _, picture in made_up()]


@pytest.fixture
def student(run, clips, tmp_path: Path) -> Path:
    """A run whose temperature is set to 2.5 after it was fitted."""
    words = [*KD, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAINER.MODAL", "cross"]
    run("PromptKD", tmp_path / "run", *words, "TEST.TEMPERATURE", "True", epochs=1)
    change(tmp_path / "run", lambda found: found["temperature"].update(value=T))
    return tmp_path / "run"


def change(run: Path, how) -> None:
    found = json.loads((run / "results.json").read_text())
    how(found)
    (run / "results.json").write_text(json.dumps(found))


@pytest.fixture
def wanted(student) -> torch.Tensor:
    """Probabilities of the pictures: the softmax of what the run without its temperature says, divided by it."""
    change(student, lambda found: found.pop("temperature"))
    plain = promptkd.load(student)
    change(student, lambda found: found.update(temperature={"value": T}))
    assert plain.temperature == 1.0
    probabilities = (plain.logits(PICTURES) / T).softmax(dim=-1)
    assert (probabilities - plain.probabilities(PICTURES)).abs().max() > 0.01, "a difference that could be seen"
    return probabilities


def test_a_run_and_its_folder_divide_their_logits(student, wanted, tmp_path, capsys):
    assert export.main([str(student), str(tmp_path / "folder"), "--format", "safetensors"]) == 0
    PICTURES[0].save(tmp_path / "picture.png")
    for place in (student, tmp_path / "folder"):
        model = promptkd.load(place)
        assert model.temperature == T
        torch.testing.assert_close(model.probabilities(PICTURES), wanted, atol=1e-6, rtol=0)
        capsys.readouterr()
        assert predict.main([str(place), str(tmp_path / "picture.png"), "--json", "--top", "1"]) == 0
        shown = json.loads(capsys.readouterr().out)["top"][0]["probability"]
        assert shown == pytest.approx(float(wanted[0].max()), abs=1e-5)
    assert promptkd.load(student, epoch=1).temperature == 1.0, "it was fitted on what the run ended with"


@pytest.mark.slow
def test_graphs_divide_their_logits(student, wanted, tmp_path, capsys):
    assert export.main([str(student), str(tmp_path / "m.onnx"), "--format", "onnx"]) == 0
    copy = open_classifier(tmp_path / "m.onnx")
    assert copy.temperature == T
    np.testing.assert_allclose(copy.probabilities(PICTURES), wanted, atol=1e-5)
    assert export.main([str(student), str(tmp_path / "m.pt2"), "--format", "torch"]) == 0
    module = torch.export.load(tmp_path / "m.pt2").module()
    got = module(torch.from_numpy(promptkd.load(student).preprocessing.batch(PICTURES)))[0]
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


def test_a_threshold_belongs_to_its_temperature(student, tmp_path):
    assert predict.main([str(student), "--reject", "energy"]) == 0
    stored, ours = Rejection.read(student), promptkd.load(student)
    assert stored is not None and stored.temperature == T and ours.rejection == stored
    change(student, lambda found: found["temperature"].update(value=1.0))
    plain = promptkd.load(student)
    assert plain.rejection is None, "a threshold of other logits is none"
    np.testing.assert_allclose(
        stored.scores(ours.logits(PICTURES).numpy()), scores(plain.logits(PICTURES).numpy() / T, "energy"), rtol=1e-5
    )
    older = {key: value for key, value in stored.to_dict().items() if key != "temperature"}
    assert Rejection.from_dict(older).temperature == 1.0


def test_a_temperature_that_is_none(student, tmp_path):
    folder = tmp_path / "folder"
    assert export.main([str(student), str(folder), "--format", "safetensors"]) == 0
    path = folder / export_folder.DESCRIPTION
    description = json.loads(path.read_text())
    for value in (0, -1, "2", None, True, 1e9):
        path.write_text(json.dumps(description | {"temperature": value}))
        with pytest.raises(ValueError, match=r"model.json is broken: temperature.value is .*, no number above 0"):
            promptkd.load(folder)
        change(student, lambda found, value=value: found.update(temperature={"value": value}))
        with pytest.raises(ValueError, match=r"results.json is broken: temperature.value is"):
            promptkd.load(student)
