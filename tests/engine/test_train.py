"""The spine through train.main: teacher, class vectors, student, results; resuming; evaluating without teacher."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from conftest import CLASSES, result
from tiny_runs import KD, SRC, learned

from promptkd.engine import checkpoints
from promptkd.engine.evaluator import Evaluator
from promptkd.engine.training import Training
from promptkd.model.class_vectors import FILE_NAME, ClassVectors
from promptkd.model.precision import Precision
from trainers.promptkd import PromptKD
from trainers.promptsrc import PromptSRC


@pytest.fixture(scope="module")
def teacher(run, clips, tmp_path_factory) -> Path:
    """A finished PromptSRC run on the teacher CLIP."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    run("PromptSRC", folder, *SRC, backbone=clips["teacher"])
    return folder


@pytest.mark.parametrize("trainer", ["ZeroshotCLIP", "ZeroshotCLIP2"])
def test_zero_shot_reports_base_new_and_hm(run, tmp_path, trainer):
    accuracy = run(trainer, tmp_path, "DATASET.SUBSAMPLE_CLASSES", "base")
    found = result(tmp_path)
    assert found["metrics"]["base"]["accuracy"] == accuracy
    assert {name: found["metrics"][name]["images"] for name in ("base", "new")} == {"base": 9, "new": 6}
    base, new = found["metrics"]["base"]["accuracy"], found["metrics"]["new"]["accuracy"]
    assert found["metrics"]["hm"] == pytest.approx(2 * base * new / (base + new) if base * new else 0)
    assert found["protocol"] == "base2new" and not found["transductive"] and found["learned_parameters"] == 0


def test_teacher_writes_what_a_run_owes(teacher):
    owed = {"results.json", "config.yaml", "log.txt", "tensorboard", FILE_NAME}
    assert {path.name for path in teacher.iterdir()} >= owed
    assert [path.name for path in sorted((teacher / "VLPromptLearner").iterdir())] == [
        "checkpoint",
        "model.pth.tar-2",
        "prompts.json",
    ]
    vision, text = {f"vision_prompts.{i}" for i in range(3)}, {f"text_prompts.{i}" for i in range(2)}
    assert set(learned(teacher, 2)) == {"ctx"} | vision | text
    found = result(teacher)
    assert found["train_images"] == 12 and found["shots"] == 4 and len(found["fewshot_sha256"]) == 64
    vectors = ClassVectors.load(teacher / FILE_NAME)
    assert list(vectors.classnames) == CLASSES
    assert torch.allclose(vectors.features.norm(dim=-1), torch.ones(5), atol=1e-5)


def test_resumed_run_equals_uninterrupted(run, teacher, clips, tmp_path, monkeypatch):
    """Stopped in the middle of the second epoch, at GPA's accumulation too, and started again: the same bits."""
    steps = iter(range(100))
    step = PromptSRC.forward_backward

    def stop_at_fifth(self, batch):
        if next(steps) == 4:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(PromptSRC, "forward_backward", stop_at_fifth)
    with pytest.raises(KeyboardInterrupt):
        run("PromptSRC", tmp_path, *SRC, backbone=clips["teacher"])
    assert not (tmp_path / "results.json").exists()
    monkeypatch.setattr(PromptSRC, "forward_backward", step)
    run("PromptSRC", tmp_path, *SRC, backbone=clips["teacher"])
    for name, value in learned(teacher, 2).items():
        assert torch.equal(learned(tmp_path, 2)[name], value), name
    assert result(tmp_path)["metrics"] == result(teacher)["metrics"]


def test_resume_from_another_directory(run, teacher, clips, tmp_path):
    source = tmp_path / "interrupted"
    shutil.copytree(teacher, source)
    run("PromptSRC", tmp_path / "on", f"--resume={source}", *SRC, backbone=clips["teacher"])
    assert result(tmp_path / "on")["metrics"] == result(teacher)["metrics"]


