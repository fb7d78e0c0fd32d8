"""Numbers that are not finite: nothing is measured or kept with them, and a line says where and what to try."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import result
from tiny_runs import BASE, KD, METHODS, SRC, learned
from torch import nn

from promptkd.engine import checkpoints, keys
from promptkd.engine.callbacks import AveragedPrompts
from promptkd.engine.checkpointer import not_finite
from promptkd.engine.evaluator import check_logits
from promptkd.engine.limits import Limits
from promptkd.engine.step import Step


@pytest.fixture
def spoil(monkeypatch):
    """`spoil(step, value)`: after that step of the run something that is learned has this value; its loss is finite."""

    def install(last: int, value: float, name: str = "") -> None:
        taken: list[int] = []
        take = Step.take

        def spoilt(self, batch, optimizer):
            losses = take(self, batch, optimizer)
            taken.append(1)
            if len(taken) == last:
                tensors = self.model.prompts.state_dict()
                tensor = tensors[name] if name else next(iter(tensors.values()))
                tensor.view(-1)[0] = value
            return losses

        monkeypatch.setattr(Step, "take", spoilt)

    return install


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("trainer", ["CoOp", "MaPLe", "VPT"])
def test_a_step_that_ends_badly_costs_its_epoch(run, tmp_path, spoil, trainer, value):
    words = [*BASE, *METHODS[trainer].words(trainer), "TRAIN.CHECKPOINT_FREQ", "1"]
    spoil(6, value)  # three steps an epoch
    with pytest.raises(FloatingPointError, match=r"epoch 2 of 3, step 3 of 3: .* the checkpoint before it stays"):
        run(trainer, tmp_path, *words, epochs=3)
    folder = tmp_path / METHODS[trainer].folder
    assert list(checkpoints.numbered(folder)) == [1] and not (tmp_path / "results.json").exists()
    assert not not_finite(checkpoints.read_checkpoint(folder / "model.pth.tar-1"))
    run(trainer, tmp_path, *words, epochs=3)  # the fault is gone: it goes on
    assert list(checkpoints.numbered(folder)) == [1, 2, 3] and "hm" in result(tmp_path)["metrics"]


def test_running_statistics_of_a_student_count(run, clips, tmp_path, spoil):
    spoil(7, float("inf"), "projector.1.running_var")
    with pytest.raises(FloatingPointError, match=r"epoch 1 of 1, step 7 of 7: projector.1.running_var is infinite"):
        run("PromptKD", tmp_path, *KD, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], epochs=1)
    assert not list(tmp_path.rglob("*.pth.tar*"))


def test_the_best_epoch_is_not_a_bad_one(run, tmp_path, spoil):
    spoil(6, float("nan"))
    words = [*BASE, *METHODS["CoOp"].words("CoOp"), "TEST.FINAL_MODEL", "best_val", "TRAIN.CHECKPOINT_FREQ", "1"]
    with pytest.raises(FloatingPointError, match="epoch 2 of 3"):
        run("CoOp", tmp_path, *words, epochs=3)
    assert checkpoints.read_checkpoint(tmp_path / "prompt_learner" / "model-best.pth.tar")["epoch"] == 1


def test_a_mean_over_epochs_that_overflows(run, tmp_path, monkeypatch):
    after = AveragedPrompts.after_epoch

    def spoilt(self, epoch):
        after(self, epoch)
        next(iter(self.mean.values())).view(-1)[0] = float("inf")

    monkeypatch.setattr(AveragedPrompts, "after_epoch", spoilt)
    with pytest.raises(FloatingPointError, match="epoch 1 of 2, step 3 of 3: averaged"):
        run("PromptSRC", tmp_path, *SRC)


def test_a_rate_that_is_too_high_ends_in_one_line(run, tmp_path, monkeypatch):
    monkeypatch.setitem(keys.KEYS, "OPTIM.LR", keys.Key("any rate", Limits()))
    words = [*BASE, *METHODS["VPT"].words("VPT"), "OPTIM.LR", "1e38", "OPTIM.WARMUP_EPOCH", "0"]
    with pytest.raises(FloatingPointError, match=r"^epoch \d of 2, step \d of 3: .*Lower OPTIM.LR .1e.38"):
        run("VPT", tmp_path, *words)
    assert not (tmp_path / "results.json").exists()


def test_an_evaluation_of_what_is_not_finite_measures_nothing(run, tmp_path, monkeypatch):
    words = [*BASE, *METHODS["VPT"].words("VPT")]
    run("VPT", tmp_path / "run", *words, epochs=1)
    (tmp_path / "run" / "results.json").unlink()
    monkeypatch.setattr(nn.Module, "load_state_dict", _loads_nan)
    with pytest.raises(FloatingPointError, match="logits of .* images are infinite or NaN, first of .*jpg: nothing is"):
        run("VPT", tmp_path / "again", "--eval-only", f"--model-dir={tmp_path / 'run'}", *words)
    assert not (tmp_path / "again" / "results.json").exists()


def _loads_nan(self, state, strict=True, assign=False, load=nn.Module.load_state_dict):
    loaded = load(self, state, strict, assign)
    with torch.no_grad():
        for value in self.parameters():
            value.fill_(float("nan"))
    return loaded


def test_logits_of_one_image_count():
    logits = torch.zeros(3, 4)
    check_logits(["a", "b", "c"], logits)
    logits[1, 2] = -float("inf")
    with pytest.raises(FloatingPointError, match="logits of 1 of 3 images are infinite or NaN, first of b"):
        check_logits(["a", "b", "c"], logits)


def test_every_tensor_of_a_state_is_looked_at():
    state = {"a": torch.ones(2), "b": [{"c": torch.tensor([1.0, float("nan")])}, 3], "n": torch.tensor(7), "e": None}
    assert not_finite(state) == ["b.0.c"] and not_finite({"n": 1}) == []
    assert not_finite({"half": torch.tensor([65504.0], dtype=torch.float16) * 2}) == ["half"]


def test_a_checkpoint_loads_as_dassls_do(run, tmp_path):
    from dassl.utils import load_checkpoint

    run("PromptSRC", tmp_path, *SRC, epochs=1)
    folder = Path(tmp_path) / "VLPromptLearner"
    assert (folder / "checkpoint").read_text() == "model.pth.tar-1\n"
    assert load_checkpoint(str(folder / "model.pth.tar-1"))["state_dict"].keys() == learned(tmp_path, 1).keys()
