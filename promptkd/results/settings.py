"""The part of a configuration that decides a run's numbers, and its hash."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from yacs.config import CfgNode

from promptkd.texts import is_utf8, path_text

# Keys that change where or how fast a run computes, not what: two runs that differ in these alone are the same run.
_WITHOUT_EFFECT = {
    "OUTPUT_DIR", "RESUME", "VERBOSE", "USE_CUDA", "EVAL_ONLY", "MODEL_DIR", "STRICT", "LOGGER", "DATASET.ROOT",
    "DATALOADER.NUM_WORKERS", "DATALOADER.PREFETCH_FACTOR", "DATALOADER.DECODED_CACHE_GB",
    "DATALOADER.DECODED_CACHE_DIR", "TRAIN.PRINT_FREQ", "TRAIN.CHECKPOINT_FREQ", "TRAINER.PROMPTKD.CACHE_DIR",
    "TRAINER.PROMPTKD.CACHE_GB",
}  # fmt: skip
# Options that came later -> the value by which a run is as before.
_AS_IT_WAS = {"TEST.OUTSIDE": "", "TRAINER.APD.TEACHER_NAME": "", "TRAINER.PROMPTKD.TUNE": "prompts",
              "POOL.IMBALANCE": 1.0, "POOL.DROP_CLASSES": 0, "POOL.FOREIGN_SHARE": 0.0,
              "TRAINER.PROMPTKD.CLASS_AGNOSTIC": False, "TRAINER.PROMPTKD.STUDENT_IN_LOOP": False,
              "TEST.ROBUST.ATTACK": "", "TEST.CORRUPT.KINDS": "", "TEST.TEMPERATURE": False,
              "POOL.HELD_OUT": 0.0, "TRAINER.PROMPTKD.TEACHERS": [],
              "TRAINER.PROMPTKD.MODE": "images", "TRAINER.PROMPTKD.PROJECTOR": "mlp",
              "TRAINER.PROMPTKD.PROJECTOR_START": "random", "TRAINER.PROMPTKD.KD_MEAN": "published",
              "TRAINER.PROMPTKD.RIDGE_SCALE": 1.0,
              "TRAINER.PROMPTKD.EMA": 0.0}  # fmt: skip
# Option -> others that say nothing where it is off.
_SWITCHED = {"TRAINER.PROMPTKD.STUDENT_IN_LOOP": tuple(f"TRAINER.PROMPTKD.LOOP_{name}"
                                                       for name in ("LR", "COEF", "FLOOR", "PULL")),
             "TRAINER.PROMPTKD.TUNE": tuple(f"TRAINER.PROMPTKD.LORA_{name}" for name in ("RANK", "ALPHA", "MODULES")),
             "TRAINER.PROMPTKD.TEACHERS": ("TRAINER.PROMPTKD.TEACHER_MIX", "TRAINER.PROMPTKD.TEACHER_WEIGHTS"),
             "TEST.ROBUST.ATTACK": tuple(f"TEST.ROBUST.{name}" for name in (
                 "EPS", "STEPS", "ALPHA", "RANDOM_START", "IMAGES", "CHECK")),
             "TEST.CORRUPT.KINDS": ("TEST.CORRUPT.SEVERITIES", "TEST.CORRUPT.IMAGES"),
             "POOL.FOREIGN_SHARE": ("POOL.FOREIGN_FROM",),
             "TRAINER.PROMPTKD.MODE": ("TRAINER.PROMPTKD.VIEWS_SEED",),
             "TRAINER.PROMPTKD.PROJECTOR_START": ("TRAINER.PROMPTKD.RIDGE", "TRAINER.PROMPTKD.RIDGE_SCALE"),
             "DATASET.DOMAIN": ("DATASET.DOMAIN", "DATASET.DOMAIN_TEST"),
             "TRAINER.PROMPTKD.CLASS_AGNOSTIC": ("TRAINER.PROMPTKD.CONCEPTS", "TRAINER.PROMPTKD.K_MAX")}  # fmt: skip
_CACHE = ("TRAINER.PROMPTKD.TEACHER_CACHE", "TRAINER.PROMPTKD.CACHE_VIEWS")

_MEASURING = ("TEST.ROBUST.", "TEST.CORRUPT.", "TEST.OUTSIDE", "TEST.TEMPERATURE")


def measures(key: str) -> bool:
    """Whether an option says what is measured in addition, and changes neither what a run learns nor its accuracy."""
    return key.startswith(_MEASURING)


def node_of(trainer: str) -> str:
    """The name of the section of cfg.TRAINER with a method's options: its name in upper case, as in Dassl.

    CoOp_KDPL has CoOp's section, as published: TRAINER.COOP; AdvPromptKD has PromptKD's, and
    `file.CoOp`, a class CoOp in somebody's file, CoOp's.
    """
    return sections_of(trainer)[0]


def sections_of(trainer: str) -> tuple[str, ...]:
    """The sections of cfg.TRAINER that a trainer reads: its method's, of CoOp_KDPL also KDPL, of AdvPromptKD ADV."""
    name = trainer.rpartition(".")[2].upper()
    if name == "ADVPROMPTKD":
        return ("PROMPTKD", "ADV")
    method = name.removesuffix("_KDPL")
    return (method,) if method == name else (method, "KDPL")


