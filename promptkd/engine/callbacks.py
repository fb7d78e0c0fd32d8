"""What a method adds around its epochs, with a state that a resumed run takes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from promptkd.bounded import whole_number
from promptkd.tensors import check_tensors


class Callback:
    """Called by the trainer at fixed moments; each method does nothing here."""

    def before_train(self) -> None:
        """Before the first epoch of this process, after a resumed run's state was taken back."""

    def before_epoch(self, epoch: int) -> None:
        """Before an epoch, counted from 0."""

    def before_step(self, optimizer: Optimizer) -> None:
        """Before each step of the optimiser."""

    def after_step(self) -> None:
        """After each step of the optimiser."""

    def after_epoch(self, epoch: int) -> None:
        """After an epoch, before its checkpoint is written."""

    def after_train(self) -> None:
        """After the last epoch, before the evaluation."""

    def state(self) -> dict[str, Any]:
        """Tensors and plain values that a resumed run needs; names are the callback's alone."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave, out of the states of all callbacks."""


class AveragedPrompts(Callback):
    """PromptSRC's Gaussian mean of what was learned over the epochs (GPA, arXiv 2307.06948, section 3.4).

    Args:
        prompts: what is learned; the last epoch puts the mean in its place.
        weights: of the epochs, of sum 1.
    """

    def __init__(self, prompts: nn.Module, weights: Sequence[float]) -> None:
        self.prompts, self.weights = prompts, list(weights)
        self.mean: dict[str, Tensor] = {}

    def after_epoch(self, epoch: int) -> None:
        for name, value in self.prompts.state_dict().items():
            self.mean[name] = self.mean.get(name, torch.zeros_like(value)) + self.weights[epoch] * value
        if epoch + 1 == len(self.weights):
            self.prompts.load_state_dict(self.mean)

    def state(self) -> dict[str, Any]:
        return {"averaged": dict(self.mean)}

    def load_state(self, state: dict[str, Any]) -> None:
        if state["averaged"]:
            check_tensors(state["averaged"], self.prompts.state_dict(), "the stored mean")
        device = next(iter(self.prompts.state_dict().values())).device
        self.mean = {name: value.to(device) for name, value in state["averaged"].items()}


class MovingMean(Callback):
    """The exponential mean of what is learned over the steps: the value of step i of t counts `decay^(t - i)`.

    Weights have the sum 1 at any step (as Adam corrects its means, arXiv 1412.6980, section 3), so a short run is not
    held to where it started. Statistics of a BatchNorm are averaged alike; whole numbers stay as they are.

    Args:
        prompts: what is learned; the last epoch puts the mean in its place.
        decay: above 0, below 1.
        epochs: of the run.
    """

    def __init__(self, prompts: nn.Module, decay: float, epochs: int) -> None:
        self.prompts, self.decay, self.epochs = prompts, decay, epochs
        self.steps = 0
        self.mean: dict[str, Tensor] = {}

    def _values(self) -> dict[str, Tensor]:
        state = self.prompts.state_dict()
        return {name: value.detach() for name, value in state.items() if value.is_floating_point()}

    @torch.no_grad()
    def after_step(self) -> None:
        values = self._values()
        self.mean = self.mean or {name: torch.zeros_like(value) for name, value in values.items()}
        self.steps += 1
        share = (1 - self.decay) / (1 - self.decay**self.steps)  # 1 in the first step
        torch._foreach_lerp_(list(self.mean.values()), list(values.values()), share)

    def after_epoch(self, epoch: int) -> None:
        if epoch + 1 == self.epochs:
            self.prompts.load_state_dict(self.prompts.state_dict() | self.mean)

    def state(self) -> dict[str, Any]:
        return {"moving_mean": dict(self.mean), "moving_mean_steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        values, self.steps = self._values(), whole_number(state["moving_mean_steps"], "moving_mean_steps", 1, 2**53)
        check_tensors(state["moving_mean"], values, "the stored mean")
        self.mean = {name: state["moving_mean"][name].to(value.device) for name, value in values.items()}
