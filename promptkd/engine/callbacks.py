"""What a method adds around its epochs, with a state that a resumed run takes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from promptkd.tensors import check_tensors


class Callback:
    """Called by the trainer at fixed moments; each method does nothing here."""

    def before_train(self) -> None:
        """Before the first epoch of this process, after a resumed run's state was taken back."""

    def before_epoch(self, epoch: int) -> None:
        """Before an epoch, counted from 0."""

    def before_step(self, optimizer: Optimizer) -> None:
        """Before each step of the optimiser."""

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
