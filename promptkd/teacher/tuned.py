"""A teacher whose prompts learn in the step of its student: APD's online teacher, PromptKD's student in the loop."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from dassl.optim import build_lr_scheduler, build_optimizer
from promptkd import distributed
from promptkd.bounded import whole_number
from promptkd.engine.callbacks import Callback
from promptkd.engine.optimizer_state import check_optimizer
from promptkd.engine.step import scaled_rate
from promptkd.model.prompted_clip import PromptedClip
from promptkd.results.settings import node_of
from promptkd.tensors import check_tensors


class TunedTeacher(Callback):
    """A prompted CLIP with an optimiser of its own, whose schedule is that of the run.

    It computes in float32. Its prompts and its optimiser are part of the run's checkpoint, so that a run goes on to the
    bit.

    Args:
        model: the teacher.
        cfg: the run's; its OPTIM is the teacher's too.
        rate: its learning rate; 0 for OPTIM.LR.

    Raises:
        ValueError: the run keeps its frozen weights in half precision.
    """

    def __init__(self, model: PromptedClip, cfg: CfgNode, rate: float = 0.0) -> None:
        if model.precision.half_storage:
            raise ValueError(
                f"PREC {cfg.TRAINER[node_of(cfg.TRAINER.NAME)].PREC}: the teacher learns in float32, and its frozen "
                "weights would be kept in half precision: set PREC fp32 or amp"
            )
        self.model = model
        optim = scaled_rate(cfg).clone()
        optim.defrost()
        optim.LR = rate or optim.LR
        self.optimizer = build_optimizer(model.prompts, optim)
        self.scheduler = build_lr_scheduler(self.optimizer, optim)
        self.epochs = 0

    def logits(self, images: Tensor, classnames: Sequence[str] | None = None) -> Tensor:
        """The teacher's logits, with gradients: (B, 3, H, W) -> (B, C) float32.

        Args:
            images: normalised as the teacher wants them.
            classnames: whose texts it encodes; None for its class vectors.
        """
        with torch.autocast(images.device.type, enabled=False):
            return self.model.logits(images, self.model.text_features(classnames) if classnames else None)

    def learn(self, loss: Tensor) -> None:
        """One step of its prompts on a loss; gradients are means over the processes of the run."""
        parameters = [value for value in self.model.prompts.parameters() if value.requires_grad]
        gradients = torch.autograd.grad(loss, parameters)
        flat = distributed.mean({"gradients": torch.cat([one.flatten() for one in gradients])})["gradients"]
        for value, part in zip(parameters, flat.split([one.numel() for one in parameters]), strict=True):
            value.grad = part.view_as(value)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def after_epoch(self, epoch: int) -> None:
        self.scheduler.step()
        self.epochs += 1

    def state(self) -> dict[str, Any]:
        learned = {"prompts": self.model.prompts.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {"tuned_teacher": learned | {"epochs": self.epochs}}

    def load_state(self, state: dict[str, Any]) -> None:
        content = state["tuned_teacher"]
        check_tensors(content["prompts"], self.model.prompts.state_dict(), "the stored teacher")
        check_optimizer(content["optimizer"], self.optimizer)
        self.model.prompts.load_state_dict(content["prompts"])
        self.optimizer.load_state_dict(content["optimizer"])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            while self.epochs < whole_number(content["epochs"], "tuned_teacher.epochs", 0, 100_000):
                self.scheduler.step()
                self.epochs += 1
