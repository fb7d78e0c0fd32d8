"""One run's configuration: Dassl's defaults, each trainer's own, base.yaml, then the files and the command line."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY
from promptkd.aliases import INSTEAD
from promptkd.bounded import shown
from promptkd.data.benchmark import DATASET_DEFAULTS
from promptkd.engine.keys import OURS
from promptkd.engine.options import defaults_of, kinds_of
from promptkd.engine.published_options import OPTIONS, SECTIONS
from promptkd.engine.values import as_default
from promptkd.results.settings import node_of
from promptkd.texts import closest
from promptkd.written import Written, listed, number, pairs_of, read_yaml, switch, value_of

log = logging.getLogger(__name__)


def default_config(dataset_defaults: Mapping[str, Any]) -> CfgNode:
    """Every key that exists, with its default.

    Args:
        dataset_defaults: keys of DATASET beside Dassl's (`promptkd.data.benchmark.DATASET_DEFAULTS`).
    """
    cfg = get_cfg_default()
    for name, declared in OURS.items():
        *sections, key = name.split(".")
        node = cfg
        for section in sections:
            node = node.setdefault(section, CfgNode())
        node[key] = declared.default
    for key, value in dataset_defaults.items():
        cfg.DATASET[key] = value
    for name in TRAINER_REGISTRY.registered_names():
        trainer = TRAINER_REGISTRY.get(name)
        if hasattr(trainer, "Options"):
            for section, kind in kinds_of(trainer, name).items():
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
        return str(read_yaml(path)["TRAINER"]["NAME"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # merge_file says what is wrong with it


def merge_file(cfg: CfgNode, path: str | Path, given: dict[str, str] | None = None) -> dict[str, Any]:
    """Merges a YAML file; returns its PER_DATASET part, which is no configuration key but options by data set.

    Args:
        cfg: what it is merged into.
        path: the file.
        given: gets the file's name under each key that it sets.

    Raises:
        FileNotFoundError: no such file; the message gives the closest one beside it.
        ValueError: the file is not YAML, or has a key or value that does not belong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no configuration file {path}{_closest_file(path)}")
    values = read_yaml(path)
    if isinstance(values, Written) and not value_of(values):
        values = {}  # an empty file
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} is no mapping of keys to values, as OPTIM: {{LR: 0.002}}")
    per_dataset = values.pop("PER_DATASET", {})
    if not isinstance(per_dataset, dict) or not all(isinstance(one, dict) for one in per_dataset.values()):
        raise ValueError(f"{path}: PER_DATASET is no mapping of data sets to options, as EuroSAT: {{OPTIM: {{LR: 1}}}}")
    merge(cfg, values, str(path), given=given)
    return per_dataset


