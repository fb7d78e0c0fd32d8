"""Losses of methods that learn from attacked images against naive loops, and what their options refuse."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SIZE
from PIL import Image
from test_robust_runs import steps_of
from tiny_runs import BASE, KD, METHODS
from torch import Tensor

from dassl.engine import TRAINER_REGISTRY
from promptkd import guests
from promptkd.engine.batch import Batch
from promptkd.engine.robust.attacks import PixelSpace
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.spec import PromptSpec
from promptkd.model.zoo import load_clip
from promptkd.teacher.tuned import TunedTeacher

NAMES = ["a cat", "a dog", "a house"]
LABELS = torch.tensor([0, 2, 1, 2])


def method(name: str, clips: dict[str, str], **options: Any) -> tuple[Any, PromptedClip, Batch]:
    """A method without its run, a model with prompts of its kind, and a batch."""
    guests.register()
    kind = TRAINER_REGISTRY.get(name)
    spec = PromptSpec(n_text=2, depth_text=2, n_vision=2, depth_vision=2)
    if name == "FAP":
        spec = kind.spec(kind.Options(n_ctx=2, prompt_depth=2), SimpleNamespace(target_dim=0), NAMES)
    torch.manual_seed(3)
    model = PromptedClip(load_clip(clips["student"]), spec, Precision.choose("fp32", torch.device("cpu")))
    trainer = kind.__new__(kind)
    trainer.options, trainer.task = replace(kind.Options(), **options), SimpleNamespace(classnames=NAMES)
    images = PixelSpace.of(model).normalized(torch.rand(4, 3, SIZE, SIZE))
    return trainer, model, Batch(images, LABELS, torch.arange(4))


def with_teacher(trainer: Any, model: PromptedClip, monkeypatch: pytest.MonkeyPatch) -> PromptedClip:
    """An online teacher of APD whose steps are left out; the teacher."""
    monkeypatch.setattr(TunedTeacher, "__init__", lambda self, model: setattr(self, "model", model))
    monkeypatch.setattr(TunedTeacher, "learn", lambda self, loss: None)
    torch.manual_seed(4)
    trainer.teacher = PromptedClip(model.clip, model.spec, model.precision)
    trainer.tuned = TunedTeacher(trainer.teacher)  # type: ignore[call-arg]
    return trainer.teacher


def divergence(target: Tensor, logits: Tensor) -> float:
    """Mean over images of KL(softmax(target) || softmax(logits)), one number at a time."""
    total = 0.0
    for wanted, got in zip(target.softmax(-1).tolist(), logits.softmax(-1).tolist(), strict=True):
        total += sum(p * math.log(p / q) for p, q in zip(wanted, got, strict=True))
    return total / len(logits)


def entropy(logits: Tensor) -> float:
    """Mean over images of the cross-entropy with LABELS, one number at a time."""
    rows = logits.softmax(-1).tolist()
    return -sum(math.log(row[label]) for row, label in zip(rows, LABELS.tolist(), strict=True)) / len(rows)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_apd_without_a_radius_is_plain_distillation(clips, monkeypatch, share: float):
    """With eps 0 the attacked image is the image; the teacher learns from labels, and from its student."""
    options = {"eps": 0.0, "kd": 0.7, "feedback": 0.5, "clean_share": share, "random_start": False}
    trainer, model, batch = method("APD", clips, **options)
    teacher = with_teacher(trainer, model, monkeypatch)
    parts = {name: value.detach() for name, value in trainer.losses(model, batch).items()}
    with torch.no_grad():
        said = model.logits(batch.images, model.text_features(NAMES))
        taught = teacher.logits(batch.images, teacher.text_features(NAMES))
    assert float(parts["loss_kd"]) == pytest.approx(0.7 * divergence(taught, said), rel=1e-4)
    assert float(parts["loss_ce"]) == pytest.approx(0.3 * entropy(said), rel=1e-4)
    assert float(parts["loss_teacher_ce"]) == pytest.approx(entropy(taught), rel=1e-4)
    assert float(parts["loss_feedback"]) == pytest.approx(0.5 * divergence(taught, said), rel=1e-4)


def test_apd_shares_its_loss_between_attacked_and_clean_images(clips, monkeypatch):
    found = {}
    for share in (0.0, 0.25, 0.999_999):
        trainer, model, batch = method("APD", clips, eps=16.0, alpha=8.0, kd=1.0, random_start=False, clean_share=share)
        with_teacher(trainer, model, monkeypatch)
        found[share] = float(trainer.losses(model, batch)["loss_kd"].detach())
    attacked, between, clean = found.values()
    assert attacked != pytest.approx(clean, rel=1e-3)
    assert between == pytest.approx(0.75 * attacked + 0.25 * clean, rel=1e-4)


def test_apds_teacher_is_ivlp(argv, tmp_path: Path, monkeypatch):
    """With a = 0 the teacher learns as IVLP does: the same start, batches and rate give the same prompts."""
    from dassl.utils import set_random_seed

    guests.register()
    start: dict[str, Tensor] = {}

    def from_the_same_start(name: str) -> None:
        kind = TRAINER_REGISTRY.get(name)
        prepare = kind.prepare

        def prepared(self: Any) -> None:
            prepare(self)
            prompts = self.tuned.model.prompts if getattr(self, "tuned", None) else self.model.prompts
            start.update(start or {key: value.clone() for key, value in prompts.state_dict().items()})
            prompts.load_state_dict(start)
            set_random_seed(5)

        monkeypatch.setattr(kind, "prepare", prepared)

    for name in ("IVLP", "APD"):
        from_the_same_start(name)
    words = METHODS["IVLP"].words("IVLP", PREC="fp32")
    alone = steps_of(argv, tmp_path / "ivlp", "IVLP", words)
    still = {"eps": 0.0, "feedback": 0.0, "random_start": False}
    taught = steps_of(argv, tmp_path / "apd", "APD", METHODS["APD"].words("APD"), **still)
    assert not torch.equal(alone["ctx"], start["ctx"])
    for name, value in alone.items():
        torch.testing.assert_close(taught[f"teacher.{name}"], value, msg=name)


@pytest.mark.parametrize("name", ["AdvIVLP", "APD", "FAP"])
def test_no_gradient_survives_the_attack(clips, monkeypatch, name: str):
    """Before the outer backward pass nothing that is learned has a gradient; after it, it has."""
    trainer, model, batch = method(name, clips)
    if name == "APD":
        with_teacher(trainer, model, monkeypatch)
    learned = [value for value in model.prompts.parameters() if value.requires_grad]
    parts = trainer.losses(model, batch)
    assert learned and all(value.grad is None for value in learned)
    torch.stack([value for value in parts.values() if value.requires_grad]).sum().backward()
    assert all(value.grad is not None for value in learned)


@pytest.mark.parametrize("key", ["ADVIVLP.EPS", "FAP.EPS", "APD.EPS", "ADV.EPS", "APD.ALPHA"])
@pytest.mark.parametrize("value", ["0", "0.0157", "65", "nan"])
def test_radii_that_are_not_in_greys_are_asked_about(run, tmp_path: Path, key: str, value: str):
    name = {"ADVIVLP": "AdvIVLP", "ADV": "AdvPromptKD"}.get(key.split(".")[0], key.split(".")[0])
    with pytest.raises(ValueError, match=rf"TRAINER\.{key}"):
        run(name, tmp_path / "run", *BASE, f"TRAINER.{key}", value)
    assert not list(tmp_path.glob("run/*.pth*"))


def test_what_cannot_be_is_told_before_training(run, tmp_path: Path, clips):
    none = {"N_CTX_TEXT": 0, "N_CTX_VISION": 0}
    with pytest.raises(ValueError, match="nothing would be learned"):
        run("APD", tmp_path / "apd", *BASE, *METHODS["APD"].words("APD", **none))
    run("IVLP", tmp_path / "teacher", *METHODS["IVLP"].words("IVLP"), *BASE, epochs=1)
    loop = ["TRAINER.PROMPTKD.TEACHER", str(tmp_path / "teacher"), "TRAINER.PROMPTKD.STUDENT_IN_LOOP", "True"]
    with pytest.raises(ValueError, match="PREC bf16: the teacher learns in float32"):
        run("PromptKD", tmp_path / "loop", *KD, *loop, "TRAINER.PROMPTKD.PREC", "bf16")


def test_a_temperature_needs_validation_images(argv, tmp_path: Path):
    import train

    rng = np.random.default_rng(0)
    for part, name, number in [(p, n, i) for p in ("train", "test") for n in ("red", "blue") for i in range(4)]:
        folder = tmp_path / "images" / part / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    words = argv("CoOp", tmp_path / "run", *METHODS["CoOp"].words("CoOp"), "TEST.TEMPERATURE", "True")
    words[words.index("--root") + 1] = str(tmp_path / "images")
    words[words.index("--dataset-config-file") + 1] = "configs/datasets/folder.yaml"
    with pytest.raises(ValueError, match="TEST.TEMPERATURE True: Folder has no validation images"):
        train.main(words)
