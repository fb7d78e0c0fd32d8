"""Everything that trains, evaluates and predicts keeps to one device and to the dtypes that a GPU takes.

No GPU is needed: see pretend_gpu. What it cannot show is kernels, CUDA graphs and NCCL.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import CLASSES, result
from pretend_gpu import GPU, WAITS, OnGpu, pretended
from tiny_runs import ATTACKED, BASE, METHODS
from torch import nn
from torch.nn import functional as F

from benchmarks import steps, timing
from promptkd.deploy import predict
from promptkd.engine.training import Training
from promptkd.model.memory import RUNS_PER_GPU, free_memory
from promptkd.sweep.engines import slots
from trainers.base import PromptTrainer

PROMPTKD = ["TRAINER.PROMPTKD.PROMPT_DEPTH_VISION", "2", "TRAINER.PROMPTKD.PREC", "fp16"]


def test_a_pretended_gpu_computes_and_refuses():
    with pretended() as waits:
        here, there = torch.arange(6.0).reshape(2, 3), torch.ones(3, device="cuda")
        there[1:] = 2.0
        assert type(there) is OnGpu and there.device.type == "cuda" and there.sum().item() == 5.0
        assert here.to("cuda").matmul(there).cpu().tolist() == [6.0, 21.0]
        assert sum(waits.values()) == 2
        with pytest.raises(RuntimeError, match="expected all tensors to be on the same device"):
            here + there
        layer = nn.Linear(3, 4).to("cuda")
        with torch.autocast("cuda", dtype=torch.float16):
            assert layer(there[None]).dtype is torch.float16
        with pytest.raises(RuntimeError, match="same device"):
            layer(here)
        with pytest.raises(RuntimeError, match="expected weights of torch.float16"):
            F.layer_norm(there.half(), (3,), weight=there)
        layer(there).sum().backward()
        assert all(p.grad.device.type == "cuda" for p in layer.parameters())


@pytest.fixture
def gpu(monkeypatch):
    """A pretended GPU; yields how often each training step has waited for it."""
    counts: list[int] = []
    step = PromptTrainer.forward_backward

    def counted(self, batch):
        before = sum(waits.values())
        summary = step(self, batch)
        counts.append(sum(waits.values()) - before)
        return summary

    monkeypatch.setattr(PromptTrainer, "forward_backward", counted)
    with pretended() as waits:
        yield counts


# Gradients of images, which an attack asks for, are beyond the pretence: PyTorch looks for the device.
@pytest.mark.parametrize("trainer", [name for name in METHODS if name not in ATTACKED])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_methods_learn_and_evaluate(run, tmp_path, gpu, trainer, precision):
    """A step waits once: for its losses; a gradient scaler waits for another number. The first asks more."""
    options = METHODS[trainer].words(trainer, PREC=precision)
    words = [*BASE, *options, "USE_CUDA", "True", "TRAIN.TEXT_CHUNK", "2", "TRAIN.ACCUMULATE", "2"]
    run(trainer, tmp_path / "run", *words, epochs=1)
    assert set(gpu[1:]) == {2 if precision == "fp16" else 1}
    assert result(tmp_path / "run")["metrics"].keys() >= {"base", "new", "hm"}


@pytest.mark.parametrize(("trainer", "precision"), [("MaPLe", "amp"), ("IVLP", "fp16"), ("CoOp", "fp32")])
def test_runs_resume(run, tmp_path, gpu, trainer, precision):
    words = [*BASE, *METHODS[trainer].words(trainer, PREC=precision), "USE_CUDA", "True", "TRAIN.CHECKPOINT_FREQ", "1"]
    run(trainer, tmp_path / "run", *words)
    (tmp_path / "run" / METHODS[trainer].folder / "model.pth.tar-2").unlink()
    (tmp_path / "run" / "results.json").unlink()
    run(trainer, tmp_path / "run", *words)
    run(trainer, tmp_path / "again", "--eval-only", *words, "MODEL_DIR", str(tmp_path / "run"))
    assert result(tmp_path / "again")["metrics"] == result(tmp_path / "run")["metrics"]
    assert len(gpu) == 9  # three epochs of three steps


def test_a_run_that_takes_no_step_ends(run, tmp_path, gpu, monkeypatch):
    monkeypatch.setattr(torch.amp.GradScaler, "get_scale", lambda self: 2.0**-15)
    with pytest.raises(FloatingPointError, match="gradients are infinite in float16 at every step"):
        run("CoOp", tmp_path, *BASE, "TRAINER.COOP.N_CTX", "2", "TRAINER.COOP.PREC", "fp16", "USE_CUDA", "True")


def test_an_epoch_waits_once_for_the_check_of_what_is_learned(run, tmp_path, gpu, monkeypatch):
    """Whatever the number of its tensors."""
    counts = []
    check = Training.check_learned

    def counted(self):
        before = sum(WAITS.values())
        check(self)
        counts.append(sum(WAITS.values()) - before)

    monkeypatch.setattr(Training, "check_learned", counted)
    run("MaPLe", tmp_path, *BASE, *METHODS["MaPLe"].words("MaPLe", PREC="fp16"), "USE_CUDA", "True")
    assert counts == [1, 1]


def test_runs_that_share_a_gpu_share_its_memory(gpu, monkeypatch):
    whole = free_memory(GPU)
    (place,) = {tuple(place.items()) for place in slots(0, 2, ["0"])}
    assert dict(place) == {"CUDA_VISIBLE_DEVICES": "0", RUNS_PER_GPU: "2"}
    monkeypatch.setenv(RUNS_PER_GPU, "2")
    assert free_memory(GPU) == whole // 2


@pytest.mark.parametrize(("precision", "waits"), [("fp16", 2), ("amp", 2), ("bf16", 1)])
def test_promptkd_distils_and_its_student_predicts(run, clips, data_root, tmp_path, gpu, precision, waits, capsys):
    words = [*PROMPTKD, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], "USE_CUDA", "True"]
    run("PromptKD", tmp_path / "run", *words, "TRAINER.PROMPTKD.PREC", precision, epochs=1)
    picture = str(next(Path(data_root).rglob("*.jpg")))
    assert predict.main([str(tmp_path / "run"), picture, "--device", "cuda"]) == 0
    assert any(name in capsys.readouterr().out for name in CLASSES)
    assert set(gpu) == {waits}


def test_levers_of_promptkd(run, clips, tmp_path, gpu):
    """A teacher cache that is filled, then read; views made on the device; parts of batches."""
    words = [*PROMPTKD, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], "USE_CUDA", "True"]
    words += ["INPUT.ON_DEVICE", "True", "TRAIN.ACCUMULATE", "2", "TRAINER.PROMPTKD.TEACHER_CACHE", "views"]
    words += ["TRAINER.PROMPTKD.CACHE_VIEWS", "2", "TRAINER.PROMPTKD.CACHE_DIR", str(tmp_path / "cache")]
    for name in ("computes", "reads"):
        run("PromptKD", tmp_path / name, *words)
    assert result(tmp_path / "reads")["teacher"]["cache"]["computed"] == 0


def test_a_benchmark_runs(tmp_path, gpu, monkeypatch):
    monkeypatch.setitem(timing.SIDE, "gpu", 64)
    words = ["--device", "cuda", "--precision", "fp16", "--sizes", "small", "--classes", "5", "--batch", "2"]
    words += ["--parts", "eval", "--repeats", "1", "--json", str(tmp_path / "rows.json")]
    assert steps.main(words) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert len(rows) == 5 and all(row["device"] == "cuda" for row in rows)
