"""The teacher's visual prompts tuned with the student in the loop: an experiment, off by default.

PromptKD for language models (arXiv 2402.12842, a paper of the same name) tunes a teacher's prompt so that what it says
is nearer to what the student can say. Carried over to CLIP it is ours: visual prompts alone move, so that class vectors
stay.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from promptkd.engine.callbacks import Callback
from promptkd.engine.evaluator import Evaluator
from promptkd.engine.losses import mean_divergence
from promptkd.engine.task import Task
from promptkd.model.prompted_clip import PromptedClip
from promptkd.teacher.teaching import Teaching
from promptkd.teacher.tuned import TunedTeacher


class StudentInLoop(Callback):
    """Tunes a teacher between a student's steps: `L_t = KL(p_t || q) + w KL(p_t || p_0)`.

    q is the student's prediction and p_0 the teacher's as it was loaded, both without gradient. w falls linearly over
    the run from COEF to COEF x FLOOR: the paper's falls to 0, and an untrained student would pull the teacher to
    nothing.

    Args:
        teaching: of the run, whose teacher is tuned.
        task: of the run.
        cfg: of the run.
        coefficient, floor: of w.
        rate: learning rate of the teacher's prompts.
        pull: whether KL(p_t || q) is there; without it the regulariser alone stays, a control.

    Raises:
        ValueError: the teacher has no visual prompts.
    """

    def __init__(
        self, teaching: Teaching, task: Task, cfg: CfgNode, coefficient: float, floor: float, rate: float, pull: bool
    ) -> None:
        assert teaching.teacher is not None
        self.teaching, self.task, teacher = teaching, task, teaching.teacher
        visual = list(teacher.prompts.vision_prompts)
        if not visual:
            raise ValueError(
                f"TRAINER.PROMPTKD.STUDENT_IN_LOOP True: the teacher ({teacher.about['trainer']}) has no visual "
                "prompts to tune: give a run of PromptSRC, IVLP or VPT as TEACHER"
            )
        self.before: PromptedClip = copy.copy(teacher)
        self.before.prompts = copy.deepcopy(teacher.prompts)
        for prompt in visual:
            prompt.requires_grad_(True)
        self.tuned = TunedTeacher(teacher, cfg, rate)
        self.coefficient, self.floor, self.pull = coefficient, floor, pull
        self.steps, self.all_steps = 0, cfg.OPTIM.MAX_EPOCH * len(task.train_loader)

    @property
    def weight(self) -> float:
        """w, at this step."""
        return self.coefficient * max(self.floor, 1 - self.steps / self.all_steps)

    def teach(self, images: Tensor, student_logits: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The teacher's logits (B, C) before its step, without gradient, and its losses for the log.

        Args:
            images: (B, 3, H, W).
            student_logits: (B, C), of which the prediction is taken without gradient.
        """
        logits = self.tuned.logits(images)
        with torch.no_grad():
            before = self.before.logits(images)
        parts = {"loss_teacher_kept": self.weight * mean_divergence(before, logits)}
        if self.pull:
            parts["loss_teacher_pulled"] = mean_divergence(student_logits.detach(), logits)
        self.tuned.learn(torch.stack(list(parts.values())).sum())
        self.steps += 1
        return logits.detach(), {name: value.detach() for name, value in parts.items()}

    def after_epoch(self, epoch: int) -> None:
        self.tuned.after_epoch(epoch)

    def after_train(self) -> None:
        """Measures the teacher as it has become, beside what it was."""
        if self.teaching.metrics is not None:
            assert self.teaching.teacher is not None
            evaluator = Evaluator(self.task, self.teaching.precision)
            self.teaching.metrics["metrics_in_loop"] = evaluator.evaluate(self.teaching.teacher.logits)

    def state(self) -> dict[str, Any]:
        return self.tuned.state() | {"steps_in_loop": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        self.tuned.load_state(state)
        self.steps = int(state["steps_in_loop"])
