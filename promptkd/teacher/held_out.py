"""How near a student is to its teacher on unlabelled images that did not train: what it can be chosen by."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from promptkd.engine.callbacks import Callback
from promptkd.engine.evaluator import Classifier, all_logits
from promptkd.engine.losses import mean_divergence
from promptkd.engine.task import Task
from promptkd.model.prompted_clip import PromptedClip
from promptkd.teacher.teaching import Teaching


class HeldOut(Callback):
    """Compares a student with its teacher on the held-out images of a pool (POOL.HELD_OUT), in an evaluation's view.

    Two measures, both over all classes: the mean divergence KL(p_teacher || p_student) in nats, and agreement, the
    share of images (percent) of which both say the same class. That they can stand for labels is ours, and was
    measured (docs/recipe.md).

    Args:
        task: with held-out images.
        teaching: the teacher's side of the run.
        model: the student.
    """

    def __init__(self, task: Task, teaching: Teaching, model: PromptedClip) -> None:
        self.task, self.teaching, self.model = task, teaching, model
        self.loader: DataLoader = task.loader(task.held_out)
        self.teacher_logits: Tensor | None = None  # (N, C), computed once
        self.epochs: list[dict[str, float]] = []  # what was measured after each epoch, where that chooses

    def before_train(self) -> None:
        self._teacher()

    def choose(self) -> float:
        """Measures the student after an epoch: the smaller its divergence, the larger the number."""
        self.epochs.append(self.measure())
        return -self.epochs[-1]["kl"]

    def measure(self) -> dict[str, float]:
        """The student as it is: "kl" in nats, "agreement" in percent."""
        student = self._logits(self.model.classifier(self.task.all_classnames))
        return divergence_and_agreement(student, self._teacher())

    def result(self) -> dict[str, Any]:
        """What results.json says: number of images, the measures of the deployed student and those of each epoch."""
        epochs = {"by_epoch": self.epochs} if self.epochs else {}
        return {"images": len(self.task.held_out)} | self.measure() | epochs

    def state(self) -> dict[str, Any]:
        return {"held_out": [dict(one) for one in self.epochs]}

    def load_state(self, state: dict[str, Any]) -> None:
        self.epochs = [{name: float(one[name]) for name in ("kl", "agreement")} for one in state["held_out"]]

    def _teacher(self) -> Tensor:
        if self.teacher_logits is None:
            self.teacher_logits = self._logits(self.teaching.classify)
        return self.teacher_logits

    def _logits(self, classify: Classifier) -> Tensor:
        """Logits (N, C) of the held-out images."""
        return all_logits(self.loader, classify, len(self.task.all_classnames), self.teaching.precision)[0]


def divergence_and_agreement(logits: Tensor, target_logits: Tensor) -> dict[str, float]:
    """The mean KL(softmax(target) || softmax(logits)) in nats, "kl"; "agreement" of the likeliest classes in percent.

    Args:
        logits: (N, C).
        target_logits: (N, C).
    """
    same = logits.argmax(dim=1) == target_logits.argmax(dim=1)
    return {"kl": mean_divergence(logits, target_logits).item(), "agreement": 100 * same.float().mean().item()}