def _closest_file(path: Path) -> str:
    """What lies where a file was looked for, as the end of a message."""
    if not path.parent.is_dir() and path.parent.parent.is_dir():
        folders = sorted(folder.name for folder in path.parent.parent.iterdir() if folder.is_dir())
        close = closest(path.parent.name, folders, 0.3) or ", ".join(folders) or "nothing"
        return f"; closest to {path.parent.name}: {close}"
    beside = sorted(file.name for file in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    close = closest(path.name, beside, 0.3)
    if close:
        return f"; closest in {path.parent}: {close}"
    return f"; {path.parent} holds {', '.join(beside) or 'no recipe'}"


def merge(
    cfg: CfgNode, values: Mapping[str, Any], source: str, prefix: str = "", given: dict[str, str] | None = None
) -> None:
    """Merges nested values into a configuration.

    Args:
        cfg: what they are merged into.
        values: key -> value, or a section's keys and values; words of a file or a command line, or Python's values.
        source: their origin, for messages.
        prefix: the dotted section that `cfg` is, with a dot behind it.
        given: gets the source under each dotted key.

    Raises:
        ValueError: a key that does not exist (with the closest that does), or a value of the wrong type.
    """
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in cfg and cfg.is_new_allowed():
            log.info(f"{source}: {name} is taken as given, no trainer here declares it")
            cfg[key] = CfgNode(new_allowed=True) if isinstance(value, Mapping) else _plain(value, f"{source}: {name}")
        if key not in cfg and name in INSTEAD:
            raise ValueError(f"{source}: {name} is a key of a published repository alone: {INSTEAD[name]}")
        if key not in cfg:
            raise ValueError(f"{source}: no configuration key {shown(name)[1:-1]}{_closest_key(cfg, key, prefix)}")
        if isinstance(cfg[key], CfgNode):
            if not isinstance(value, Mapping):
                raise ValueError(f"{source}: {name} is a section, got {shown(value)}")
            merge(cfg[key], value, source, f"{name}.", given)
            continue
        if given is not None:
            given[name] = source
        if cfg.is_new_allowed() and prefix.startswith("TRAINER."):
            # a foreign trainer's own idea of a published key, as ProGrad's CTX_INIT True
            cfg[key] = _plain(value, f"{source}: {name}", as_text=isinstance(cfg[key], str))
        else:
            cfg[key] = as_default(value, cfg[key], name, source)


def _closest_key(cfg: CfgNode, key: str, prefix: str) -> str:
    """What keys there are, as the end of a message."""
    close = closest(key, cfg, 0.5)
    if close:
        return f"; closest: {prefix}{close}"
    return f"; {prefix or 'the top level'} has {', '.join(sorted(cfg))}"


def _plain(value: Any, where: str, as_text: bool = False) -> Any:
    """A value of a key whose kind nobody declares: what its word stands for, a text where it stands for nothing else.

    Args:
        value: a word, or what a file has.
        where: for the message.
        as_text: whether a word that is no switch stays as it is.
    """
    try:
        if isinstance(value, str) and (as_text or not isinstance(value, Written)):
            return _literal(value, as_text)
        return value_of(value)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _literal(text: str, as_text: bool) -> Any:
    """A word of a command line, or a quoted one of a file."""
    if text.lower() in ("true", "false"):
        return switch(text)
    if as_text:
        return str(text)
    try:
        count = number(text)
    except ValueError:
        return str(text)
    if count is not None:
        return count
    values = listed(text)
    return str(text) if values is None else tuple(values) if text.strip().startswith("(") else values


def merge_options(cfg: CfgNode, options: Sequence[str], given: dict[str, str] | None = None) -> None:
    """Merges trailing `KEY VALUE` pairs of a command line.

    Raises:
        ValueError: an odd number of words, a key with two different values, or what `merge` raises.
    """
    for key, text in pairs_of(options).items():
        merge_value(cfg, key, text, given)


def domain_called(dataset: str, word: str) -> str:
    """The domain of a registered data set that a word names; "" for no word, and for a data set without domains.

    Raises:
        ValueError: it names none; the message has the closest.
    """
    kind: Any = DATASET_REGISTRY.get(dataset) if dataset in DATASET_REGISTRY.registered_names() else None
    return str(kind.domain_called(word)) if word and hasattr(kind, "domain_called") else ""


def settle_domain(cfg: CfgNode, domain: str) -> None:
    """Gives a configuration its domain as the data set calls it; what a data set does not read is as by default.

    One domain has one name in results and hashes, then, however it was written.
    """
    name = cfg.DATASET.NAME
    kind = DATASET_REGISTRY.get(name) if name in DATASET_REGISTRY.registered_names() else None
    cfg.DATASET.DOMAIN = domain
    if "DOMAIN_TEST" not in getattr(kind, "reads", ()):
        cfg.DATASET.DOMAIN_TEST = DATASET_DEFAULTS["DOMAIN_TEST"]


def merge_value(
    cfg: CfgNode, key: str, value: Any, given: dict[str, str] | None = None, source: str = "command line"
) -> None:
    """Merges one value, of a command line or from elsewhere, under a dotted key. Raises what `merge` does."""
    nested: Any = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    merge(cfg, nested, source, given=given)


def changed(cfg: CfgNode, default: CfgNode, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value of every key that differs from the default."""
    differences: dict[str, Any] = {}
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            differences |= changed(value, default.get(key, CfgNode()), f"{prefix}{key}.")
        elif key not in default or default[key] != value:
            differences[f"{prefix}{key}"] = value
    return differences
