"""Where an exported model comes from, as texts: what its files and a card say of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from promptkd.results.record import FILE_NAME, RunRecord

if TYPE_CHECKING:
    from promptkd.deploy.classifier import Classifier


def about_of(classifier: Classifier, directory: str | Path) -> dict[str, str]:
    """Name -> text: "trainer", "backbone", "dataset", "template", "seed", "commit", ..., as far as known.

    Args:
        classifier: opened from `directory`.
        directory: of a finished run, or an exported folder, whose texts are taken over.

    Raises:
        ValueError: the directory is a run's, and its results.json is missing (the run is not finished) or damaged.
    """
    about = {key: value for key, value in classifier.about.items() if key != "source"}
    source = classifier.class_vectors.source
    about |= {f"class_vectors_{key}": str(value) for key, value in source.items() if key != "template"}
    about["template"] = str(source.get("template", ""))
    if not (Path(directory) / "config.yaml").is_file():
        return without_folders(about)
    path = Path(directory) / FILE_NAME
    if not path.is_file():
        raise ValueError(
            f"{directory} is not finished: it has no {FILE_NAME}; the same training command goes on with it"
        )
    try:
        record = RunRecord.read(path, needs_metrics=False)
    except ValueError as error:
        raise ValueError(f"{path} is {error}") from error
    names = ("trainer", "backbone", "dataset", "protocol", "shots", "seed", "epochs", "selection", "transductive")
    about |= {name: str(getattr(record, name)) for name in names}
    teacher = record.teacher or {}
    if teacher:
        about["teacher"] = " ".join(str(teacher[key]) for key in ("trainer", "backbone") if teacher.get(key))
    about |= {"finished": record.finished, "commit": record.commit or "", "config_hash": record.config_hash}
    return without_folders({key: value for key, value in about.items() if value})


def without_folders(about: Mapping[str, str]) -> dict[str, str]:
    """The same texts, but of a path from / or ~ its last name: an export goes to others, and folders are one's own."""
    return {key: _without_folders(value) for key, value in about.items()}


def _without_folders(text: str) -> str:
    if os.path.isabs(text) or text.startswith("~"):
        return os.path.basename(text.rstrip("/"))
    return re.sub(r"(?<!\S)[/~]\S*/(?=\S)", "", text)  # "ZeroshotCLIP on /home/me/teacher.pt"
