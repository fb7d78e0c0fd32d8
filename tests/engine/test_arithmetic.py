"""What PREC fp16 and amp mean on a CPU: measured once, said in a line, kept by who goes on with a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import result
from tiny_runs import BASE, KD, METHODS, SRC, learned, same_bits

from promptkd.engine import arithmetic, checkpoints
from promptkd.model import native_bf16
from promptkd.model.precision import Precision
from trainers.promptsrc import PromptSRC

CPU = torch.device("cpu")


@pytest.fixture
def gain(monkeypatch):
    """`gain(3.0)`: as if bfloat16 were so many times as quick; the number of measurements comes back."""
    monkeypatch.delenv(native_bf16.SWITCH)
    counts = []

    def set_to(value: float) -> list[int]:
        native_bf16.bf16_gain.cache_clear()
        monkeypatch.setattr(native_bf16, "_gain", lambda rows: counts.append(rows) or value)
        return counts

    yield set_to
    native_bf16.bf16_gain.cache_clear()


@pytest.mark.parametrize(
    ("times", "name", "wanted"),
    [
        (3.5, "fp16", (torch.bfloat16, True)),
        (3.5, "amp", (torch.bfloat16, False)),
        (1.2, "fp16", (None, False)),
        (0.3, "amp", (None, False)),
        (3.5, "fp32", (None, False)),
    ],
)
def test_a_measured_product_decides(gain, capsys, times, name, wanted):
    measured = gain(times)
    chosen = [Precision.choose(name, CPU) for _ in range(2)]
    assert {(one.compute, one.half_storage) for one in chosen} == {wanted} and not chosen[0].scales_loss
    lines = capsys.readouterr().out.splitlines()
    if name == "fp32":
        assert not measured and not lines
        return
    assert len(measured) == (1 if times < 1 else 2)  # of a CPU that loses the small product is enough
    assert len(lines) == 2
    said = "computes in bfloat16; PREC fp32 keeps float32" if wanted[0] else "this run on the CPU uses fp32"
    assert f"PREC {name}" in lines[0] and said in lines[0]


def test_the_measurement_is_one_and_leaves_the_threads():
    threads = torch.get_num_threads()
    native_bf16.bf16_gain.cache_clear()
    first = native_bf16.bf16_gain()
    assert 0 < first < 1000 and native_bf16.bf16_gain() == first  # not measured again
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(("given", "wanted"), [("1", torch.bfloat16), ("0", None)])
def test_the_environment_settles_it(monkeypatch, given, wanted):
    monkeypatch.setenv(native_bf16.SWITCH, given)
    assert Precision.choose("fp16", CPU).compute is wanted
    monkeypatch.setenv(native_bf16.SWITCH, "yes")
    with pytest.raises(ValueError, match="PROMPT_CPU_BF16 is 'yes': set it to 1 .bfloat16. or 0 .float32., or leave"):
        Precision.choose("fp16", CPU)
    assert Precision.choose("fp32", CPU).compute is None


@pytest.mark.parametrize("first", ["1", "0"])
def test_a_run_keeps_its_arithmetic(run, tmp_path: Path, monkeypatch, capsys, first: str):
    """Resumed and evaluated on a CPU that prefers the other, from its own folder and from another: the same bits."""
    other, name = ("0", "bfloat16") if first == "1" else ("1", "float32")
    words = [*SRC, "TRAINER.PROMPTSRC.PREC", "fp16"]
    monkeypatch.setenv(native_bf16.SWITCH, first)
    run("PromptSRC", tmp_path / "whole", *words)
    assert result(tmp_path / "whole")["arithmetic"] == name
    step, steps = PromptSRC.forward_backward, iter(range(100))

    def stop_in_the_second_epoch(self, batch):
        if next(steps) == 4:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(PromptSRC, "forward_backward", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        run("PromptSRC", tmp_path / "halved", *words)
    monkeypatch.setattr(PromptSRC, "forward_backward", step)
    monkeypatch.setenv(native_bf16.SWITCH, other)
    run("PromptSRC", tmp_path / "elsewhere", f"--resume={tmp_path / 'halved'}", *words)
    capsys.readouterr()
    run("PromptSRC", tmp_path / "halved", *words)
    assert f"{name} on cpu" in capsys.readouterr().out
    for folder in ("halved", "elsewhere"):
        assert same_bits(learned(tmp_path / "whole", 2), learned(tmp_path / folder, 2))
    run("PromptSRC", tmp_path / "again", "--eval-only", f"--model-dir={tmp_path / 'whole'}", *words)
    again, whole = result(tmp_path / "again"), result(tmp_path / "whole")
    assert (again["arithmetic"], again["metrics"]) == (name, whole["metrics"])
    run("PromptSRC", tmp_path / "fresh", *words, epochs=1)
    assert result(tmp_path / "fresh")["arithmetic"] != name


def test_a_run_of_an_earlier_version_goes_on_in_float32(run, tmp_path: Path, monkeypatch):
    words = [*SRC, "TRAINER.PROMPTSRC.PREC", "fp16"]
    run("PromptSRC", tmp_path, *words, epochs=1)
    (path,) = (tmp_path / "VLPromptLearner").glob("model.pth.tar-*")
    content = checkpoints.read_checkpoint(path)
    del content["run"][arithmetic.KEY]
    torch.save(content, path)
    monkeypatch.setenv(native_bf16.SWITCH, "1")
    run("PromptSRC", tmp_path / "on", f"--resume={tmp_path}", *words)
    assert result(tmp_path / "on")["arithmetic"] == "float32"


@pytest.mark.parametrize(("trainer", "precision"), [("FAP", "amp"), ("CoCoOp", "amp"), ("CoCoOp", "fp16")])
def test_methods_learn_in_bfloat16(run, tmp_path: Path, monkeypatch, trainer: str, precision: str):
    """FAP's attacks stay in float32 meanwhile."""
    monkeypatch.setenv(native_bf16.SWITCH, "1")
    run(trainer, tmp_path, *BASE, *METHODS[trainer].words(trainer, PREC=precision), epochs=1)
    assert result(tmp_path)["arithmetic"] == "bfloat16"
    path = tmp_path / METHODS[trainer].folder / "model.pth.tar-1"
    state = checkpoints.read_checkpoint(path)["state_dict"]
    assert all(value.dtype is torch.float32 and value.isfinite().all() for value in state.values())


def test_stored_features_belong_to_their_arithmetic(run, clips, tmp_path: Path, monkeypatch):
    """The cache of a run in bfloat16 serves PREC bf16, which is the same arithmetic, and none in float32."""
    words = ["TRAINER.PROMPTKD.TEACHER", clips["teacher"], *KD, "TRAINER.PROMPTKD.TEACHER_CACHE", "views"]
    words += ["TRAINER.PROMPTKD.CACHE_VIEWS", "1", "TRAINER.PROMPTKD.CACHE_DIR", str(tmp_path / "cache")]
    read = {}
    for name, switch, precision in (("a", "1", "fp16"), ("b", "0", "bf16"), ("c", "0", "fp16")):
        monkeypatch.setenv(native_bf16.SWITCH, switch)
        run("PromptKD", tmp_path / name, *words, "TRAINER.PROMPTKD.PREC", precision, epochs=1)
        read[name] = result(tmp_path / name)["teacher"]["cache"]["computed"] == 0
    assert read == {"a": False, "b": True, "c": False}
