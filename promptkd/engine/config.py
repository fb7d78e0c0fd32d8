"""One run's configuration: Dassl's defaults, each trainer's own, base.yaml, then the files and the command line."""

from __future__ import annotations

import logging
from ast import literal_eval
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.options import defaults_of
from promptkd.engine.published_options import OPTIONS, SECTIONS
from promptkd.results.settings import node_of, sections_of

log = logging.getLogger(__name__)

FINAL_MODELS = ("last_step", "best_val", "best_on_test_as_published")


# Keys that Dassl does not have -> default and meaning; docs/options.md is made of them (promptkd.engine.options_page).
KEYS: dict[str, tuple[Any, str]] = {
    "TEMPLATE": ("", 'text with one {} of zero-shot CLIP, and of a plain CLIP as teacher; "" is the data set\'s own'),
    "PROTOCOL": ("", 'fewshot, cross or dg, where a run belongs to those tables and cannot know it; "": by the data'),
    "EVAL_ONLY": (False, "evaluate MODEL_DIR in place of training"),
    "MODEL_DIR": ("", "directory of the run to evaluate"),
    "LOAD_EPOCH": (-1, "its epoch; negative: the best where one was chosen, else the last"),
    "OPTIM.SCALE_LR_TO_BATCH": (0, "batch size that LR is for: LR is multiplied by BATCH_SIZE / this; 0: LR as it is"),
    "TRAIN.ACCUMULATE": (1, "parts of a batch that are computed one after the other, to save memory"),
    "DATALOADER.PREFETCH_FACTOR": (2, "batches that each worker has ready"),
    "DATALOADER.DECODED_CACHE_GB": (0.0, "decoded training images to keep, at most so many GiB a process; 0: none"),
    "DATALOADER.DECODED_CACHE_DIR": ("", 'where they are kept; "" is the system\'s temporary folder'),
    "INPUT.DRAFT": (0.0, "JPEGs are decoded at 1/2, 1/4 or 1/8 where both sides stay at least this x SIZE; 0: in full"),
    "INPUT.ON_DEVICE": (False, "training crops are resized, mirrored and normalised on the device, not by workers"),
    "TRAIN.TEXT_CHUNK": (0, "texts encoded at a time: 0 by the free memory, N, or -1 for all at once"),
    "MODEL.COMPILE": (False, "torch.compile of the frozen image encoders, which costs a minute at the start"),
    "TRAINER.MODAL": ("base2novel", "PromptKD: base2novel (evaluates base and new) or cross (evaluates all classes)"),
    "DATASET.SUBSAMPLE_CLASSES": ("all", "classes whose images train: all, base or new; base also evaluates new"),
}


def default_config(dataset_defaults: Mapping[str, Any]) -> CfgNode:
    """Every key that exists, with its default.

    Args:
        dataset_defaults: keys of DATASET beside Dassl's (`promptkd.data.benchmark.DATASET_DEFAULTS`).
    """
    cfg = get_cfg_default()
    for name, (default, _) in KEYS.items():
        *sections, key = name.split(".")
        node = cfg
        for section in sections:
            node = node[section]
        node[key] = default
    for key, value in dataset_defaults.items():
        cfg.DATASET[key] = value
    for name in TRAINER_REGISTRY.registered_names():
        trainer = TRAINER_REGISTRY.get(name)
        if hasattr(trainer, "Options"):
            for section, kind in zip(sections_of(name), (trainer.Options, *trainer.AddedOptions), strict=True):
                cfg.TRAINER[section] = defaults_of(kind)
    return cfg


def admit(cfg: CfgNode, trainer: str) -> None:
    """Makes room for a trainer that was written for upstream and declares no options: it may be given any key."""
    name = next((name for name in TRAINER_REGISTRY.registered_names() if name == trainer), "")
    if not name or hasattr(TRAINER_REGISTRY.get(name), "Options"):
        return
    for node, options in OPTIONS.items():
        cfg.TRAINER[node] = CfgNode(cfg.TRAINER.get(node, {}) | options)  # the published defaults stand before ours
    cfg.TRAINER.setdefault(node_of(name), CfgNode())
    for section, options in SECTIONS.items():
        cfg[section] = CfgNode(options)
    cfg.set_new_allowed(True)


