"""What a configuration of a prompt trainer may say: refused here, before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from yacs.config import CfgNode

from dassl.config import get_cfg_default
from promptkd import distributed
from promptkd.data.loading import decoding, device_crops

# Keys of Dassl's that nothing here reads: a value that somebody sets must not be passed over in silence.
NOT_READ = (
    *("DATASET.NUM_LABELED", "DATASET.VAL_PERCENT", "DATASET.STL10_FOLD", "DATASET.CIFAR_C_TYPE"),
    *("DATASET.CIFAR_C_LEVEL", "DATASET.ALL_AS_UNLABELED", "DATALOADER.RETURN_IMG0"),
)
AT_LEAST = {"DATALOADER.TRAIN_X.BATCH_SIZE": 1, "DATALOADER.TEST.BATCH_SIZE": 1, "TRAIN.PRINT_FREQ": 1}


def check_config(cfg: CfgNode, final_models: Sequence[str]) -> None:
    """Refuses what would only fail, or mislead, later.

    Args:
        cfg: a run's.
        final_models: values of TEST.FINAL_MODEL that the trainer knows.

    Raises:
        ValueError: a key has a value that cannot be meant; the message says which would do.
    """
    if cfg.TEST.FINAL_MODEL not in final_models:
        raise ValueError(f"TEST.FINAL_MODEL {cfg.TEST.FINAL_MODEL!r}: choose one of {', '.join(final_models)}")
    if cfg.TEST.SPLIT != "test":
        raise ValueError(
            f"TEST.SPLIT {cfg.TEST.SPLIT!r}: results are those of the test images, set it to test (to choose an epoch "
            "on validation images set TEST.FINAL_MODEL best_val)"
        )
    if cfg.TRAIN.TEXT_CHUNK < -1:
        raise ValueError(f"TRAIN.TEXT_CHUNK {cfg.TRAIN.TEXT_CHUNK}: give 0 (automatic), texts at a time, or -1")
    if cfg.PROTOCOL not in ("", "fewshot", "cross", "dg"):
        raise ValueError(f'PROTOCOL {cfg.PROTOCOL!r}: choose fewshot, cross, dg or "" (told from the rest of the run)')
    if cfg.INPUT.NO_TRANSFORM or cfg.DATALOADER.K_TRANSFORMS != 1:
        raise ValueError(
            f"INPUT.NO_TRANSFORM {cfg.INPUT.NO_TRANSFORM}, DATALOADER.K_TRANSFORMS {cfg.DATALOADER.K_TRANSFORMS}: a "
            "prompt trainer takes one transformed view of an image, set False and 1"
        )
    for key, least in AT_LEAST.items():
        if int(str(value_of(cfg, key))) < least:
            raise ValueError(f"{key} {value_of(cfg, key)}: set {least} or more")
    default = get_cfg_default()
    for key in NOT_READ:
        if value_of(cfg, key) != value_of(default, key):
            raise ValueError(f"{key} {value_of(cfg, key)!r}: prompt trainers do not read it, leave it out")
    if not cfg.EVAL_ONLY:
        distributed.check_batch(cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.TRAIN.ACCUMULATE)
    decoding.check_options(cfg)
    device_crops.check_options(cfg)


def value_of(cfg: CfgNode, key: str) -> object:
    """The value under a dotted key."""
    for part in key.split("."):
        cfg = cfg[part]
    return cfg
