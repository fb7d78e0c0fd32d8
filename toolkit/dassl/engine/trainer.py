"""The trainers under upstream's module name, and the other names that files take from it."""

from __future__ import annotations

from typing import Any

from dassl.data import DataManager
from dassl.evaluation import build_evaluator
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import AverageMeter, MetricMeter

from .base import TrainerBase
from .loops import TrainerX, TrainerXU
from .simple import SimpleNet, SimpleTrainer

__all__ = [
    "AverageMeter",
    "DataManager",
    "MetricMeter",
    "SimpleNet",
    "SimpleTrainer",
    "TrainerBase",
    "TrainerX",
    "TrainerXU",
    "build_evaluator",
    "build_lr_scheduler",
    "build_optimizer",
]


def __getattr__(name: str) -> Any:
    """SummaryWriter, imported when it is asked for: TensorBoard takes seconds."""
    if name == "SummaryWriter":
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