def trainer_named_in(path: str | Path) -> str:
    """TRAINER.NAME of a YAML file, "" where it says none or cannot be read."""
    try:
        return str(yaml.safe_load(Path(path).read_text(encoding="utf-8"))["TRAINER"]["NAME"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return ""  # merge_file says what is wrong with it


def merge_file(cfg: CfgNode, path: str | Path) -> dict[str, Any]:
    """Merges a YAML file; returns its PER_DATASET part, which is no configuration key but options by data set.

    Raises:
        FileNotFoundError: no such file; the message gives the closest one beside it.
        ValueError: the file is not YAML, or has a key or value that does not belong.
    """
    path = Path(path)
    if not path.is_file():
        if not path.parent.is_dir() and path.parent.parent.is_dir():
            folders = sorted(folder.name for folder in path.parent.parent.iterdir() if folder.is_dir())
            close = get_close_matches(path.parent.name, folders, n=1, cutoff=0.3) or [", ".join(folders) or "nothing"]
            raise FileNotFoundError(f"no configuration file {path}; closest to {path.parent.name}: {close[0]}")
        beside = sorted(file.name for file in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        close = get_close_matches(path.name, beside, n=1, cutoff=0.3)
        hint = (
            f"; closest in {path.parent}: {close[0]}"
            if close
            else f"; {path.parent} holds {', '.join(beside) or 'no recipe'}"
        )
        raise FileNotFoundError(f"no configuration file {path}{hint}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    per_dataset = values.pop("PER_DATASET", {})
    merge(cfg, values, str(path))
    return per_dataset


def merge(cfg: CfgNode, values: Mapping[str, Any], source: str, prefix: str = "") -> None:
    """Merges nested values into a configuration.

    Raises:
        ValueError: a key that does not exist (with the closest that does), or a value of the wrong type.
    """
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in cfg and cfg.is_new_allowed():
            log.info(f"{source}: {name} is taken as given, no trainer here declares it")
            cfg[key] = CfgNode(new_allowed=True) if isinstance(value, Mapping) else value
        if key not in cfg:
            close = get_close_matches(str(key), list(cfg), n=1, cutoff=0.5)
            hint = (
                f"; closest: {prefix}{close[0]}"
                if close
                else f"; {prefix or 'the top level'} has {', '.join(sorted(cfg))}"
            )
            raise ValueError(f"{source}: no configuration key {name}{hint}")
        if isinstance(cfg[key], CfgNode):
            if not isinstance(value, Mapping):
                raise ValueError(f"{source}: {name} is a section, got {value!r}")
            merge(cfg[key], value, source, f"{name}.")
        elif cfg.is_new_allowed() and prefix.startswith("TRAINER."):
            cfg[key] = value  # a foreign trainer's own idea of a published key, as ProGrad's CTX_INIT True
        else:
            cfg[key] = _fit(value, cfg[key], f"{source}: {name}")


def merge_options(cfg: CfgNode, options: list[str]) -> None:
    """Merges trailing `KEY VALUE` pairs of a command line.

    Raises:
        ValueError: an odd number of words, or what `merge` raises.
    """
    if len(options) % 2:
        raise ValueError(f"options come in pairs KEY VALUE, the last one stands alone: {options[-1]!r}")
    for key, text in zip(options[::2], options[1::2], strict=True):
        nested: Any = _literal(text)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        merge(cfg, nested, "command line")


def _literal(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _fit(value: Any, default: Any, where: str) -> Any:
    """A value in the type of its default; YAML and shells write 1000 for 1000.0, a list for a tuple, 1e-5 as text."""
    if isinstance(value, str) and isinstance(default, (int, float, tuple, list)) and not isinstance(default, bool):
        value = _literal(value)  # published recipes hold SIZE: (224, 224), which YAML reads as text
    if isinstance(default, bool) or isinstance(value, bool):
        fits = isinstance(value, bool) and isinstance(default, bool)
    elif isinstance(default, float):
        fits, value = isinstance(value, (int, float)), float(value) if isinstance(value, (int, float)) else value
    elif isinstance(default, int):
        fits = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        value = int(value) if fits else value
    elif isinstance(default, (tuple, list)):
        fits = isinstance(value, Iterable) and not isinstance(value, (str, Mapping))
        value = type(default)(value) if fits else value
    else:
        fits, value = True, str(value) if isinstance(default, str) else value
    if not fits:
        raise ValueError(f"{where} is {value!r}, but wants {type(default).__name__} like {default!r}")
    return value


def changed(cfg: CfgNode, default: CfgNode, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value of every key that differs from the default."""
    differences: dict[str, Any] = {}
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            differences |= changed(value, default.get(key, CfgNode()), f"{prefix}{key}.")
        elif key not in default or default[key] != value:
            differences[f"{prefix}{key}"] = value
    return differences
