"""Accuracy under attack through the command line, and the trainers that learn from attacked images."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import SIZE, result
from PIL import Image
from tiny_runs import BASE, KD, METHODS, learned, same_bits

from dassl.engine import TRAINER_REGISTRY, build_trainer
from promptkd import guests
from promptkd.engine.robust.attacks import Attack
from promptkd.engine.robust.command import main as robust
from promptkd.engine.robust.measuring import PixelSpace, accuracies, by_gradient

ATTACK = ["TEST.ROBUST.ATTACK", "pgd", "TEST.ROBUST.STEPS", "2", "TEST.ROBUST.EPS", "(8,)", "TEST.ROBUST.IMAGES", "8"]


@pytest.mark.parametrize(
    ("model", "clean", "small", "large"),
    [
        ("mini-student", 15, (12, 0.8238), (6, 1.9252)),
        pytest.param("mini-teacher", 57, (51, 0.5367), (28, 1.4449), marks=pytest.mark.slow),
    ],
)
def test_the_bundled_model_withstands_what_was_measured(tmp_path, model, clean, small, large):
    """100 test images of Emoji, all classes, PGD-10 from zero: counts, and mean cross-entropy after the attack."""
    from promptkd.engine.command import configure, parser

    words = ["--root", str(tmp_path), "--trainer", "ZeroshotCLIP", "--dataset-config-file"]
    words += ["configs/datasets/emoji.yaml", "--config-file", "configs/trainers/ZeroshotCLIP/mini.yaml"]
    words += ["--backbone", model, "--output-dir", str(tmp_path / "run"), "TEMPLATE", "a photo of a {}."]
    trainer = build_trainer(configure(parser().parse_args(words)))
    task, space = trainer.task, PixelSpace.of(trainer.model)
    loader = task.loader(task.manager.dataset.test[::4][:100])
    for eps, (right, entropy) in ((1, small), (4, large)):
        losses: list[float] = []
        attack = by_gradient(Attack(eps / 255, 10))

        def observed(logits, pixels, labels, attack=attack, losses=losses):
            delta = attack(logits, pixels, labels)
            losses.append(float(torch.nn.functional.cross_entropy(logits(pixels + delta), labels, reduction="sum")))
            return delta

        classify = trainer.model.classifier(task.all_classnames)
        found = accuracies(classify, loader, list(range(20)), {"pgd": observed}, space)
        assert found["clean"] == clean and abs(found["pgd"] - right) <= 1
        assert sum(losses) / clean == pytest.approx(entropy, rel=0.02)


@pytest.mark.parametrize("trainer", ["CoOp", "CoCoOp"])
def test_any_run_is_measured_under_attack(run, tmp_path: Path, trainer: str, capsys):
    words = [*BASE, *METHODS[trainer].words(trainer)]
    run(trainer, tmp_path / "attacked", *words, *ATTACK, "TEST.ROBUST.RANDOM_START", "True")
    found = result(tmp_path / "attacked")["robustness"]
    assert found["attack"]["steps"] == 2 and found["groups"].keys() == {"base", "new"}
    for values in found["groups"].values():
        assert values["images"] in (6, 8) and 0 <= values["pgd2_eps8"] <= values["clean"]
    assert {"clean", "pgd2_eps8"} == found["hm"].keys()
    # a finished run is measured later, to the same numbers; the rest of its record stays
    run(trainer, tmp_path / "plain", *words)
    before = result(tmp_path / "plain")
    assert before["robustness"] is None
    assert robust([str(tmp_path / "plain"), "--steps", "2", "--eps", "8", "--images", "8", "--random-start"]) == 0
    after = result(tmp_path / "plain")
    assert after["robustness"] == found  # also the random start, to the last bit: pictures have the names of their hash
    assert {**after, "robustness": None} == before
    pictures = [tmp_path / "plain" / one["picture"] for one in after["robustness"]["examples"]]
    assert sorted(pictures) == sorted((tmp_path / "plain" / "attacked").iterdir())
    clean = sum(round(values["clean"] * values["images"] / 100) for values in found["groups"].values())
    assert len(pictures) == min(clean, 8) or len(pictures) < clean  # a class has one that was led astray at most
    for one in after["robustness"]["examples"]:
        with Image.open(tmp_path / "plain" / one["picture"]) as picture:
            assert picture.size == (3 * SIZE, SIZE)
        assert one["attack"] == "pgd2_eps8" and not Path(one["path"]).is_absolute()
    run(trainer, tmp_path / "plain", *words)  # it is the same run still: done, and nothing is written anew
    assert result(tmp_path / "plain")["metrics"] == before["metrics"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--eps", "0"], "in 1/255"),
        (["--eps", "0.0000154"], "in 1/255"),
        (["--eps", "100"], "in 1/255"),
        (["--eps", "300"], "in 1/255"),
        (["--eps", "nan"], "EPS"),
        (["--steps", "0"], "STEPS"),
        (["--attack", "fgsm"], "pgd or autoattack"),
        (["--images", "-1"], "IMAGES"),
    ],
)
def test_values_that_cannot_be_meant_are_one_line(finished, words: list[str], message: str, capsys):
    assert robust([str(finished), *words]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, argv) -> Path:
    import train

    directory = tmp_path_factory.mktemp("run") / "coop"
    train.main(argv("CoOp", directory, *BASE, *METHODS["CoOp"].words("CoOp")))
    return directory


def test_no_run_and_no_torchattacks(tmp_path: Path, finished, monkeypatch, capsys):
    assert robust([str(tmp_path)]) == 1 and "holds no run" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    assert robust([str(finished), "--attack", "autoattack"]) == 1
    assert "pip install --no-deps torchattacks" in capsys.readouterr().err


def test_images_without_labels_are_not_attacked_and_labelled_ones_are(run, tmp_path: Path, data_root, capsys):
    images = Path(data_root) / "eurosat" / "2750"
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{folder.name}\n" for folder in sorted(images.iterdir())))
    shutil.copytree(images / "Forest", tmp_path / "pool")
    words = ["DATASET.NAME", "Unlabeled", "DATASET.ROOT", str(tmp_path / "pool"), "DATASET.CLASSNAMES", str(names)]
    run("ZeroshotCLIP", tmp_path / "none", *words, *ATTACK)
    assert "WARNING: TEST.ROBUST: Unlabeled has no labelled test images, so nothing" in capsys.readouterr().out
    run("ZeroshotCLIP", tmp_path / "some", *words, "DATASET.TEST_DIR", str(images))
    assert robust([str(tmp_path / "some"), "--eps", "8", "--steps", "2", "--images", "5"]) == 0
    assert result(tmp_path / "some")["robustness"]["groups"]["all"]["images"] == 5
    with pytest.raises(ValueError, match="needs 4 classes"), pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchattacks", ModuleType("torchattacks"))
        run("ZeroshotCLIP", tmp_path / "few", *BASE, "TEST.ROBUST.ATTACK", "autoattack")


def test_robust_promptkd_learns_from_a_run(run, tmp_path: Path):
    words = [*METHODS["IVLP"].words("IVLP"), *BASE]
    run("IVLP", tmp_path / "teacher", *words)
    taught = [*KD, "TRAINER.PROMPTKD.TEACHER", str(tmp_path / "teacher"), "TRAINER.PROMPTKD.PREC", "fp32"]
    run("AdvPromptKD", tmp_path / "student", *taught, "TRAINER.ADV.CLEAN_SHARE", "0.5")
    found = result(tmp_path / "student")
    assert found["transductive"] and found["unlabelled_images"] and found["seen"]["classes"] == "all"
    with pytest.raises(ValueError, match="fp32 or amp"):
        run("AdvPromptKD", tmp_path / "half", *taught[:-1], "fp16")


def steps_of(argv, directory: Path, name: str, words: list[str], **changes) -> dict[str, torch.Tensor]:
    """What a trainer has learned after its epochs, its options changed past their limits."""
    import train

    guests.register()
    kind = TRAINER_REGISTRY.get(name)
    prepare, kept = kind.prepare, {}

    def changed(self):
        self.options = replace(self.options, **changes)
        prepare(self)
        kept["trainer"] = self

    kind.prepare = changed
    try:
        train.main(argv(name, directory, *BASE, *words))
    finally:
        kind.prepare = prepare
    return {key: value.clone() for key, value in kept["trainer"].model.prompts.state_dict().items()} | (
        {f"teacher.{key}": value for key, value in kept["trainer"].tuned.model.prompts.state_dict().items()}
        if getattr(kept["trainer"], "tuned", None)
        else {}
    )


def test_apd_is_what_it_stands_between(argv, tmp_path: Path):
    """Without distillation, and with a teacher that stays, it is AdvIVLP."""
    words = METHODS["APD"].words("APD")
    # b = 0 and a frozen teacher: AdvIVLP
    frozen = steps_of(argv, tmp_path / "frozen", "APD", words, teacher="frozen", kd=0.0)
    plain = steps_of(argv, tmp_path / "adv", "AdvIVLP", METHODS["AdvIVLP"].words("AdvIVLP"))
    assert all(torch.equal(frozen[name], plain[name]) for name in plain)
    # the same with half of the loss from clean images
    frozen = steps_of(argv, tmp_path / "half", "APD", words, teacher="frozen", kd=0.0, clean_share=0.5)
    half = steps_of(argv, tmp_path / "adv_half", "AdvIVLP", METHODS["AdvIVLP"].words("AdvIVLP"), clean_share=0.5)
    assert all(torch.allclose(frozen[name], half[name], atol=1e-6) for name in half)
    assert not torch.equal(half["ctx"], plain["ctx"])


def test_apd_learns_from_another_clip(argv, tmp_path: Path, clips):
    """Such a teacher has other features, prompts of its own, and makes another student."""
    words = METHODS["APD"].words("APD")
    own = steps_of(argv, tmp_path / "own", "APD", words)
    words += ["TRAINER.APD.TEACHER_NAME", clips["teacher"]]
    other = steps_of(argv, tmp_path / "other", "APD", words)
    assert "teacher.ctx" in other and not torch.equal(own["teacher.ctx"], other["teacher.ctx"])
    assert not torch.equal(own["ctx"], other["ctx"])
    frozen = steps_of(argv, tmp_path / "frozen", "APD", words, teacher="frozen")
    assert not any(name.startswith("teacher.") for name in frozen) and not torch.equal(frozen["ctx"], other["ctx"])
    settings = result(tmp_path / "other")["settings"]
    assert settings["TRAINER.APD.TEACHER_NAME"] == clips["teacher"]
    assert "TRAINER.APD.TEACHER_NAME" not in result(tmp_path / "own")["settings"]  # an earlier run is that run still
    with pytest.raises(ValueError, match="INPUT.SIZE"):
        steps_of(argv, tmp_path / "size", "APD", [*words[:-1], "mini-teacher"])


def test_a_teacher_that_follows_its_student_goes_on_to_the_same_bits(run, tmp_path: Path, monkeypatch):
    run("IVLP", tmp_path / "teacher", *METHODS["IVLP"].words("IVLP"), *BASE)
    kd = "TRAINER.PROMPTKD."
    words = [*KD, f"{kd}TEACHER", str(tmp_path / "teacher"), f"{kd}STUDENT_IN_LOOP", "True", f"{kd}LOOP_LR", "0.01"]
    run("PromptKD", tmp_path / "whole", *words)
    found = result(tmp_path / "whole")
    assert found["teacher"]["metrics_in_loop"].keys() == found["teacher"]["metrics"].keys()
    kind = TRAINER_REGISTRY.get("PromptKD")
    step, steps = kind.forward_backward, iter(range(1000))
    per_epoch = found["train_images"] // 4

    def stop_in_the_second_epoch(self, batch):
        if next(steps) == per_epoch + 1:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(kind, "forward_backward", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        run("PromptKD", tmp_path / "halved", *words)
    monkeypatch.setattr(kind, "forward_backward", step)
    run("PromptKD", tmp_path / "halved", *words)
    assert same_bits(learned(tmp_path / "halved", 2), learned(tmp_path / "whole", 2))
    # the control without the student's pull leaves the teacher where it was: its regulariser is 0 there
    run("PromptKD", tmp_path / "control", *words, f"{kd}LOOP_PULL", "False")
    control = result(tmp_path / "control")["teacher"]
    assert control["metrics_in_loop"]["hm"] == control["metrics"]["hm"]
    run("PromptKD", tmp_path / "plain", *KD, f"{kd}TEACHER", str(tmp_path / "teacher"))
    assert not same_bits(learned(tmp_path / "plain", 2), learned(tmp_path / "whole", 2))


def test_a_teacher_in_the_loop_needs_prompts_to_tune(run, tmp_path: Path, clips):
    kd = "TRAINER.PROMPTKD."
    with pytest.raises(ValueError, match="no visual prompts"):
        run("PromptKD", tmp_path, *KD, f"{kd}TEACHER", clips["teacher"], f"{kd}STUDENT_IN_LOOP", "True")
    with pytest.raises(ValueError, match="TEACHER_CACHE"):
        words = [f"{kd}STUDENT_IN_LOOP", "True", f"{kd}TEACHER_CACHE", "exact"]
        run("PromptKD", tmp_path, *KD, f"{kd}TEACHER", clips["teacher"], *words)


def test_texts_are_encoded_once_whatever_the_steps_of_the_attack(clips, monkeypatch):
    from types import SimpleNamespace

    from promptkd.engine.batch import Batch
    from promptkd.model.precision import Precision
    from promptkd.model.prompted_clip import PromptedClip
    from promptkd.model.prompts import Prompts
    from promptkd.model.spec import PromptSpec
    from promptkd.model.zoo import load_clip
    from promptkd.trainers.advivlp import AdvIVLP, AdvIVLPOptions

    spec = PromptSpec(n_text=2, depth_text=2, n_vision=2, depth_vision=2)
    model = PromptedClip(load_clip(clips["student"]), spec, Precision.choose("fp32", torch.device("cpu")))
    calls = {"text": 0, "image": 0}
    for kind in calls:
        original = getattr(Prompts, f"encode_{kind}")

        def counted(self, *args, original=original, kind=kind):
            calls[kind] += 1
            return original(self, *args)

        monkeypatch.setattr(Prompts, f"encode_{kind}", counted)
    trainer = SimpleNamespace(options=AdvIVLPOptions(steps=4), task=SimpleNamespace(classnames=["a cat", "a dog"]))
    labels = torch.tensor([0, 1])
    images = torch.randn(2, 3, SIZE, SIZE)
    parts = AdvIVLP.losses(trainer, model, Batch(images, labels, labels))
    assert calls == {"text": 1, "image": 5}
    assert model.prompts.ctx.grad is None
    parts["loss_adv"].backward()
    assert model.prompts.ctx.grad.any()
