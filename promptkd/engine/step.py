"""One optimiser step: gradients of a batch in parts and over processes, and the step itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from yacs.config import CfgNode

from promptkd import distributed
from promptkd.data.loading import device_crops, pipeline
from promptkd.engine.batch import Batch
from promptkd.model.prompted_clip import PromptedClip

log = logging.getLogger(__name__)
SMALLEST_SCALE = 2.0**-14  # of a loss in float16; it starts at 2^16 and halves at each step that cannot be taken
Losses = Callable[[PromptedClip, Batch], dict[str, Tensor]]


class Step:
    """Takes steps on what a model learns.

    Args:
        cfg: a run's; TRAIN.ACCUMULATE and INPUT.ON_DEVICE count.
        model: whose prompts learn.
        losses: a method's: named scalars, whose sum is trained.
        labels: whether the method reads labels.
    """

    def __init__(self, cfg: CfgNode, model: PromptedClip, losses: Losses, labels: bool = True) -> None:
        self.cfg, self.model, self.losses, self.labels = cfg, model, losses, labels
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=model.precision.scales_loss)
        self._parallel: nn.Module | None = None

    @property
    def advice(self) -> str:
        """The end of a message about numbers that are not finite: another precision, where there is one."""
        return "" if self.model.precision.compute is None else ", or train with PREC fp32"

    def join_processes(self) -> None:
        """Averages gradients over the processes of the run from here on, where there are several."""
        self._parallel = distributed.parallel(self.model.prompts, self._compute)

    def _compute(self, batch: Batch) -> dict[str, Tensor]:
        return self.losses(self.model, batch)

    def take(self, batch: dict[str, Any], optimizer: Optimizer) -> dict[str, float]:
        """One step on a batch of Dassl's: the losses for the log, means over all processes.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        optimizer.zero_grad(set_to_none=True)
        parts = distributed.mean(self.add_gradients(batch))
        values = torch.stack(list(parts.values())).cpu()  # the device is waited for once a step
        loss = values.sum()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"Loss is infinite or NaN! Lower OPTIM.LR ({self.cfg.OPTIM.LR:g}){self.advice}")
        self.scaler.step(optimizer)
        self.scaler.update()
        summary = {"loss": loss.item()}
        return summary if len(parts) == 1 else summary | dict(zip(parts, values.tolist(), strict=True))

    def add_gradients(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Computes the gradients of a batch in TRAIN.ACCUMULATE parts, one after the other; the batch's mean losses.

        Each part counts by its share of the images, and the shares add up to 1: so a mean over images comes out as that
        of the whole batch, and a term that no image enters counts once.
        """
        total: dict[str, Tensor] = {}
        count = self.cfg.TRAIN.ACCUMULATE
        for number, (share, some) in enumerate(pipeline.micro_batches(batch, count), start=1):
            images = self.on_device(some)
            # Gradients of several processes are averaged once, after the last part.
            waits = self._parallel is not None and number < count
            with self._parallel.no_sync() if waits else nullcontext():  # type: ignore[operator,union-attr]
                with self.model.precision.autocast():
                    parts = (self._parallel or self._compute)(images)
                parts = {name: share * part for name, part in parts.items()}
                self.scaler.scale(torch.stack(list(parts.values())).sum()).backward()
            total = {name: total.get(name, 0) + part.detach() for name, part in parts.items()}
        return total

    def on_device(self, batch: dict[str, Any]) -> Batch:
        """A batch of Dassl's on the model's device; its labels where the method reads them."""
        device = self.model.device
        labels = batch["label"].to(device, non_blocking=True) if self.labels else None
        return Batch(device_crops.on_device(self.cfg, batch["img"], device), labels, batch["index"])

    def check_scale(self) -> None:
        """Raises FloatingPointError where float16 could take no step for long."""
        if self.model.precision.scales_loss and self.scaler.get_scale() < SMALLEST_SCALE:
            raise FloatingPointError(
                f"{self.cfg.TRAINER.NAME}: gradients are infinite in float16 at every step, and none is taken: lower "
                f"OPTIM.LR ({self.cfg.OPTIM.LR:g}), or set PREC to bf16 or fp32"
            )


def scaled_rate(cfg: CfgNode) -> CfgNode:
    """cfg.OPTIM, its LR times batch / SCALE_LR_TO_BATCH where that is not 0 (linear scaling, arXiv 1706.02677).

    Raises:
        ValueError: SCALE_LR_TO_BATCH is below 0.
    """
    reference, batch, optim = cfg.OPTIM.SCALE_LR_TO_BATCH, cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.OPTIM
    if reference < 0:
        raise ValueError(f"OPTIM.SCALE_LR_TO_BATCH {reference}: give the batch size that OPTIM.LR is for, or 0 (off)")
    if reference:
        optim = optim.clone()
        optim.defrost()
        optim.LR = optim.LR * batch / reference
        log.info("Learning rate %g = %g x %d / %d (OPTIM.SCALE_LR_TO_BATCH)", optim.LR, cfg.OPTIM.LR, batch, reference)
    return optim
