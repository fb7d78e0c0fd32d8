"""Files as upstream writes them are read without running them, ours are written for upstream, broken ones are named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from promptkd.deploy import export
from promptkd.engine import checkpoints


def upstream_file(path: Path, zipped: bool) -> Path:
    """A checkpoint of a trained upstream model: a pickled scheduler that holds an optimiser full of momentum."""
    weight = nn.Parameter(torch.randn(3, 4))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    for _ in range(2):
        weight.square().sum().backward()
        optimizer.step()
        scheduler.step()
    content = {
        "state_dict": {"prompt_learner.ctx": weight.data.half(), "prompt_learner.token_prefix": torch.zeros(2, 1, 4)},
        "epoch": 2,
        "optimizer": optimizer.state_dict(),
        "scheduler": {"successor": scheduler, "last_epoch": 2},
        "val_result": np.float64(81.5),
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_a_trained_upstream_checkpoint_is_read(tmp_path: Path, zipped: bool):
    content = checkpoints.read_checkpoint(upstream_file(tmp_path / "model.pth.tar-2", zipped))
    learned = checkpoints.from_published(content["state_dict"])
    assert set(learned) == {"ctx"} and learned["ctx"].shape == (3, 4) and learned["ctx"].abs().sum() > 0
    assert content["epoch"] == 2 and content["val_result"] is None


class Hostile:
    def __reduce__(self):
        return print, ("code of the file ran",)


def test_nothing_of_a_file_runs(tmp_path: Path, capsys: pytest.CaptureFixture):
    torch.save({"state_dict": {"ctx": torch.ones(1)}, "scheduler": Hostile()}, tmp_path / "x.pth.tar")
    assert checkpoints.read_checkpoint(tmp_path / "x.pth.tar")["scheduler"] is None
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("size", [0, 100, 900])
def test_a_cut_file_is_named(tmp_path: Path, size: int):
    whole = io.BytesIO()
    torch.save({"state_dict": {"ctx": torch.ones(64)}}, whole)
    (tmp_path / "cut.pth.tar").write_bytes(whole.getvalue()[:size])
    with pytest.raises(ValueError, match=r"cut.pth.tar cannot be read as a checkpoint .* Fetch it again"):
        checkpoints.read_checkpoint(tmp_path / "cut.pth.tar")


def test_export_writes_the_published_names(run, tmp_path: Path, capsys: pytest.CaptureFixture):
    words = ["TRAINER.IVLP.PROMPT_DEPTH_VISION", "2", "TRAINER.IVLP.PROMPT_DEPTH_TEXT", "2"]
    run("IVLP", tmp_path / "run", *words, epochs=1)
    assert export.main([str(tmp_path / "run")]) == 0
    file = tmp_path / "run" / "published" / "VLPromptLearner" / "model.pth.tar-1"
    assert f"--model-dir {tmp_path / 'run' / 'published'} --load-epoch 1" in capsys.readouterr().out
    content = torch.load(file, weights_only=True)
    assert set(content["state_dict"]) == {
        "prompt_learner.ctx",
        "image_encoder.VPT",
        "image_encoder.transformer.resblocks.1.VPT_shallow",
        "text_encoder.transformer.resblocks.1.VPT_shallow",
    }
    assert run("IVLP", tmp_path / "again", "--eval-only", f"--model-dir={file.parent.parent}", "--load-epoch=1", *words)
    assert export.main([str(tmp_path / "run")]) == 1
    assert "is there already" in capsys.readouterr().err
    run("ZeroshotCLIP", tmp_path / "zero")
    for directory, said in ((tmp_path / "zero", "learns nothing"), (tmp_path, "holds no run")):
        assert export.main([str(directory)]) == 1
        assert said in capsys.readouterr().err
