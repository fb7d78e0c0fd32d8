"""A few test images with what they were taken for."""

from __future__ import annotations

import numpy as np

from promptkd.data.images import read_upright
from promptkd.engine.trackers.tracker import Picture
from promptkd.results.predictions import Predictions

COUNT = 8
SIDE = 160  # pixels of the longer side


def pictures_of(predictions: Predictions, count: int = COUNT) -> list[Picture]:
    """The first image of each of the first classes, small, with its label and the likeliest class.

    Raises:
        OSError: one cannot be read any more.
    """
    pictures = []
    for path, label, answer, probability in predictions.firsts(count):
        image = read_upright(path).convert("RGB")
        image.thumbnail((SIDE, SIDE))
        caption = f"{label or 'no label'}, taken for {answer} ({100 * probability:.0f} %)"
        pictures.append(Picture(np.asarray(image, dtype=np.uint8), caption))
    return pictures
