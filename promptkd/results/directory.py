"""Which run a directory belongs to: the one whose merged configuration, config.yaml, lies in it."""

from __future__ import annotations

import json
import logging
import os
import shlex
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from promptkd import bounded, files
from promptkd.results import origins
from promptkd.results.predictions import FILE_NAME as PREDICTIONS
from promptkd.results.record import FILE_NAME as RESULT
from promptkd.results.record import RunRecord, check_result
from promptkd.results.settings import as_dict, dataset_name, fingerprint, measures, node_of, relevant

log = logging.getLogger(__name__)

CONFIGURATION = "config.yaml"


def read_configuration(directory: str | Path) -> CfgNode | None:
    """The configuration of the run in a directory; None where there is none.

    Raises:
        ValueError: config.yaml cannot be read.
    """
    path = Path(directory) / CONFIGURATION
    if not path.is_file():
        return None
    try:
        content = bounded.read_yaml(path)
        _check_sections(content)
        return CfgNode(content)
    except (ValueError, AssertionError) as error:
        reason = bounded.clipped(str(error).removeprefix(f"{bounded.named(path)} "), 400)
        raise ValueError(f"{bounded.named(path)} is broken: {reason}") from error
    except OSError as error:
        raise ValueError(f"{bounded.named(path)} cannot be read ({error.strerror})") from error


# What others take from a run's configuration, and of which kind it has to be where it is given; the names have to be.
_KINDS: dict[str, tuple[type, str]] = {
    "TRAINER": (dict, "a section"),
    "TRAINER.NAME": (str, "a name"),
    "DATASET": (dict, "a section"),
    "DATASET.NAME": (str, "a name"),
    "DATASET.DOMAIN": (str, "a name"),
    "DATASET.NUM_SHOTS": (int, "a whole number"),
    "MODEL": (dict, "a section"),
    "MODEL.BACKBONE": (dict, "a section"),
    "MODEL.BACKBONE.NAME": (str, "a name"),
    "INPUT": (dict, "a section"),
    "OPTIM": (dict, "a section"),
    "SEED": (int, "a whole number"),
    "LOAD_EPOCH": (int, "a whole number"),
}


def _check_sections(content: Any) -> None:
    """Raises ValueError where a configuration lacks the method or the data set, or a value is of another kind."""
    if not isinstance(content, dict):
        raise ValueError(f"it is {bounded.shown(content)}, no mapping of sections")
    sections: list[tuple[str, dict[Any, Any]]] = [("", content)]
    for prefix, section in sections:  # grows
        for key, value in section.items():
            if not isinstance(key, str):
                raise ValueError(f"{prefix}{bounded.shown(key)} is no key")
            kind, wanted = _KINDS.get(f"{prefix}{key}", (object, ""))
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
                raise ValueError(f"{prefix}{key} is {bounded.shown(value)}, not {wanted}")
            if isinstance(value, dict):
                sections.append((f"{prefix}{key}.", value))
            elif value is not None and not isinstance(value, (str, int, float, list)):
                raise ValueError(f"{prefix}{key} is {bounded.shown(value)}, no value of a configuration")
    for name in ("TRAINER", "DATASET"):
        if "NAME" not in content.get(name, {}):
            raise ValueError(f"it lacks {name}.NAME")
    if not isinstance(content["TRAINER"].get(node_of(content["TRAINER"]["NAME"]), {}), dict):
        raise ValueError(f"TRAINER.{node_of(content['TRAINER']['NAME'])} is no section")


