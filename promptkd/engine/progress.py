"""How far a training run is: a bar in a terminal, a line an epoch elsewhere, and the time that it has spent."""

from __future__ import annotations

import datetime
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from tqdm import tqdm

from promptkd.bounded import shown
from promptkd.data.loading.pipeline import TimedLoader, starvation

log = logging.getLogger(__name__)


class Progress:
    """Counts images and seconds of training, and shows the epochs.

    Attributes:
        seconds: of training, over all processes' wall time, resumed runs included.
        images: that were trained on, of all processes.
        speed: images a second in the latest epoch.
    """

    def __init__(self) -> None:
        self.seconds, self.images, self.speed = 0.0, 0, 0.0
        self._bar: tqdm | None = None
        self._epoch, self._epochs, self._batches = 0, 0, 0
        self._sums: dict[str, float] = {}
        self._steps, self._rate = 0, 0.0
        self._warned = False
        self._durations: list[float] = []  # seconds of the epochs of this process

    @contextmanager
    def epoch(self, number: int, of: int, batches: int) -> Iterator[None]:
        """Shows an epoch (counted from 0) while it lasts."""
        self._sums, self._steps = {}, 0
        self._epoch, self._epochs, self._batches = number + 1, of, batches
        start, images = time.time(), self.images
        title = f"epoch {number + 1}/{of}"
        self._bar = tqdm(total=batches, desc=title, leave=False, disable=not sys.stderr.isatty(), unit="batch")
        try:
            yield
        finally:
            self._bar.close()
        seconds = time.time() - start
        self.seconds += seconds
        self._durations.append(seconds)
        # The first epoch also starts workers and warms up: once there are more, it does not count.
        recent = self._durations[1:] or self._durations
        left = datetime.timedelta(seconds=round(sum(recent) / len(recent) * (of - number - 1)))
        means = {name: total / max(self._steps, 1) for name, total in self._sums.items()}
        loss = means.pop("loss", float("nan"))
        parts = f" ({', '.join(f'{name} {value:.4f}' for name, value in means.items())})" if means else ""
        self.speed = (self.images - images) / max(seconds, 1e-9)
        log.log(
            logging.DEBUG if sys.stderr.isatty() else logging.INFO,
            "epoch [%d/%d] loss %.4f%s lr %.2e %.0f images/s eta %s",
            number + 1, of, loss, parts, self._rate, self.speed, left,
        )  # fmt: skip

    def warn_of_slow_loader(self, loader: Any, device: torch.device) -> None:
        """Warns once in a run that a GPU waits for images; on a CPU both are the same cores, and no advice helps."""
        if device.type == "cpu" or self._warned or not isinstance(loader, TimedLoader):
            return
        if advice := starvation(loader):
            log.warning(advice)
            self._warned = True

    def place(self, ahead: int = 0) -> str:
        """The last step, or one `ahead` of it, for a message: `epoch 3 of 20, step 7 of 50`."""
        return f"epoch {self._epoch} of {self._epochs}, step {self._steps + ahead} of {self._batches}"

    def state(self) -> dict[str, Any]:
        """What a resumed run takes back."""
        return {"train_seconds": self.seconds, "train_images": self.images}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Takes `state` back; raises ValueError where it is none."""
        seconds, images = state["train_seconds"], state["train_images"]
        if not isinstance(seconds, (int, float)) or not isinstance(images, int) or not 0 <= seconds < 1e12:
            raise ValueError(f"spent is {shown(state)}, no seconds and images")
        self.seconds, self.images = float(seconds), images

    def step(self, losses: Mapping[str, float], images: int, rate: float) -> None:
        """Counts a step: its losses by name, the images of all processes, and the learning rate."""
        self.images += images
        self._steps += 1
        self._rate = rate
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{losses['loss']:.3f}", refresh=False)
            self._bar.update()
