"""Models and their checkpoints, and the outline of training."""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dassl.utils import check_availability, load_checkpoint, resume_from_checkpoint, save_checkpoint, tolist_if_not

Names = str | list[str] | None  # models by name; None: all


class TrainerBase:
    """Holds models by name, each with its optimiser and schedule, and runs the epochs."""

    start_epoch: int
    max_epoch: int
    epoch: int
    output_dir: str

    def __init__(self) -> None:
        self._models: OrderedDict[str, nn.Module] = OrderedDict()
        self._optims: OrderedDict[str, Optimizer | None] = OrderedDict()
        self._scheds: OrderedDict[str, LRScheduler | None] = OrderedDict()
        self._writer: Any = None

    def register_model(
        self,
        name: str = "model",
        model: nn.Module | None = None,
        optim: Optimizer | None = None,
        sched: LRScheduler | None = None,
    ) -> None:
        """Add a model; one without an optimiser is saved and loaded, but not updated.

        Raises:
            AttributeError: called before `super().__init__()`.
            ValueError: the name is taken.
        """
        if "_models" not in self.__dict__:
            raise AttributeError("call super().__init__() before register_model()")
        if name in self._models:
            raise ValueError(f"a model of the name '{name}' is already registered")
        self._models[name] = model
        self._optims[name] = optim
        self._scheds[name] = sched

    def get_model_names(self, names: Names = None) -> list[str]:
        """Return the names as a list, all where None is given.

        Raises:
            ValueError: a name is not registered.
        """
        if names is None:
            return list(self._models)
        names = tolist_if_not(names)
        for name in names:
            check_availability(name, self._models)
        return names

    def set_model_mode(self, mode: str = "train", names: Names = None) -> None:
        """Switch models to "train", or to "eval" or "test", which are the same.

        Raises:
            ValueError: another mode.
        """
        check_availability(mode, ["train", "eval", "test"])
        for name in self.get_model_names(names):
            self._models[name].train(mode == "train")

    def save_model(
        self, epoch: int, directory: str, is_best: bool = False, val_result: float | None = None, model_name: str = ""
    ) -> None:
        """Write `<directory>/<name>/model.pth.tar-<epoch + 1>` (or `model_name`) for each model.

        Args:
            epoch: the epoch that has just ended, counted from 0.
            val_result: accuracy on the validation split, percent.
        """
        for name in self.get_model_names():
            optim, sched = self._optims[name], self._scheds[name]
            state = {
                "state_dict": self._models[name].state_dict(),
                "epoch": epoch + 1,
                "optimizer": None if optim is None else optim.state_dict(),
                "scheduler": None if sched is None else sched.state_dict(),
                "val_result": None if val_result is None else float(val_result),
            }
            save_checkpoint(state, os.path.join(directory, name), is_best=is_best, model_name=model_name)

    def resume_model_if_exist(self, directory: str) -> int:
        """Restore all models from their newest checkpoints in a directory.

        Returns:
            The epoch to go on with, counted from 0; 0 where a model has no checkpoint there.

        Raises:
            ValueError: the checkpoints of the models are of different epochs.
        """
        names = self.get_model_names()
        if not names or not all(os.path.isfile(os.path.join(directory, name, "checkpoint")) for name in names):
            print("No checkpoint found, train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        epochs = {
            name: resume_from_checkpoint(
                os.path.join(directory, name), self._models[name], self._optims[name], self._scheds[name]
            )
            for name in names
        }
        if len(set(epochs.values())) > 1:
            raise ValueError(
                f'the checkpoints in "{directory}" are of different epochs: {epochs}; write the file name of a common'
                " one into each model's text file 'checkpoint'"
            )
        return epochs[names[0]]

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load `<directory>/<name>/model.pth.tar-<epoch>`, or `model-best.pth.tar` without an epoch.

        Raises:
            FileNotFoundError: no such file; the message says what is there.
            ValueError: it is no checkpoint.
            RuntimeError: the weights do not fit the model.
        """
        if not directory:
            note = "load_model() is skipped as no pretrained model is given (ignore this if it's done on purpose)"
            print(f"Note that {note}")
            return
        file_name = "model-best.pth.tar" if epoch is None else f"model.pth.tar-{epoch}"
        for name in self.get_model_names():
            path = os.path.join(directory, name, file_name)
            checkpoint = load_checkpoint(path)
            if "state_dict" not in checkpoint:
                raise ValueError(f'"{path}" has no state_dict: it is no checkpoint')
            self._models[name].load_state_dict(checkpoint["state_dict"])
            print(f'Loading weights to {name} from "{path}" (epoch = {checkpoint.get("epoch")})')

    def init_writer(self, log_dir: str) -> None:
        """Open a TensorBoard log; without the package a warning says that there is none."""
        if self._writer is not None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            warnings.warn("no TensorBoard log, as tensorboard is not installed: pip install tensorboard", stacklevel=2)
            return
        print(f"Initialize tensorboard (log_dir={log_dir})")
        self._writer = SummaryWriter(log_dir=log_dir)

    def close_writer(self) -> None:
        """Close the TensorBoard log."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def write_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        """Add a number to the TensorBoard log, if one is open."""
        if self._writer is not None:
            self._writer.add_scalar(tag, scalar_value, global_step)

    def train(self, start_epoch: int, max_epoch: int) -> None:
        """Run the epochs; `before_train` may move `self.start_epoch`."""
        self.start_epoch = start_epoch
        self.max_epoch = max_epoch
        self.before_train()
        for self.epoch in range(self.start_epoch, self.max_epoch):  # noqa: B020
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()
        self.after_train()

    def before_train(self) -> None:
        """Run before the first epoch."""

    def after_train(self) -> None:
        """Run after the last epoch."""

    def before_epoch(self) -> None:
        """Run before each epoch."""

    def after_epoch(self) -> None:
        """Run after each epoch."""

    def run_epoch(self) -> None:
        """Go over the training data once."""
        raise NotImplementedError

    def test(self, split: str | None = None) -> float:
        """Evaluate."""
        raise NotImplementedError

    def parse_batch_train(self, *batches: dict[str, Any]) -> Any:
        """Take out of training batches what the step needs, on the device."""
        raise NotImplementedError

    def parse_batch_test(self, batch: dict[str, Any]) -> Any:
        """Take input and labels out of a test batch, on the device."""
        raise NotImplementedError

    def forward_backward(self, *batches: dict[str, Any]) -> dict[str, float]:
        """Make one training step and return numbers to log."""
        raise NotImplementedError

    def model_inference(self, input: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, H, W) -> logits (B, C)."""
        raise NotImplementedError

    def update_lr(self, names: Names = None) -> None:
        """Step the schedules; a trainer calls this after the last batch of an epoch."""
        for name in self.get_model_names(names):
            if (sched := self._scheds[name]) is not None:
                sched.step()

    def get_current_lr(self, names: Names = None) -> float:
        """Learning rate of the first model's first parameter group."""
        optim = self._optims[self.get_model_names(names)[0]]
        return optim.param_groups[0]["lr"]

    def detect_anomaly(self, loss: torch.Tensor) -> None:
        """Raise FloatingPointError where the loss is infinite or NaN."""
        if not torch.isfinite(loss).all():
            raise FloatingPointError("Loss is infinite or NaN! Lower OPTIM.LR, or train with PREC fp32")

    def model_zero_grad(self, names: Names = None) -> None:
        """Clear gradients."""
        for name in self.get_model_names(names):
            if (optim := self._optims[name]) is not None:
                optim.zero_grad()

    def model_backward(self, loss: torch.Tensor) -> None:
        """Check the loss and compute gradients."""
        self.detect_anomaly(loss)
        loss.backward()

    def model_update(self, names: Names = None) -> None:
        """Step the optimisers."""
        for name in self.get_model_names(names):
            if (optim := self._optims[name]) is not None:
                optim.step()

    def model_backward_and_update(self, loss: torch.Tensor, names: Names = None) -> None:
        """Clear gradients, compute them anew and step."""
        self.model_zero_grad(names)
        self.model_backward(loss)
        self.model_update(names)

    def prograd_backward_and_update(
        self, loss_a: torch.Tensor, loss_b: torch.Tensor, lambda_: float = 1, names: Names = None
    ) -> None:
        """Step down `loss_a` without going against `loss_b`: ProGrad's step (arXiv 2205.14865, equation 5).

        Of each parameter's gradient that points against its gradient of `loss_b`, the part along that is taken away,
        `lambda_` times. A parameter that either loss does not reach has no conflict.
        """
        names = self.get_model_names(names)
        self.detect_anomaly(loss_b)
        self.detect_anomaly(loss_a)
        learned = [p for name in names for p in self._models[name].parameters() if p.requires_grad]
        general = torch.autograd.grad(loss_b, learned, retain_graph=True, allow_unused=True)
        self.model_zero_grad(names)
        loss_a.backward()
        for parameter, kept in zip(learned, general, strict=True):
            if parameter.grad is None or kept is None:
                continue
            along = (parameter.grad * kept).sum()
            if along < 0:
                parameter.grad = parameter.grad - lambda_ * along / kept.pow(2).sum() * kept
        self.model_update(names)
