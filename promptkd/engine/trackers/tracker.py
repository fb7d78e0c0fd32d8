"""What a tracker is, and what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from promptkd import bounded, files

MEMORY = "trackers.json"  # in a run's directory: by which names its trackers know it


class Scalar(NamedTuple):
    """A number at an optimiser step, which is counted from 0 over all epochs."""

    step: int
    name: str  # as train/loss
    value: float


class Picture(NamedTuple):
    """An image with a line of text: pixels are (H, W, 3), 0 to 255."""

    pixels: NDArray[np.uint8]
    caption: str


@dataclass(frozen=True)
class Start:
    """What a tracker is opened with.

    Attributes:
        directory: of the run.
        resumed: directory of the run that this one goes on from, where that is another; else "".
        name: a line for people.
        settings: value by dotted key, what decides the run's numbers.
        first_step: above 0 in a run that was resumed.
    """

    directory: Path
    resumed: str
    name: str
    settings: dict[str, Any]
    first_step: int

    def recall(self, tracker: str) -> str:
        """The name by which a tracker knows this run since an earlier start, or ""."""
        for directory in (self.directory, *([Path(self.resumed)] if self.resumed else [])):
            if name := _read(directory).get(tracker):
                return name
        return ""

    def remember(self, tracker: str, name: str) -> None:
        """Keeps the name by which a tracker knows this run, for a later start."""
        files.write_json(self.directory / MEMORY, _read(self.directory) | {tracker: name})


def _read(directory: Path) -> dict[str, str]:
    """Tracker -> its name of the run in a directory; {} where nothing usable is there."""
    try:
        content = bounded.read_json(directory / MEMORY)
    except (OSError, ValueError):
        return {}
    names = content if isinstance(content, dict) else {}
    return {key: name for key, name in names.items() if isinstance(name, str) and name.isalnum() and len(name) <= 64}


class Tracker(Protocol):
    """Where a run's numbers go; made from a `Start`, which it reports as the configuration.

    Each method, and the making, may raise anything: the caller goes on without this tracker.

    Attributes:
        shows_pictures: whether `finish` makes use of images.
    """

    shows_pictures: bool

    def write(self, values: Sequence[Scalar]) -> None:
        """Adds numbers, in the order of their steps."""

    def finish(self, record: dict[str, Any], pictures: Sequence[Picture], step: int) -> None:
        """Adds the content of results.json, and test images with what they were taken for; `step` is the last one."""

    def close(self, failed: bool) -> None:
        """Ends; `failed` where the run did not come to its end."""