def check_directory(directory: str | Path, cfg: CfgNode) -> None:
    """Makes sure that a run's files can go into a directory; creates it.

    A run whose teacher (or initial weights) lies elsewhere now is the same run where its content is the same.

    Raises:
        ValueError: it holds another run, and the message names what differs; or results that are another run's.
        OSError: it cannot be written to.
    """
    directory = Path(directory)
    # an evaluation leaves no config.yaml of its own: it may share the directory of the run that it evaluates
    earlier = None if cfg.EVAL_ONLY else read_configuration(directory)
    if earlier is not None:
        before, now = relevant(earlier), json.loads(json.dumps(relevant(cfg), default=str))
        different = differences(directory, before, now)
        if different:
            changes = [(key, *map(bounded.shown, (now.get(key), before.get(key)))) for key in different[:3]]
            shown = "; ".join(f"{key} is {value}, was {earlier_value}" for key, value, earlier_value in changes)
            if all(map(measures, different)):
                also = "give these options as they were, or choose another --output-dir"
                raise ValueError(f"{measured_otherwise(directory, shown)}: {also}")
            raise ValueError(f"{directory} holds another run ({shown}): choose another --output-dir, or remove it")
    hashes = (fingerprint(cfg), *(() if earlier is None else (fingerprint(earlier),)))
    if check_result(directory, *hashes) is None and (directory / RESULT).is_file():
        log.warning("%s is damaged: this run writes it anew", directory / RESULT)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK):
            raise PermissionError("no permission, or a read-only disk")
    except OSError as error:
        raise OSError(
            f"cannot write to --output-dir {directory} ({error.strerror or error}): choose another folder"
        ) from error
    for name in (CONFIGURATION, RESULT, PREDICTIONS, origins.FILE_NAME):
        if (directory / name).is_dir():
            raise IsADirectoryError(f"{directory / name} is a folder: a run writes a file there, remove it")


def measured_otherwise(directory: str | Path, shown: str = "") -> str:
    """A sentence on a directory whose run differs only in what is measured in addition, as under attack.

    Args:
        directory: of the run.
        shown: the options that differ.
    """
    place = shlex.quote(str(directory))
    # promptkd robust fits no temperature
    way = f"--eval-only --model-dir {place}" if "TEST.TEMPERATURE" in shown else f"promptkd robust {place}"
    about = "; ".join(filter(None, [shown, f"{way} measures it when it is finished"]))
    return f"{directory} holds this run, measured otherwise ({about})"


def differences(directory: str | Path, before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The keys by which two configurations, as `relevant` gives them, are different runs.

    Args:
        directory: of the run with the configuration `before`.
        before, now: value by dotted key. Of paths that differ, the contents are compared.
    """
    keys = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    return [key for key in keys if not origins.same_content(directory, key, before.get(key), now.get(key))]


def moved_from(directory: str | Path, cfg: CfgNode) -> str:
    """The configuration hash of the run in a directory, where it is this one but for the place of its teacher; or "".

    Raises:
        ValueError: config.yaml cannot be read.
    """
    earlier = read_configuration(directory)
    if earlier is None or fingerprint(earlier) == fingerprint(cfg):
        return ""
    before, now = relevant(earlier), json.loads(json.dumps(relevant(cfg), default=str))
    return "" if differences(directory, before, now) else fingerprint(earlier)


def take_directory(directory: str | Path, cfg: CfgNode) -> None:
    """Makes a directory a run's, by writing its merged configuration there; removes what a killed one left unfinished.

    Raises:
        ValueError, OSError: see `check_directory`.
    """
    check_directory(directory, cfg)
    for folder in (Path(directory), *(path for path in Path(directory).iterdir() if path.is_dir())):
        for path in files.remove_leftovers(folder):
            log.debug("Removed %s, which a run that was killed left", path)
    origins.write(directory, relevant(cfg), moved_from(directory, cfg))
    files.write_text(Path(directory) / CONFIGURATION, yaml.safe_dump(as_dict(cfg), sort_keys=True))


def temperature_of_run(directory: str | Path) -> float:
    """By what the run in a directory divides its logits: what TEST.TEMPERATURE True has fitted, else 1.

    Raises:
        ValueError: results.json is damaged, so that nobody knows; the message names it.
    """
    path = Path(directory) / RESULT
    if not path.is_file():
        return 1.0
    try:
        return float((RunRecord.read(path, needs_metrics=False).temperature or {}).get("value", 1.0))
    except ValueError as error:
        raise ValueError(f"{bounded.named(path)} is {bounded.clipped(error, 300)}") from error


def dataset_of(directory: str | Path) -> str | None:
    """The name of the data set that the run in a directory learned on; None where it holds no run of ours."""
    cfg = read_configuration(directory)
    return None if cfg is None else dataset_name(cfg)
