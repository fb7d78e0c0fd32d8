"""PromptKD's student with another projector, a closed-form start, a mean over steps, another mean of its loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import result
from tiny_runs import KD, learned, same_bits
from torch.nn import functional as F

from promptkd.deploy.classifier import Classifier
from promptkd.engine.callbacks import MovingMean
from promptkd.model.projector import ResidualProjector
from promptkd.model.prompts import StudentPrompts
from trainers.promptkd import PromptKD

OPTION = "TRAINER.PROMPTKD."
RIDGE = {"PROJECTOR": "residual", "PROJECTOR_START": "ridge", "RIDGE": "0.1"}


@pytest.fixture
def distil(run, clips, tmp_path) -> Callable[..., tuple[dict, dict]]:
    """`distil(name, *words, KEY=value)`: results and last weights of a student that is trained in such a folder."""

    def call(name: str, *words: str, epochs: int = 2, **options: Any) -> tuple[dict, dict]:
        options = {"TEACHER": clips["teacher"], "EVALUATE_TEACHER": "False"} | options
        named = [word for key, value in options.items() for word in (OPTION + key, str(value))]
        run("PromptKD", tmp_path / name, *KD, *named, "DATALOADER.TRAIN_X.BATCH_SIZE", "6", *words, epochs=epochs)
        return result(tmp_path / name), {} if "--eval-only" in words else learned(tmp_path / name, epochs)

    return call


def stop_at(monkeypatch, step: int) -> None:
    """Ctrl-C in that step of a run, counted from 0."""
    steps, take = iter(range(1000)), PromptKD.forward_backward

    def stop(self, batch):
        if next(steps) == step:
            raise KeyboardInterrupt
        return take(self, batch)

    monkeypatch.setattr(PromptKD, "forward_backward", stop)


def test_a_batch_mean_is_the_published_one_with_a_weight_for_each_class(distil, tmp_path):
    _, published = distil("published", KD_WEIGHT=50)
    found, batch = distil("batch", KD_WEIGHT=10, KD_MEAN="batch")  # of 5 classes
    assert published.keys() == batch.keys()
    for name, value in published.items():
        torch.testing.assert_close(batch[name], value, rtol=1e-3, atol=1e-5)
    assert found["settings"][OPTION + "KD_MEAN"] == "batch"


def test_a_student_in_closed_form(distil, monkeypatch, tmp_path, capsys):
    """Before the first step its features are near the teacher's; then it learns, and is deployed."""
    close: list[float] = []
    begin = PromptKD.before_epoch

    def compare(self):
        if self.epoch == 0:
            prompts, teaching = self.model.prompts, self.teaching
            assert isinstance(prompts, StudentPrompts) and isinstance(prompts.projector, ResidualProjector)
            with torch.no_grad():
                for batch in self.task.training_images_in_order():
                    mine = self.model.prompts.projector.linear(prompts.unprojected(self.model.clip, batch["img"]))
                    close.extend(F.cosine_similarity(mine, teaching.teacher.image_features(batch["img"])).tolist())
        begin(self)

    monkeypatch.setattr(PromptKD, "before_epoch", compare)
    found, weights = distil("ridge", **RIDGE)
    assert len(close) == 30 and sum(close) / 30 > 0.9
    assert "Projector: started by ridge regression over 30 views (RIDGE 0.1)" in capsys.readouterr().out
    assert found["settings"][OPTION + "RIDGE"] == 0.1 and weights["projector.mlp.3.weight"].any()
    deployed = Classifier(tmp_path / "ridge")
    assert deployed.model.spec.projector == "residual"
    again = distil("again", **RIDGE)[1]
    assert same_bits(again, weights)
    evaluated, _ = distil("evaluated", "--eval-only", "MODEL_DIR", str(tmp_path / "ridge"), **RIDGE)
    assert evaluated["metrics"] == found["metrics"]
    close.clear()
    _, still = distil("still", "OPTIM.LR", "1e-9", "OPTIM.WARMUP_EPOCH", "0", **RIDGE)
    _, large = distil("large", "OPTIM.LR", "1e-9", "OPTIM.WARMUP_EPOCH", "0", **RIDGE, RIDGE_SCALE=10)
    torch.testing.assert_close(
        large["projector.linear.bias"], 10 * still["projector.linear.bias"], rtol=1e-4, atol=1e-4
    )
    assert sum(close[:30]) == pytest.approx(sum(close[30:]), rel=1e-4)
    close.clear()
    distil("other", PROJECTOR="residual")
    assert sum(close) / 30 < 0.5


def test_a_resumed_run_does_not_start_over(distil, monkeypatch):
    options = {**RIDGE, "EMA": 0.9}
    _, expected = distil("whole", **options)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, 7)  # of 5 in an epoch
        distil("broken", **options)
    assert same_bits(distil("broken", **options)[1], expected)


def test_moving_mean_against_a_loop():
    """Every tensor, BatchNorm's statistics too; whole numbers stay."""
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    mean, history = MovingMean(module, 0.8, 2), []
    for step in range(7):
        module(torch.randn(4, 2)).square().sum().backward()
        torch.optim.SGD(module.parameters(), 0.1).step()
        history.append({name: value.clone() for name, value in module.state_dict().items()})
        mean.after_step()
        if step == 3:  # a resumed run
            state = mean.state()
            mean = MovingMean(module, 0.8, 2)
            mean.load_state(state)
    shares = [0.8 ** (6 - step) for step in range(7)]
    mean.after_epoch(0)
    assert torch.equal(module[0].weight, history[-1]["0.weight"])  # not before the last epoch
    mean.after_epoch(1)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            expected = sum(share * one[name] for share, one in zip(shares, history, strict=True)) / sum(shares)
            torch.testing.assert_close(value, expected)
    assert module[1].num_batches_tracked == 7


def test_the_mean_is_what_a_run_leaves(distil):
    _, last = distil("last")
    found, mean = distil("mean", EMA=0.9)
    assert last.keys() == mean.keys() and not same_bits(last, mean)
    assert found["settings"][OPTION + "EMA"] == 0.9


@pytest.mark.parametrize(
    "options, message",
    [
        ({"PROJECTOR_START": "ridge"}, "set PROJECTOR residual, or PROJECT_LAYER 1"),
        ({"PROJECTOR": "residual", "PROJECT_LAYER": 1}, "set PROJECT_LAYER 2 or 3, or PROJECTOR mlp"),
        ({**RIDGE, "RIDGE": 0}, "RIDGE 0"),
        ({**RIDGE, "RIDGE": -1}, "RIDGE -1"),
        ({"EMA": 1}, "EMA 1"),
        ({"EMA": 0.9, "TEST.FINAL_MODEL": "best_val"}, "set it to last_step, or EMA 0"),
        ({"KD_MEAN": "sum"}, "KD_MEAN 'sum'"),
        ({"PROJECTOR": "deep"}, "PROJECTOR 'deep'"),
    ],
)
def test_options_that_cannot_be_meant(distil, options, message):
    chosen = options.pop("TEST.FINAL_MODEL", "last_step")
    with pytest.raises(ValueError, match=message):
        distil("run", "TEST.FINAL_MODEL", chosen, **options)


def test_a_residual_is_not_for_the_published_code(distil, tmp_path):
    from promptkd.deploy.exporting import published

    distil("run", PROJECTOR="residual", epochs=1)
    with pytest.raises(ValueError, match="the published code has no residual projector"):
        published.write(tmp_path / "run", tmp_path / "out")