def test_the_best_epoch_comes_along_to_another_directory(run, tmp_path, monkeypatch):
    """No later epoch is better: the one that was best before the interruption is deployed."""
    values = {0: 90.0, 1: 50.0, 2: 40.0}
    epochs, begin = [], Training.begin_epoch
    monkeypatch.setattr(Training, "begin_epoch", lambda self, epoch: (epochs.append(epoch), begin(self, epoch))[1])
    monkeypatch.setattr(Training, "choosing_value", lambda self: values[epochs[-1]])
    stop, step = iter(range(100)), PromptSRC.forward_backward

    def stop_in_third(self, batch):
        if next(stop) == 6:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(PromptSRC, "forward_backward", stop_in_third)
    words = [*SRC, "TEST.FINAL_MODEL", "best_val"]
    with pytest.raises(KeyboardInterrupt):
        run("PromptSRC", tmp_path / "a", *words, epochs=3)
    monkeypatch.setattr(PromptSRC, "forward_backward", step)
    run("PromptSRC", tmp_path / "b", f"--resume={tmp_path / 'a'}", *words, epochs=3)
    best = checkpoints.read_checkpoint(tmp_path / "b" / "VLPromptLearner" / "model-best.pth.tar")
    assert best["epoch"] == 1 and best["val_result"] == 90.0
    (tmp_path / "a" / "VLPromptLearner" / "model-best.pth.tar").unlink()
    with pytest.raises(FileNotFoundError, match="model-best.pth.tar is gone, the best epoch so far"):
        run("PromptSRC", tmp_path / "c", f"--resume={tmp_path / 'a'}", *words, epochs=3)


def test_a_first_try_that_cannot_be_built_leaves_the_directory_free(run, tmp_path):
    with pytest.raises(ValueError, match="no CLIP model 'mini-studnt'"):
        run("CoOp", tmp_path, backbone="mini-studnt")
    run("CoOp", tmp_path, epochs=1)
    assert result(tmp_path)["trainer"] == "CoOp"


def test_student_distils_and_is_evaluated_without_teacher_or_text(run, teacher, tmp_path, monkeypatch):
    run("PromptKD", tmp_path / "kd", "TRAINER.PROMPTKD.TEACHER", str(teacher), *KD)
    found = result(tmp_path / "kd")
    assert found["transductive"] and found["unlabelled_images"] == 30 and found["protocol"] == "base2new"
    assert found["teacher"]["metrics"]["base"]["accuracy"] == result(teacher)["metrics"]["base"]["accuracy"]
    assert "zero_shot_student" in found["teacher"]
    projector = {f"projector.{layer}.{kind}" for layer in (0, 1, 3) for kind in ("weight", "bias")}
    running = {f"projector.1.{kind}" for kind in ("running_mean", "running_var", "num_batches_tracked")}
    assert set(learned(tmp_path / "kd", 2)) == {"vision_prompts.0", "vision_prompts.1"} | projector | running

    def refuse(*args, **kwargs):
        raise AssertionError("an evaluation must not do this")

    monkeypatch.setattr("promptkd.teacher.finding.load_teacher", refuse)
    monkeypatch.setattr("promptkd.model.prompts.encode_texts", refuse)
    monkeypatch.setattr("promptkd.model.class_vectors.encode_texts", refuse)
    text_parts = []
    build = PromptKD.build_model
    monkeypatch.setattr(
        PromptKD, "build_model", lambda self: (build(self), text_parts.append(self.model.clip.transformer))
    )
    flags = ["--eval-only", f"--model-dir={tmp_path / 'kd'}"]
    accuracy = run("PromptKD", tmp_path / "again", *flags, *KD)
    assert text_parts == [None]
    assert accuracy == found["metrics"]["base"]["accuracy"]
    assert result(tmp_path / "again")["metrics"] == found["metrics"] and result(tmp_path / "again")["eval_only"]
    run("PromptKD", tmp_path / "kd", *flags, "TRAINER.PROMPTKD.TEACHER", str(teacher), *KD)  # in its own directory
    kept = {"teacher", "train_seconds", "train_images_per_second", "metrics", "eval_only"}
    assert {key: result(tmp_path / "kd")[key] for key in kept} == {key: found[key] for key in kept}
    with pytest.raises(ValueError, match="result of another configuration .* choose another --output-dir"):
        run("PromptKD", tmp_path / "kd", *flags, "--load-epoch=2", "TRAINER.PROMPTKD.TEACHER", str(teacher), *KD)


@pytest.mark.parametrize("options, images, transductive", [([], 30, True), (["UNLABELLED", "base"], 18, False)])
def test_unlabelled_pool(run, teacher, tmp_path, options, images, transductive):
    words = [f"TRAINER.PROMPTKD.{options[0]}", options[1]] if options else []
    run("PromptKD", tmp_path, "TRAINER.PROMPTKD.TEACHER", str(teacher), *KD, *words, epochs=1)
    assert result(tmp_path)["unlabelled_images"] == images and result(tmp_path)["transductive"] is transductive