def dataset_name(cfg: CfgNode) -> str:
    """The name of a run's data set in results: a domain of one is a data set of its own, "OfficeHome-art".

    So is a domain that is split in other images to learn from and to be tested on: "OfficeHome-art-held_out".
    """
    name, domain = str(cfg.DATASET.NAME), str(cfg.DATASET.get("DOMAIN", ""))
    if not domain:
        return name
    test = str(cfg.DATASET.get("DOMAIN_TEST", "all"))
    return "-".join([name, domain, *([test] if test != "all" else [])])


def as_dict(cfg: CfgNode) -> dict[str, Any]:
    """A configuration as plain nested dictionaries, tuples as lists; a path that is not UTF-8 as `path_text` has it."""

    def plain(value: Any) -> Any:
        if isinstance(value, CfgNode):
            return as_dict(value)
        if isinstance(value, str) and not is_utf8(value):
            return path_text(value)
        return list(value) if isinstance(value, tuple) else value

    return {key: plain(value) for key, value in cfg.items()}


def relevant(cfg: CfgNode) -> dict[str, Any]:
    """The options that decide a run's numbers, by dotted key: no paths, and no options of other trainers."""
    flat: dict[str, Any] = {}

    def walk(node: dict[str, Any], prefix: str) -> None:
        for key, value in node.items():
            name = f"{prefix}{key}"
            if isinstance(value, dict):
                if prefix != "TRAINER." or key in sections_of(cfg.TRAINER.NAME):
                    walk(value, f"{name}.")
            elif name not in _WITHOUT_EFFECT:
                flat[name] = "" if name.startswith("TRAINER.") and key == "FEATURE_CACHE" else value  # it changes none

    walk(as_dict(cfg), "")
    if flat.get("LOAD_EPOCH", -1) < 0:  # else it decides what is evaluated
        flat.pop("LOAD_EPOCH", None)
    for name, default in _AS_IT_WAS.items():  # a run as before there was the option is that run still
        if flat.get(name) == default:
            del flat[name]
    for switch, names in _SWITCHED.items():
        if not flat.get(switch):
            flat = {name: value for name, value in flat.items() if name not in names}
    if flat.get("TRAINER.PROMPTKD.MODE"):  # of features: views come again, wherever they are kept
        flat.pop(_CACHE[0], None)
    elif flat.get(_CACHE[0]) != "views":  # else the teacher cache changes no number
        flat = {name: value for name, value in flat.items() if name not in _CACHE}
    return flat


def fingerprint(cfg: CfgNode, measuring: bool = True) -> str:
    """A hash of `relevant`, 16 hexadecimal digits: equal for two runs that must give the same numbers.

    Args:
        cfg: of the run.
        measuring: whether options count that only measure; without them it is the hash of what learns.
    """
    flat = {key: value for key, value in relevant(cfg).items() if measuring or not measures(key)}
    return hashlib.sha256(json.dumps(flat, sort_keys=True, default=str).encode()).hexdigest()[:16]
