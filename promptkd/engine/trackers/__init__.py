"""What a run reports while it goes on, to any of several trackers: TensorBoard, a table, Weights & Biases, MLflow.

LOGGER names them ("tensorboard,csv"). A tracker is a bystander: one that fails is left out with a warning, and none
takes part in a run's random numbers. With several processes the main one alone has trackers. docs/trackers.md.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from yacs.config import CfgNode

from promptkd import distributed
from promptkd.engine.trackers.tracker import Picture, Scalar, Start, Tracker
from promptkd.results.record import RunRecord
from promptkd.results.settings import relevant
from promptkd.texts import clipped

log = logging.getLogger(__name__)

_KINDS = {  # name in LOGGER -> the class
    "tensorboard": ("promptkd.engine.trackers.tensorboard_log", "TensorBoardLog"),
    "csv": ("promptkd.engine.trackers.csv_table", "CsvTable"),
    "wandb": ("promptkd.engine.trackers.wandb_run", "WandbRun"),
    "mlflow": ("promptkd.engine.trackers.mlflow_run", "MlflowRun"),
}
_MOST_WAITING = 500  # numbers
_LONGEST_WAIT = 10.0  # seconds


def names_in(logger: str) -> tuple[str, ...]:
    """The trackers that a value of LOGGER names, each once; "" names none."""
    return tuple(dict.fromkeys(name.strip() for name in logger.split(",") if name.strip()))


def check_installed(logger: str) -> None:
    """Raises ValueError where a tracker's package is missing; TensorBoard, a plain dependency, is not asked for."""
    for name in names_in(logger):
        if name in ("wandb", "mlflow") and find_spec(name) is None:
            raise ValueError(
                f'LOGGER {logger}: {name} is not installed: pip install "promptkd[{name}]", or leave it out'
            )


class Trackers:
    """Several trackers as one, which Dassl's loop takes for its TensorBoard writer (`add_scalar`, `close`).

    Args:
        members: trackers by name; what they raise ends their part, not the run.

    Attributes:
        step: the latest optimiser step that was reported, counted from 0 over all epochs.
        failed: set where the run ended by an error; trackers that keep a state are informed of it.
    """

    def __init__(self, members: dict[str, Tracker] | None = None) -> None:
        self.members = dict(members or {})
        self.step, self.failed = 0, False
        self._waiting: list[Scalar] = []
        self._written = time.monotonic()

    def add_scalar(self, name: str, value: float, step: int | None = None) -> None:
        """Reports a number; it may wait some seconds for others, so that a step costs next to nothing."""
        if not self.members:
            return
        self.step = self.step if step is None else max(self.step, step)
        self._waiting.append(Scalar(self.step if step is None else step, name, float(value)))
        if len(self._waiting) >= _MOST_WAITING or time.monotonic() - self._written > _LONGEST_WAIT:
            self.flush()

    def flush(self) -> None:
        """Hands on what waits."""
        values, self._waiting = self._waiting, []
        self._written = time.monotonic()
        if values:
            self._each(lambda tracker: tracker.write(values))

    def add_result(self, record: RunRecord, pictures: Callable[[], Sequence[Picture]] = tuple) -> None:
        """Reports a run's result: its measures as numbers, its record, and a few test images.

        Args:
            record: of the finished run.
            pictures: gives the images; asked where a tracker shows any.
        """
        if not self.members:
            return
        for name, value in _numbers(record.metrics):
            self.add_scalar(f"test/{name}", value)
        self.flush()
        shows = any(tracker.shows_pictures for tracker in self.members.values())
        shown = self._made(pictures) if shows else ()
        content = record.to_dict()
        self._each(lambda tracker: tracker.finish(content, shown, self.step))

    def close(self) -> None:
        """Ends all trackers; later calls do nothing."""
        self.flush()
        self._each(lambda tracker: tracker.close(self.failed))
        self.members = {}

    def _made(self, pictures: Callable[[], Sequence[Picture]]) -> Sequence[Picture]:
        try:
            return pictures()
        except (OSError, ValueError) as error:  # an image that went away since
            log.warning("No images for the trackers: %s", clipped(error, 300))
            return ()

    def _each(self, call: Callable[[Tracker], None]) -> None:
        with kept_random():
            for name, tracker in list(self.members.items()):
                try:
                    call(tracker)
                except Exception as error:  # of a library and its server, which may raise what they like
                    del self.members[name]
                    log.warning("%s is not written any more: %s", name, describe(error))


def open_trackers(cfg: CfgNode, first_step: int) -> Trackers:
    """Opens the trackers of a run, on the main process; those of other processes hold nothing.

    Args:
        cfg: the run's; LOGGER names them.
        first_step: the optimiser step that comes next, above 0 in a run that was resumed.
    """
    members: dict[str, Tracker] = {}
    if distributed.is_main():
        backbone = Path(cfg.MODEL.BACKBONE.NAME).name
        name = f"{cfg.TRAINER.NAME} {cfg.DATASET.NAME} {backbone} seed{cfg.SEED}"
        start = Start(Path(cfg.OUTPUT_DIR), cfg.RESUME, name, relevant(cfg), first_step)
        with kept_random():
            for kind in names_in(cfg.LOGGER):
                module, attribute = _KINDS[kind]
                try:
                    members[kind] = getattr(import_module(module), attribute)(start)
                except Exception as error:  # see Trackers._each
                    log.warning("%s is not written: %s", kind, describe(error))
    return Trackers(members)


def describe(error: Exception) -> str:
    """An error of a tracker's library on one line."""
    return clipped(error, 300) or type(error).__name__


@contextlib.contextmanager
def kept_random() -> Iterator[None]:
    """Puts the random numbers of Python, NumPy and PyTorch back afterwards: libraries draw names of runs from them."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _numbers(metrics: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The measures of each class group, as base/accuracy, and hm; without those of single classes."""
    for group, values in metrics.items():
        if isinstance(values, dict):
            yield from ((f"{group}/{name}", value) for name, value in values.items() if not isinstance(value, dict))
        else:
            yield group, values
