"""Configuration: a yacs tree with the published keys and defaults."""

from yacs.config import CfgNode

from .defaults import default_config

__all__ = ["clean_cfg", "get_cfg_default"]


def get_cfg_default() -> CfgNode:
    """Return a fresh tree of all keys with their default values."""
    return default_config()


def clean_cfg(cfg: CfgNode, trainer: str) -> None:
    """Drop the option nodes of all trainers but `trainer` from `cfg.TRAINER`, in place.

    Plain values (NAME, MODAL, ...) belong to no single trainer and stay.
    """
    for key, value in list(cfg.TRAINER.items()):
        if isinstance(value, CfgNode) and key != trainer.rpartition(".")[2].upper():
            cfg.TRAINER.pop(key)
