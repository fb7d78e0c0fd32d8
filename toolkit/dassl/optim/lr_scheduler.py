"""Learning-rate schedules, stepped once per epoch.

Each is a closed form of the epoch, so its state is a few plain numbers: it loads under `weights_only=True`, and a
resumed schedule cannot go on with a stale inner scheduler.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from yacs.config import CfgNode

from dassl.utils import check_availability

AVAI_SCHEDS = ["single_step", "multi_step", "cosine"]
AVAI_WARMUPS = ["linear", "constant"]


class EpochScheduler(LRScheduler):
    """base_lr * decay(epoch), after a warm-up.

    Args:
        decay: factor on the base rate at epoch t >= 0 of the main schedule; decay(0) = 1.
        warmup_epoch: number of warm-up epochs W, 0 for none.
        warmup_lr: (base rate, epoch t < W) -> rate of the warm-up.
        recount: the main schedule counts from the end of the warm-up: base_lr * decay(t - W). If not, it goes on
            from its epoch W, still beginning at the base rate: base_lr * decay(t) / decay(W).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        decay: Callable[[int], float],
        warmup_epoch: int = 0,
        warmup_lr: Callable[[float, int], float] | None = None,
        recount: bool = True,
    ) -> None:
        self.decay = decay
        self.warmup_epoch = warmup_epoch
        self.warmup_lr = warmup_lr
        self.recount = recount
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """Rate of each parameter group in the current epoch."""
        epoch = self.last_epoch
        if self.warmup_lr is not None and epoch < self.warmup_epoch:
            return [self.warmup_lr(base, epoch) for base in self.base_lrs]
        if self.recount:
            factor = self.decay(epoch - self.warmup_epoch)
        else:
            factor = self.decay(epoch) / self.decay(self.warmup_epoch)
        return [base * factor for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Epoch and rates, as plain numbers."""
        return {
            "last_epoch": int(self.last_epoch),
            "base_lrs": [float(lr) for lr in self.base_lrs],
            "_last_lr": [float(lr) for lr in self._last_lr],
            "_step_count": int(self._step_count),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a stored epoch; the schedule itself stays the one of the configuration."""
        for key in self.state_dict():
            setattr(self, key, state_dict[key])


def build_lr_scheduler(optimizer: Optimizer, optim_cfg: CfgNode) -> EpochScheduler:
    """Build the schedule that `optim_cfg` (the node cfg.OPTIM) asks for.

    Raises:
        ValueError: unknown LR_SCHEDULER or WARMUP_TYPE, MAX_EPOCH below 1, or a warm-up as long as the cosine.
        TypeError: multi_step with a STEPSIZE that is no sequence.
    """
    check_availability(optim_cfg.LR_SCHEDULER, AVAI_SCHEDS)
    decay = _decay(optim_cfg)
    warmup_epoch = optim_cfg.WARMUP_EPOCH
    if warmup_epoch <= 0:
        return EpochScheduler(optimizer, decay)

    check_availability(optim_cfg.WARMUP_TYPE, AVAI_WARMUPS)
    if not optim_cfg.WARMUP_RECOUNT and decay(warmup_epoch) < 1e-12:
        raise ValueError(
            f"OPTIM.WARMUP_EPOCH {warmup_epoch} is as long as the cosine over OPTIM.MAX_EPOCH {optim_cfg.MAX_EPOCH};"
            " shorten the warm-up or set OPTIM.WARMUP_RECOUNT True"
        )

    def constant(base: float, epoch: int) -> float:
        return optim_cfg.WARMUP_CONS_LR

    def linear(base: float, epoch: int) -> float:
        return base * epoch / warmup_epoch if epoch else optim_cfg.WARMUP_MIN_LR

    warmup_lr = constant if optim_cfg.WARMUP_TYPE == "constant" else linear
    return EpochScheduler(optimizer, decay, warmup_epoch, warmup_lr, optim_cfg.WARMUP_RECOUNT)


def _decay(optim_cfg: CfgNode) -> Callable[[int], float]:
    max_epoch, gamma, steps = optim_cfg.MAX_EPOCH, optim_cfg.GAMMA, optim_cfg.STEPSIZE
    if max_epoch < 1:
        raise ValueError(f"OPTIM.MAX_EPOCH is {max_epoch}; it must be at least 1")
    if optim_cfg.LR_SCHEDULER == "cosine":
        return lambda epoch: (1 + math.cos(math.pi * epoch / max_epoch)) / 2
    if optim_cfg.LR_SCHEDULER == "single_step":
        size = steps[-1] if isinstance(steps, list | tuple) else steps
        size = size if size > 0 else max_epoch
        return lambda epoch: gamma ** (epoch // size)
    if not isinstance(steps, list | tuple):
        raise TypeError(f"OPTIM.STEPSIZE of multi_step is a list of epochs, not {steps!r}")
    milestones = sorted(steps)
    return lambda epoch: gamma ** bisect.bisect_right(milestones, epoch)
