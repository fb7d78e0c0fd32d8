"""A run of somebody's code as a file, foreign.json in its directory: what starts it, and what it belongs to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from promptkd import bounded, files

FILE_NAME = "foreign.json"
DATA_CHOICES = ("auto", "ours", "theirs")


@dataclass(frozen=True)
class ForeignPlan:
    """One run: a trainer of a repository, on one data set, by one protocol, with one seed."""

    repository: str  # folder that is run
    name: str  # of the repository
    commit: str | None
    changed: list[str]  # files that differ from the commit
    digest: str  # of its code and configuration
    trainer: str
    dataset: str  # file name of its configuration, as eurosat
    protocol: str
    shots: int
    seed: int
    root: str  # folder of the data sets
    directory: str  # of the run
    recipe: str = ""  # path of the trainer's configuration file
    dataset_file: str = ""  # path of the data set's configuration file
    options: list[str] = field(default_factory=list)  # KEY VALUE ...
    learned: str = ""  # directory of the run that is evaluated; "" for a training
    cpu: bool = False
    data: str = "auto"
    trust: list[str] = field(default_factory=list)  # files that torch.load may read whole
    paths: dict[str, str] = field(default_factory=dict)  # path of its authors -> path here
    patience: float = 30.0  # minutes without a sign of life after which the child is ended
    own_file: str = ""  # the trainer's file, where the repository has no train.py
    flags: dict[str, str] = field(default_factory=dict)  # the field's flag -> its train.py's name for it
    words: list[str] = field(default_factory=list)  # more words for its train.py
    subsample: bool = True  # whether its configuration knows DATASET.SUBSAMPLE_CLASSES

    def settings(self) -> dict[str, Any]:
        """What decides the numbers of the run, by dotted key."""
        pairs = dict(zip(self.options[::2], self.options[1::2], strict=True))
        recipe = Path(self.recipe).stem if self.recipe else ""
        return pairs | {
            "REPOSITORY": self.digest,
            "TRAINER.NAME": self.trainer,
            "DATASET.NAME": self.dataset,
            "DATASET.NUM_SHOTS": self.shots,
            "PROTOCOL": self.protocol,
            "SEED": self.seed,
            "RECIPE": recipe,
            "DATA": self.data,
            "CPU": self.cpu,
            "EVALUATED": bool(self.learned),
            "WORDS": " ".join(self.words),
        }

    def config_hash(self) -> str:
        """A hash of `settings` and of the recipe's text, 16 hexadecimal digits."""
        text = bounded.read_text(self.recipe) if self.recipe else ""
        whole = json.dumps([self.settings(), text], sort_keys=True)
        return hashlib.sha256(whole.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def text(self) -> str:
        """The plan as one word of a command line."""
        return json.dumps(asdict(self))

    def write(self) -> Path:
        """Writes foreign.json and returns its path.

        Raises:
            ValueError: the directory is another run's.
        """
        path = Path(self.directory) / FILE_NAME
        if path.is_file() and read(path).config_hash() != self.config_hash():
            raise ValueError(f"{self.directory} holds another run: give another --output, or remove it")
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, asdict(self))
        return path


def read(path: str | Path) -> ForeignPlan:
    """The plan in a foreign.json.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file.
    """
    return _plan_of(bounded.read_json(path), path)


def parse(text: str) -> ForeignPlan:
    """The plan that `ForeignPlan.text` wrote. Raises ValueError for another text."""
    return _plan_of(bounded.parse_json(text, "--job"), "--job")


def _plan_of(content: Any, path: str | Path) -> ForeignPlan:
    """The plan of parsed JSON; `path` is for messages."""
    kinds = {one.name: one for one in fields(ForeignPlan)}
    if not isinstance(content, dict) or not kinds.keys() >= content.keys():
        raise ValueError(f"{bounded.named(path)} is no plan of a run: write it anew by promptkd foreign")
    wanted: dict[str, type | tuple[type, ...]] = {"commit": (str, type(None)), "patience": (int, float)}
    wanted |= dict.fromkeys(("changed", "options", "trust", "words"), list)
    wanted |= dict.fromkeys(("paths", "flags"), dict) | dict.fromkeys(("cpu", "subsample"), bool)
    wanted |= dict.fromkeys(("shots", "seed"), int)
    for key, value in content.items():
        if not isinstance(value, wanted.get(key, str)):
            raise ValueError(f"{bounded.named(path)}: {key} is {bounded.shown(value)}")
    try:
        return ForeignPlan(**content)
    except TypeError as error:
        raise ValueError(f"{bounded.named(path)} lacks a field: {error}") from error
