"""Every method that has class vectors leaves the repository: as a folder, and as an .onnx file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import KD, METHODS

import promptkd
from promptkd.deploy import export
from promptkd.deploy.exporting.pictures import made_up
from promptkd.deploy.opening import open_classifier

UPL = ["TRAINER.UPL.N_CTX", "3", "TRAINER.UPL.SHOTS", "2", "TRAINER.UPL.PREC", "fp32"]
TFUPT = ["TRAINER.TFUPT.PREC", "fp32", "TRAINER.TFUPT.WARMUP_EPOCHS", "0", "OPTIM.NAME", "adamw", "OPTIM.LR", "0.01"]
TFUPT += ["TRAINER.TFUPT.THRESHOLD", "0.2", "TRAINER.TFUPT.SHOTS", "2", "TRAINER.TFUPT.TRAINING_SHOTS", "3"]
FEATURES = ["TRAINER.PROMPTKD.MODE", "features", "TRAINER.PROMPTKD.PROJECTOR", "residual"]
FEATURES += ["TRAINER.PROMPTKD.PROJECTOR_START", "ridge"]
SUPERVISED = sorted(METHODS.keys() - {"CoCoOp"})
OTHERS = ["CoOp_KDPL", "PromptKD", "PromptKD on features", "TFUPT", "UPL", "UPL ensemble", "ZeroshotCLIP"]
PICTURES = [picture for _, picture in made_up()]


@pytest.fixture
def finished(run, clips, tmp_path: Path):
    """`finished(method)` -> the directory of a tiny run of it."""

    def train(method: str) -> Path:
        words = {
            "CoOp_KDPL": [*METHODS["CoOp"].words("CoOp"), "TRAINER.KDPL.TEACHER", clips["teacher"]],
            "PromptKD": [*KD, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAINER.MODAL", "cross"],
            "PromptKD on features": [*FEATURES, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAINER.MODAL", "cross"],
            "TFUPT": TFUPT,
            "UPL": UPL,
            "UPL ensemble": [*UPL, "TRAINER.UPL.MEMBERS", "3"],
            "ZeroshotCLIP": [],
        }
        trainer = method.split()[0]
        run(trainer, tmp_path / "run", *(words[method] if method in words else METHODS[method].words(method)), epochs=1)
        return tmp_path / "run"

    return train


@pytest.mark.parametrize("method", [*SUPERVISED, *OTHERS])
def test_a_folder_answers_as_its_run(finished, tmp_path, method):
    run = finished(method)
    assert export.main([str(run), str(tmp_path / "out"), "--format", "safetensors"]) == 0
    ours, copy = promptkd.load(run), promptkd.load(tmp_path / "out")
    assert copy.classnames == ours.classnames
    assert torch.equal(copy.probabilities(PICTURES), ours.probabilities(PICTURES))
    assert copy.model.spec.n_text == 0, "prompts of the text stay behind"
    learned = copy.model.prompts.state_dict()
    assert not [name for name in learned if name.startswith(("text_", "ctx", "projections")) and method != "TFUPT"]
    if method == "FAP":
        assert set(learned) == {f"vision_prompts.{block}" for block in range(3)}
    if method == "TFUPT":  # its adapter of image features is part of the image encoder
        plain = copy.model.clip.encode_image(torch.from_numpy(copy.pixels(PICTURES)))
        assert not torch.allclose(copy.features(PICTURES), plain, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["FAP", "MaPLe", "TFUPT", "PromptKD on features"])  # PromptKD: test_exports.py
def test_an_onnx_file_answers_as_its_run(finished, tmp_path, method):
    run = finished(method)
    assert export.main([str(run), str(tmp_path / "m.onnx"), "--format", "onnx"]) == 0
    ours, theirs = promptkd.load(run), open_classifier(tmp_path / "m.onnx")
    np.testing.assert_allclose(theirs.probabilities(PICTURES), ours.probabilities(PICTURES), atol=1e-5)
    np.testing.assert_allclose(theirs.features(PICTURES), ours.features(PICTURES), atol=1e-4)
