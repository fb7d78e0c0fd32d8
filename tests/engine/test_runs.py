"""Runs read back without their method, those of versions before prompts.json too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import result
from tiny_runs import KD, SRC

from promptkd.deploy import predict
from promptkd.engine.runs import read_run
from promptkd.model.saved import SPEC_FILE
from promptkd.teacher.teacher import load_teacher

METHODS = {
    "PromptSRC": SRC,
    "CoOp": ["TRAINER.COOP.CTX_INIT", "a_photo_of_a", "TRAINER.COOP.CLASS_TOKEN_POSITION", "middle"],
    "VPT": ["TRAINER.VPT.PROMPT_DEPTH_VISION", "2"],
    "MaPLe": ["TRAINER.MAPLE.PROMPT_DEPTH", "2"],
}


@pytest.mark.parametrize("trainer", METHODS)
def test_a_run_of_an_earlier_version_is_the_same_model(run, clips, data_root, tmp_path: Path, trainer, capsys):
    run(trainer, tmp_path / "run", "DATASET.NUM_SHOTS", "2", *METHODS[trainer], epochs=1)
    before = read_run(tmp_path / "run")
    images = torch.randn(2, 3, 32, 32)
    teacher = load_teacher(str(tmp_path / "run"), ["River", "Forest"])
    with torch.no_grad():
        logits, told = before.model().logits(images), teacher.logits(images)
    next((tmp_path / "run").glob(f"*/{SPEC_FILE}")).unlink()
    after = read_run(tmp_path / "run")
    assert after.spec.build is not None and after.model().prompts.template == before.model().prompts.template
    with torch.no_grad():
        assert torch.equal(after.model().logits(images), logits)
        assert torch.equal(load_teacher(str(tmp_path / "run"), ["River", "Forest"]).logits(images), told)
    picture = str(next(Path(data_root).rglob("*.jpg")))
    assert predict.main([str(tmp_path / "run"), picture]) == 0 and picture in capsys.readouterr().out
    words = ["--eval-only", f"--model-dir={tmp_path / 'run'}", "DATASET.NUM_SHOTS", "2", *METHODS[trainer]]
    run(trainer, tmp_path / "again", *words)
    assert result(tmp_path / "again")["metrics"] == result(tmp_path / "run")["metrics"]


def test_what_is_no_run_is_one_line(run, clips, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        read_run(tmp_path)
    run("PromptKD", tmp_path / "kd", "TRAINER.PROMPTKD.TEACHER", clips["teacher"], *KD, epochs=1)
    with pytest.raises(ValueError, match="has no text encoder to make class vectors with"):
        load_teacher(str(tmp_path / "kd"), ["River", "Forest"])
    (tmp_path / "kd" / "config.yaml").write_text("TRAINER: [")
    with pytest.raises(ValueError, match="config.yaml is broken"):
        read_run(tmp_path / "kd")
