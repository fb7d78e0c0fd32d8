"""What a configuration may say: refused here, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from yacs.config import CfgNode

from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY
from promptkd import distributed
from promptkd.data.loading import decoding, device_crops
from promptkd.engine.keys import FINAL_MODELS, KEYS, ON_POOL
from promptkd.engine.options import read_all
from promptkd.engine.robust import autoattack, shift
from promptkd.engine.trackers import check_installed
from promptkd.model.templates import check_template

# Keys of Dassl's that nothing here reads: a value that somebody sets must not be passed over in silence.
NOT_READ = (
    *("DATASET.NUM_LABELED", "DATASET.VAL_PERCENT", "DATASET.STL10_FOLD", "DATASET.CIFAR_C_TYPE"),
    *("DATASET.CIFAR_C_LEVEL", "DATASET.ALL_AS_UNLABELED", "DATALOADER.RETURN_IMG0"),
)


def check_run(cfg: CfgNode, trainer: type | None) -> None:
    """Refuses values that no run of a trainer can have, before any data are read.

    Args:
        cfg: a run's.
        trainer: its class; None where none of that name is registered.

    Raises:
        ValueError: the message names the key, its value and what it may be.
    """
    if trainer is None or (hasattr(trainer, "Options") and hasattr(trainer, "losses")):
        check_config(cfg, getattr(trainer, "final_models", FINAL_MODELS))
    else:
        check_numbers(cfg)  # of a trainer that is none of ours
    if trainer is not None and hasattr(trainer, "Options"):
        for options in read_all(trainer, cfg.TRAINER.NAME, cfg):
            options.check(cfg)
        refuse_labels_of_test_images(cfg, trainer)


def refuse_labels_of_test_images(cfg: CfgNode, trainer: type) -> None:
    """Raises ValueError where a method would learn from the labels of the images that it is tested on."""
    name = cfg.DATASET.NAME
    kind: Any = DATASET_REGISTRY.get(name) if name in DATASET_REGISTRY.registered_names() else None
    if cfg.EVAL_ONLY or not hasattr(trainer, "supervision") or not hasattr(kind, "tests_training_images"):
        return
    if kind.tests_training_images(cfg) and trainer.supervision(cfg).labels:  # type: ignore[attr-defined]
        held_out = "DATASET.DOMAIN_TEST held_out splits it; or " if "DOMAIN_TEST" in kind.reads else ""
        raise ValueError(
            f"{cfg.TRAINER.NAME} learns from labels, and the training images of {name} are its test images: {held_out}"
            "learn on another data set and evaluate here (xd_train, xd_test; --eval-only --model-dir RUN)"
        )


def check_numbers(cfg: CfgNode) -> None:
    """Refuses numbers out of range; names are left to a trainer that was written for upstream, which may have its own.

    Raises:
        ValueError: the message names the key, its value and what it may be.
    """
    default = get_cfg_default()
    for key, value in leaves(cfg):
        declared = KEYS.get(key)
        if declared and not declared.limits.choices and isinstance(value, (int, float)):
            if value != value_or_none(default, key):
                declared.limits.check(key, value)


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
    if cfg.POOL.HELD_OUT and ON_POOL not in final_models:
        raise ValueError(f"POOL.HELD_OUT {cfg.POOL.HELD_OUT:g}: {cfg.TRAINER.NAME} has no teacher to be compared with")
    if cfg.TEST.FINAL_MODEL == ON_POOL and not cfg.POOL.HELD_OUT:
        raise ValueError(f"TEST.FINAL_MODEL {ON_POOL}: it chooses on held-out images, set POOL.HELD_OUT (as 0.1)")
    if cfg.INPUT.NO_TRANSFORM or cfg.DATALOADER.K_TRANSFORMS != 1:
        raise ValueError(
            f"INPUT.NO_TRANSFORM {cfg.INPUT.NO_TRANSFORM}, DATALOADER.K_TRANSFORMS {cfg.DATALOADER.K_TRANSFORMS}: a "
            "prompt trainer takes one transformed view of an image, set False and 1"
        )
    for key, value in leaves(cfg):
        if key in KEYS:
            KEYS[key].limits.check(key, value)
    default = get_cfg_default()
    for key in NOT_READ:
        if value_of(cfg, key) != value_of(default, key):
            raise ValueError(f"{key} {value_of(cfg, key)!r}: prompt trainers do not read it, leave it out")
    if cfg.get("TEMPLATE"):
        check_template(cfg.TEMPLATE, "TEMPLATE ")
    if not cfg.EVAL_ONLY:
        check_installed(cfg.LOGGER)
    _check_optimiser(cfg.OPTIM)
    _check_images(cfg)
    shift.kinds_of(cfg)
    if cfg.TEST.ROBUST.ATTACK == "autoattack":
        autoattack.check_installed()
    if not cfg.EVAL_ONLY:
        distributed.check_batch(cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.TRAIN.ACCUMULATE)
    decoding.check_options(cfg)
    device_crops.check_options(cfg)


def _check_optimiser(optim: CfgNode) -> None:
    """Raises ValueError for values of OPTIM that do not go together."""
    warmup, epochs = optim.WARMUP_EPOCH, optim.MAX_EPOCH
    if warmup > epochs:
        raise ValueError(f"OPTIM.WARMUP_EPOCH {warmup}: OPTIM.MAX_EPOCH is {epochs}, set that or less")
    if warmup == epochs and not optim.WARMUP_RECOUNT and optim.LR_SCHEDULER == "cosine":
        raise ValueError(
            f"OPTIM.WARMUP_EPOCH {warmup} is as long as the cosine over OPTIM.MAX_EPOCH {epochs}: shorten the warm-up "
            "or set OPTIM.WARMUP_RECOUNT True"
        )
    if optim.LR_SCHEDULER == "multi_step" and min(optim.STEPSIZE) < 1:
        raise ValueError(f"OPTIM.STEPSIZE {tuple(optim.STEPSIZE)}: of multi_step they are epochs, 1 or more each")
    if optim.NAME == "sgd" and optim.SGD_NESTEROV and (optim.MOMENTUM <= 0 or optim.SGD_DAMPNING != 0):
        raise ValueError(
            f"OPTIM.SGD_NESTEROV True: it needs momentum and no dampening, set OPTIM.MOMENTUM ({optim.MOMENTUM}) above "
            f"0 and OPTIM.SGD_DAMPNING ({optim.SGD_DAMPNING}) to 0"
        )


def _check_images(cfg: CfgNode) -> None:
    """Raises ValueError for values of INPUT and DATALOADER that do not go together."""
    smallest, largest = cfg.INPUT.RRCROP_SCALE
    if smallest > largest:
        raise ValueError(f"INPUT.RRCROP_SCALE {tuple(cfg.INPUT.RRCROP_SCALE)}: give the smaller share first")
    train = cfg.DATALOADER.TRAIN_X
    if train.SAMPLER == "RandomClassSampler" and train.BATCH_SIZE % train.N_INS:
        raise ValueError(
            f"DATALOADER.TRAIN_X.N_INS {train.N_INS}: RandomClassSampler needs a multiple of it as "
            f"BATCH_SIZE ({train.BATCH_SIZE})"
        )


def leaves(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted key and value of everything in a configuration."""
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def value_of(cfg: CfgNode, key: str) -> object:
    """The value under a dotted key."""
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def value_or_none(cfg: CfgNode, key: str) -> object:
    """The value under a dotted key, None where there is none."""
    node: object = cfg
    for part in key.split("."):
        node = node.get(part) if isinstance(node, CfgNode) else None
    return node
