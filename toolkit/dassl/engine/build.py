"""From configuration to a trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yacs.config import CfgNode

from dassl.left_out import check_left_out
from dassl.utils import Registry, check_availability

if TYPE_CHECKING:
    from .base import TrainerBase

TRAINER_REGISTRY = Registry("TRAINER", second_names=True)


def build_trainer(cfg: CfgNode) -> TrainerBase:
    """Build the trainer cfg.TRAINER.NAME.

    Raises:
        ValueError: unknown trainer; the message has the closest name.
    """
    name, known = cfg.TRAINER.NAME, TRAINER_REGISTRY.registered_names()
    check_left_out("trainer", name, known)
    check_availability(name, known)
    if cfg.VERBOSE:
        print(f"Loading trainer: {name}")
    return TRAINER_REGISTRY.get(name)(cfg)
