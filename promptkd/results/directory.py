"""Which run a directory belongs to: the one whose merged configuration, config.yaml, lies in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import yaml
from yacs.config import CfgNode

from promptkd import files
from promptkd.results.record import check_result
from promptkd.results.settings import as_dict, fingerprint, relevant

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
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        cfg = CfgNode(content)
        if not (isinstance(cfg.TRAINER.NAME, str) and isinstance(cfg.DATASET.NAME, str)):
            raise ValueError("TRAINER.NAME and DATASET.NAME are to be names")
        return cfg
    except (yaml.YAMLError, ValueError, AttributeError, AssertionError) as error:
        reason = f"it lacks {error}" if isinstance(error, AttributeError) else " ".join(str(error).split())
        raise ValueError(f"{path} is broken: {reason}") from error


def check_directory(directory: str | Path, cfg: CfgNode) -> None:
    """Makes sure that a run's files can go into a directory; creates it.

    Raises:
        ValueError: it holds another run, and the message names what differs; or results that are another run's.
        OSError: it cannot be written to.
    """
    directory = Path(directory)
    # an evaluation leaves no config.yaml of its own: it may share the directory of the run that it evaluates
    earlier = None if cfg.EVAL_ONLY else read_configuration(directory)
    if earlier is not None:
        before, now = relevant(earlier), json.loads(json.dumps(relevant(cfg), default=str))
        different = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
        if different:
            shown = "; ".join(f"{key} is {now.get(key)!r}, was {before.get(key)!r}" for key in different[:3])
            raise ValueError(f"{directory} holds another run ({shown}): choose another --output-dir, or remove it")
    check_result(directory, fingerprint(cfg))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK):
            raise PermissionError("no permission, or a read-only disk")
    except OSError as error:
        raise OSError(f"cannot write to --output-dir {directory}: {error.strerror or error}") from error


def take_directory(directory: str | Path, cfg: CfgNode) -> None:
    """Makes a directory a run's, by writing its merged configuration there. Raises what `check_directory` does."""
    check_directory(directory, cfg)
    files.write_text(Path(directory) / CONFIGURATION, yaml.safe_dump(as_dict(cfg), sort_keys=True))


def dataset_of(directory: str | Path) -> str | None:
    """The name of the data set that the run in a directory learned on; None where it holds no run of ours."""
    cfg = read_configuration(directory)
    return None if cfg is None else cfg.DATASET.NAME
