"""A run's prediction for each test image, predictions.csv, and the accuracy of each class.

A path in the file is as `promptkd.texts.path_text` writes it, from the data sets' folder where the image is in it: a
byte of a name that is not UTF-8 is `\\xNN`, and `promptkd.texts.path_of` gives the name on disk.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from promptkd.texts import cell, path_of, path_text, uncelled

if TYPE_CHECKING:
    from torch import Tensor

FILE_NAME = "predictions.csv"
TOP = 5
COLUMNS = ("path", "group", "label", "prediction", *(f"{kind}{i + 1}" for i in range(TOP) for kind in ("class", "p")))


class Predictions:
    """Gathered batch by batch in one evaluation.

    Args:
        root: the data sets' folder; paths in it are written relative to it.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()
        self._rows: list[list[str]] = []
        self._counts: dict[str, dict[str, list[int]]] = {}  # group -> class -> [right, images]

    def add(self, group: str, names: Sequence[str], paths: Sequence[str], labels: Tensor, logits: Tensor) -> None:
        """Images of one class group.

        Args:
            group: its name.
            names: C class names of the group.
            paths: B files.
            labels: (B,) indices of `names`, or -1 for an image without a label.
            logits: (B, C) float32.
        """
        values, classes = logits.softmax(dim=1).topk(min(TOP, len(names)), dim=1)  # (B, TOP)
        counts = self._counts.setdefault(group, {name: [0, 0] for name in names})
        for path, label, top, probabilities in zip(
            paths, labels.tolist(), classes.tolist(), values.tolist(), strict=True
        ):
            if label >= 0:
                counts[names[label]][0] += int(top[0] == label)
                counts[names[label]][1] += 1
            pairs = zip(top, probabilities, strict=True)
            likeliest = [text for one, p in pairs for text in (names[one], f"{p:.6f}")]
            shown = names[label] if label >= 0 else ""
            self._rows.append(
                [*map(cell, (path_from(self.root, path), group, shown, names[top[0]])), *map(cell, likeliest)]
            )

    def per_class(self, group: str) -> dict[str, float]:
        """Class name -> accuracy in percent, of the classes that have images; equal names share one entry."""
        counts = self._counts.get(group, {})
        return {name: 100.0 * right / images for name, (right, images) in counts.items() if images}

    def firsts(self, count: int) -> list[tuple[str, str, str, float]]:
        """The first image of each of `count` classes: its path, its label ("" for none), the likeliest class, and p."""
        first: dict[str, list[str]] = {}
        for row in self._rows:
            if len(first) < count:
                first.setdefault(row[2], row)
        return [
            (str(self.root / path_of(uncelled(path))), uncelled(label), uncelled(answer), float(row[5]))
            for row in first.values()
            for path, _, label, answer in [row[:4]]
        ]

    def text(self) -> str:
        """The file: a line for each image, likeliest classes first; empty fields where a group has fewer than TOP.

        A name or path that a spreadsheet would run, as one that begins with =, has an apostrophe in front: `read_rows`
        takes it away.
        """
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([*row, *[""] * (len(COLUMNS) - len(row))] for row in self._rows)
        return file.getvalue()


def path_from(root: Path, path: str) -> str:
    """A path as the files of a run have it: from the data sets' folder where it is in it; see `path_text`.

    Args:
        root: absolute.
        path: of an image.
    """
    absolute = Path(path).absolute()
    inside = absolute.relative_to(root) if absolute.is_relative_to(root) else absolute
    return path_text(inside.as_posix())


def read_rows(path: str | Path) -> Iterator[dict[str, str]]:
    """The lines of a predictions.csv, by column.

    Raises:
        OSError, ValueError: it cannot be read, or is no text.
        csv.Error: it is no CSV.
    """
    with Path(path).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {key: uncelled(value) if isinstance(value, str) else value for key, value in row.items()}