def test_cross_protocol_reports_all_classes(run, teacher, tmp_path):
    run("PromptKD", tmp_path, "TRAINER.PROMPTKD.TEACHER", str(teacher), "TRAINER.MODAL", "cross", *KD, epochs=1)
    found = result(tmp_path)
    assert found["protocol"] == "cross" and set(found["metrics"]) == {"all"} and found["metrics"]["all"]["images"] == 15


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "amp"])
def test_precisions_keep_learned_weights_in_float32(run, clips, tmp_path, capsys, precision):
    words = ["TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAINER.PROMPTKD.PREC", precision]
    run("PromptKD", tmp_path, *words, *KD, epochs=1)
    assert all(v.dtype in (torch.float32, torch.int64) for v in learned(tmp_path, 1).values())
    assert ("this run on the CPU uses fp32" in capsys.readouterr().out) == (precision in ("fp16", "amp"))


def test_promptsrc_trains_in_bf16(run, tmp_path):
    run("PromptSRC", tmp_path, *SRC, "TRAINER.PROMPTSRC.PREC", "bf16", epochs=1)
    assert learned(tmp_path, 1)["ctx"].dtype == torch.float32


@pytest.mark.parametrize("rule", ["best_val", "best_on_test_as_published"])
def test_selection_of_an_epoch_is_named(run, clips, tmp_path, rule):
    run("PromptKD", tmp_path, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TEST.FINAL_MODEL", rule, *KD)
    assert (tmp_path / "VLPromptLearner" / "model-best.pth.tar").is_file()
    assert ("TEST images" in result(tmp_path)["selection"]) == (rule == "best_on_test_as_published")


def test_student_and_teacher_are_compiled_where_asked(run, clips, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(
        "promptkd.model.prompted_clip.compile_image_encoder", lambda clip, graphs: compiled.append((clip, graphs))
    )
    words = ["TRAINER.PROMPTKD.TEACHER", clips["teacher"], "MODEL.COMPILE", "True", "TRAIN.ACCUMULATE", "2"]
    run("PromptKD", tmp_path, *words, *KD, epochs=1)
    assert sorted((clip.visual.output_dim, graphs) for clip, graphs in compiled) == [(16, False), (24, False)]


def test_a_cpu_run_goes_on_with_a_scaled_loss(run, clips, tmp_path, monkeypatch):
    words = ["TRAINER.PROMPTKD.TEACHER", clips["teacher"], *KD]
    run("PromptKD", tmp_path / "cpu", *words, epochs=1)
    monkeypatch.setattr(Precision, "scales_loss", property(lambda self: True))
    run("PromptKD", tmp_path / "gpu", f"--resume={tmp_path / 'cpu'}", *words)
    assert result(tmp_path / "gpu")["epochs"] == 2


def test_checkpoints_kept_as_asked(run, clips, tmp_path):
    words = ["TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAIN.CHECKPOINT_FREQ", "2"]
    run("PromptKD", tmp_path, *words, *KD, epochs=5)
    assert list(checkpoints.numbered(tmp_path / "VLPromptLearner")) == [2, 4, 5]


def test_same_seed_same_bits_other_seed_other(run, clips, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run("PromptKD", tmp_path / name, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], *KD, epochs=1, seed=seed)
    a, b, c = (learned(tmp_path / name, 1)["vision_prompts.0"] for name in "abc")
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_poor_teacher_gives_a_warning(run, clips, tmp_path, capsys, monkeypatch):
    accuracies = iter([10.0, 50.0, 30.0, 30.0])

    def measured(self, classify, predictions=None, outside=None):
        accuracy = next(accuracies)
        return {"base": {"accuracy": accuracy}, "new": {"accuracy": accuracy}, "hm": accuracy}

    monkeypatch.setattr(Evaluator, "evaluate", measured)
    monkeypatch.setattr("promptkd.engine.recording.table", lambda metrics, teacher: "")
    run("PromptKD", tmp_path, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], *KD, epochs=1)
    assert "WARNING: the teacher (hm 10.0 %) is worse than the zero-shot student (50.0 %)" in capsys.readouterr().out
