"""Keys that somebody gives and that a run does not read: another method's, another data set's, another mode's."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from yacs.config import CfgNode

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import DATASET_KEYS, BenchmarkDataset
from promptkd.engine.checks import value_or_none
from promptkd.engine.options import read_all
from promptkd.home import ROOT
from promptkd.results.settings import sections_of

log = logging.getLogger(__name__)

COMMAND_LINE = "command line"
_LONGEST = 10  # entries of a message
_CONFIGS = ROOT / "configs"
# Transforms of training images -> their keys below INPUT.
_OF_TRANSFORMS = {
    "random_crop": ("CROP_PADDING",),
    "random_resized_crop": ("RRCROP_SCALE",),
    "cutout": ("CUTOUT_N", "CUTOUT_LEN"),
    "gaussian_noise": ("GN_MEAN", "GN_STD"),
    "randaugment": ("RANDAUGMENT_N", "RANDAUGMENT_M"),
    "colorjitter": ("COLORJITTER_B", "COLORJITTER_C", "COLORJITTER_S", "COLORJITTER_H"),
    "randomgrayscale": ("RGS_P",),
    "gaussian_blur": ("GB_P", "GB_K"),
}
# Optimisers -> their keys below OPTIM.
_OF_OPTIMISERS = {
    "MOMENTUM": ("sgd", "rmsprop"),
    "SGD_DAMPNING": ("sgd",),
    "SGD_NESTEROV": ("sgd",),
    "RMSPROP_ALPHA": ("rmsprop",),
    "ADAM_BETA1": ("adam", "adamw", "amsgrad", "radam"),
    "ADAM_BETA2": ("adam", "adamw", "amsgrad", "radam"),
}
# Keys that training alone reads, and sections of such keys.
_OF_TRAINING = ("OPTIM.", "DATALOADER.TRAIN_X.", "DATALOADER.DECODED_", "MODEL.INIT_WEIGHTS", "RESUME", "INPUT.DRAFT",
                "INPUT.ON_DEVICE", "INPUT.RRCROP_SCALE", "TRAIN.ACCUMULATE", "TRAIN.CHECKPOINT_FREQ",
                "TRAIN.PRINT_FREQ", "TEST.FINAL_MODEL", "TEST.NO_TEST")  # fmt: skip
_NEVER = ("MODEL.HEAD.", "MODEL.BACKBONE.PRETRAINED", "DATALOADER.TRAIN_U.", "TRAIN.COUNT_ITER",
          "DATASET.SOURCE_DOMAINS", "DATASET.TARGET_DOMAINS")  # fmt: skip


class NotRead(NamedTuple):
    """A key that a run does not read."""

    key: str
    source: str  # who gives it: "command line", or a file
    why: str

    def __str__(self) -> str:
        return f"{self.key} ({self.source}): {self.why}"


def keys_not_read(cfg: CfgNode, trainer: type, given: Mapping[str, str], default: CfgNode) -> list[NotRead]:
    """Every key that somebody gives and a run does not read (of a file: gives another value than the default).

    Args:
        cfg: the run's.
        trainer: its class; of one that was written for upstream nothing is known.
        given: key -> who gives it: "command line", or a file.
        default: the configuration before anything was given; a run's config.yaml as a recipe repeats most of it.
    """
    if not hasattr(trainer, "Options"):
        return []
    reasons = _reasons(cfg, trainer)
    entries = []
    for key, source in given.items():
        why = _of_others(key, cfg.TRAINER.NAME) or _mode(key, cfg, trainer, source) or reasons.get(key, "")
        if why and (source == COMMAND_LINE or value_or_none(default, key) != value_or_none(cfg, key)):
            entries.append(NotRead(key, source, why))
    return entries


def check_strict(cfg: CfgNode, entries: Sequence[NotRead]) -> None:
    """Raises ValueError where STRICT is set, and somebody but a shipped recipe gives a key that is not read."""
    by_user = [entry for entry in entries if not _is_shipped(entry.source)]
    if cfg.STRICT and by_user:
        raise ValueError(f"STRICT True: this run does not read {_listed(by_user)}")


def warn_of(entries: Sequence[NotRead]) -> None:
    """Says in a line which keys are not read; those of a shipped file, which serves many runs, in the log alone."""
    for level, some in (
        (logging.DEBUG, [entry for entry in entries if _is_shipped(entry.source)]),
        (logging.WARNING, [entry for entry in entries if not _is_shipped(entry.source)]),
    ):
        if some:
            log.log(level, "this run does not read %s", _listed(some))


def _listed(entries: Sequence[NotRead]) -> str:
    more = f"; and {len(entries) - _LONGEST} more" if len(entries) > _LONGEST else ""
    return "; ".join(map(str, entries[:_LONGEST])) + more


def _is_shipped(source: str) -> bool:
    """Whether a file is one of configs/."""
    file = source.removesuffix(" PER_DATASET")
    return file.endswith(".yaml") and Path(file).resolve().is_relative_to(_CONFIGS)


def _of_others(key: str, trainer: str) -> str:
    parts = key.split(".")
    if parts[0] == "TRAINER" and len(parts) > 2 and parts[1] not in sections_of(trainer):
        return f"an option of another method than {trainer}"
    return "nothing here reads it" if key.startswith(_NEVER) else ""


def _mode(key: str, cfg: CfgNode, trainer: type, source: str) -> str:
    """Why a kind of run (an evaluation, a training, a method that learns nothing) does not read a key."""
    if not getattr(trainer, "learns", True) and key.startswith(_OF_TRAINING):
        return f"{cfg.TRAINER.NAME} does not train"
    if source == COMMAND_LINE and cfg.EVAL_ONLY and key.startswith((*_OF_TRAINING, "LOGGER")):
        return "an evaluation does not train"  # a recipe is for training, and the evaluation has it too
    if not cfg.EVAL_ONLY and key in ("MODEL_DIR", "LOAD_EPOCH"):
        return "it is for --eval-only"
    return ""


def _reasons(cfg: CfgNode, trainer: type) -> dict[str, str]:
    """Key -> why a run with these other values does not read it."""
    reasons = _of_optimiser(cfg.OPTIM) | _of_images(cfg)
    kind = DATASET_REGISTRY.get(cfg.DATASET.NAME) if cfg.DATASET.NAME in DATASET_REGISTRY.registered_names() else None
    if kind is not None and issubclass(kind, BenchmarkDataset):
        left = [key for key in DATASET_KEYS if key not in kind.reads]
        reasons |= {f"DATASET.{key}": f"{cfg.DATASET.NAME} does not read it" for key in left}
    if not getattr(trainer, "taught", False):
        reasons["TRAINER.MODAL"] = "it is for methods with a teacher"
    if cfg.TEST.NO_TEST:
        reasons |= {f"TEST.{key}": "TEST.NO_TEST is True" for key in ("PER_CLASS_RESULT", "COMPUTE_CMAT")}
    if not cfg.TEST.ROBUST.ATTACK:
        others = [key for key in cfg.TEST.ROBUST if key != "ATTACK"]
        reasons |= {f"TEST.ROBUST.{key}": "TEST.ROBUST.ATTACK is empty" for key in others}
    if not cfg.TEST.CORRUPT.KINDS:
        reasons |= {f"TEST.CORRUPT.{key}": "TEST.CORRUPT.KINDS is empty" for key in ("SEVERITIES", "IMAGES")}
    for options in read_all(trainer, cfg.TRAINER.NAME, cfg):
        reasons |= options.not_read(cfg)
    return reasons


def _of_optimiser(optim: CfgNode) -> dict[str, str]:
    reasons = {
        f"OPTIM.{key}": f"it is for {', '.join(names)}, OPTIM.NAME is {optim.NAME}"
        for key, names in _OF_OPTIMISERS.items()
        if optim.NAME not in names
    }
    if not optim.STAGED_LR:
        reasons |= {f"OPTIM.{key}": "it is for OPTIM.STAGED_LR True" for key in ("NEW_LAYERS", "BASE_LR_MULT")}
    if optim.LR_SCHEDULER == "cosine":
        reasons |= {f"OPTIM.{key}": "OPTIM.LR_SCHEDULER is cosine" for key in ("STEPSIZE", "GAMMA")}
    elif optim.LR_SCHEDULER == "single_step" and optim.STEPSIZE[-1] < 1:
        reasons["OPTIM.GAMMA"] = f"OPTIM.STEPSIZE {tuple(optim.STEPSIZE)} means never"
    if optim.WARMUP_EPOCH < 1:
        keys = ("WARMUP_TYPE", "WARMUP_CONS_LR", "WARMUP_MIN_LR", "WARMUP_RECOUNT")
        reasons |= {f"OPTIM.{key}": f"OPTIM.WARMUP_EPOCH {optim.WARMUP_EPOCH} is no warm-up" for key in keys}
    else:
        other = "WARMUP_MIN_LR" if optim.WARMUP_TYPE == "constant" else "WARMUP_CONS_LR"
        reasons[f"OPTIM.{other}"] = f"OPTIM.WARMUP_TYPE is {optim.WARMUP_TYPE}"
    return reasons


def _of_images(cfg: CfgNode) -> dict[str, str]:
    reasons = {
        f"INPUT.{key}": f"INPUT.TRANSFORMS has no {name}"
        for name, keys in _OF_TRANSFORMS.items()
        if name not in cfg.INPUT.TRANSFORMS
        for key in keys
    }
    loader = cfg.DATALOADER
    if not loader.NUM_WORKERS:
        reasons["DATALOADER.PREFETCH_FACTOR"] = "DATALOADER.NUM_WORKERS is 0"
    if not loader.DECODED_CACHE_GB:
        reasons["DATALOADER.DECODED_CACHE_DIR"] = "DATALOADER.DECODED_CACHE_GB is 0"
    sampler = loader.TRAIN_X.SAMPLER
    if sampler != "RandomClassSampler":
        reasons["DATALOADER.TRAIN_X.N_INS"] = f"DATALOADER.TRAIN_X.SAMPLER is {sampler}"
    if sampler not in ("RandomDomainSampler", "SeqDomainSampler"):
        reasons["DATALOADER.TRAIN_X.N_DOMAIN"] = f"DATALOADER.TRAIN_X.SAMPLER is {sampler}"
    return reasons
