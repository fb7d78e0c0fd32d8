"""An export against the run that it comes from: the same images, each at its own size, and what comes out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from promptkd.deploy.classifier import Classifier

BATCH = 32
_TIMED = 20  # single images whose median time is shown
_SECONDS = 5.0  # for them at most


class Exported(Protocol):
    """What an exported model answers."""

    def logits(self, images: Sequence[Image.Image]) -> np.ndarray:
        """B images -> (B, C) float32."""


@dataclass(frozen=True)
class Tolerance:
    """What an export may differ by.

    Attributes:
        agreement: percentage of the images whose likeliest class has to be the run's.
        largest: difference of a probability.
        lossless: whether it computes in the run's number type, so that made-up pictures count, too.
    """

    agreement: float
    largest: float
    lossless: bool


EXACT = Tolerance(100.0, 1e-3, True)
TOLERANCES = {
    "fp32": EXACT,
    "dynamic-size": Tolerance(99.0, 2e-2, True),  # ONNX Runtime resizes with weights in float32, Pillow in float64
    "fp16": Tolerance(99.0, 5e-2, False),
    "int8": Tolerance(95.0, 1.0, False),
}


@dataclass
class Comparison:
    """What was counted on a set of images; accuracies in percent, times in milliseconds."""

    images: int = 0
    agreeing: int = 0
    ties: int = 0  # other likeliest class, of a probability that the run's exceeds by less than rounding
    largest: float = 0.0
    labelled: int = 0
    right: list[int] = field(default_factory=lambda: [0, 0])  # of the run, of the export

    def add(self, ours: np.ndarray, theirs: np.ndarray, names: Sequence[str], classnames: Sequence[str]) -> None:
        """A batch: probabilities (B, C) of the run and of the export, and the names of the images' classes."""
        import numpy as np

        rows = np.arange(len(ours))
        first, second = ours.argmax(axis=1), theirs.argmax(axis=1)
        self.images += len(ours)
        self.agreeing += int((first == second).sum())
        self.ties += int(((first != second) & (ours[rows, first] - ours[rows, second] < 1e-5)).sum())
        self.largest = max(self.largest, float(np.abs(ours - theirs).max()))
        for name, *guesses in zip(names, first.tolist(), second.tolist(), strict=True):
            if name in classnames:
                self.labelled += 1
                for place, guess in enumerate(guesses):
                    self.right[place] += classnames[guess] == name

    @property
    def accuracies(self) -> tuple[float, float] | None:
        """Of the run and of the export, in percent; None where no class of an image is known."""
        if not self.labelled:
            return None
        return 100 * self.right[0] / self.labelled, 100 * self.right[1] / self.labelled

    def judge(self, tolerance: Tolerance, what: str) -> None:
        """Raises ValueError where the export disagrees with the run beyond a tolerance."""
        agreement = 100 * (self.agreeing + self.ties) / max(1, self.images)
        if agreement < tolerance.agreement:
            raise ValueError(
                f"the export disagrees with the run: the same class for {self.agreeing} of {self.images} {what} "
                f"({agreement:.1f} %, {tolerance.agreement:g} % are wanted); nothing was written"
            )
        if not self.largest <= tolerance.largest:
            raise ValueError(
                f"the export disagrees with the run: a probability of {what} differs by {self.largest:.2g} "
                f"({tolerance.largest:g} is allowed); nothing was written"
            )


def compare(
    ours: Classifier, theirs: Exported, batches: Iterable[tuple[Sequence[Image.Image], Sequence[str]]]
) -> Comparison:
    """Classifies images with both.

    Args:
        ours: the run.
        theirs: the export.
        batches: images, and the names of their classes, "" where nobody knows it.
    """
    from promptkd.deploy.ranking import softmax

    comparison = Comparison()
    for images, names in batches:
        first, second = softmax(ours.logits(images).numpy()), softmax(theirs.logits(images))
        comparison.add(first, second, names, ours.classnames)
    return comparison


def latency(classifier: Exported, image: Image.Image) -> float:
    """The median time of classifying one image, opened already, in milliseconds."""
    times: list[float] = []
    classifier.logits([image])
    begin = time.perf_counter()
    while len(times) < _TIMED and time.perf_counter() - begin < _SECONDS:
        start = time.perf_counter()
        classifier.logits([image])
        times.append(time.perf_counter() - start)
    return 1000 * sorted(times)[len(times) // 2]


def table(rows: Sequence[tuple[str, Comparison]], sizes: tuple[int, int], times: tuple[float, float]) -> str:
    """What was measured, for people.

    Args:
        rows: what the images are, and the comparison on them.
        sizes: bytes of the weights that the run computes with, and of the export.
        times: of one image, run and export, in milliseconds.
    """
    from tabulate import tabulate

    lines: list[list[str]] = []
    for what, one in rows:
        ties = f" ({one.ties} ties)" if one.ties else ""
        lines.append([f"same class, {what}", f"{one.agreeing} of {one.images}{ties}", ""])
        lines.append([f"largest difference of a probability, {what}", f"{one.largest:.1e}", ""])
        if one.accuracies:
            lines.append([f"accuracy %, {what}", *(f"{value:.2f}" for value in reversed(one.accuracies))])
    lines.append(["size MB", *(f"{size / 1e6:.2f}" for size in reversed(sizes))])
    lines.append(["one image ms", *(f"{value:.2f}" for value in reversed(times))])
    return tabulate(lines, headers=["", "export", "run"], disable_numparse=True)
