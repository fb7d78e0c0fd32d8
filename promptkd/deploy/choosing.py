"""Chooses the threshold below which an image is none of a run's classes, on validation images of the classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from promptkd.deploy.rejection import Rejection, scores

if TYPE_CHECKING:
    import numpy as np

    from promptkd.deploy.ranking import ImageClassifier
    from promptkd.deploy.run_images import ImageList
    from promptkd.deploy.sources import Picture


def choose(
    model: ImageClassifier,
    inside: ImageList,
    measure: str,
    kept: float = 0.95,
    outside: dict[str, ImageList] | None = None,
    batch: int = 64,
) -> Rejection:
    """The highest threshold that keeps this share of the validation images, and how well the score tells others apart.

    Args:
        model: classifies.
        inside: validation images of its classes.
        measure: "probability" or "energy".
        kept: share of them whose score is as high as the threshold, above 0 and up to 1.
        outside: name -> images of other things, for the AUROC.
        batch: images that are classified at a time.

    Raises:
        OSError: an image cannot be read.
    """
    import numpy as np

    known = scores(_logits(model, inside, batch), measure)
    others = {name: scores(_logits(model, images, batch), measure) for name, images in (outside or {}).items()}
    ordered = np.sort(known)
    threshold = float(ordered[int(np.floor((1 - kept) * len(ordered)))])
    share = float((known >= threshold).mean())
    areas = {name: auroc(known, one) for name, one in others.items()}
    return Rejection(measure, threshold, share, len(known), areas, model.temperature)


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """The probability that an outside image scores lower than one inside, half of it for equals (Mann-Whitney's U).

    Args:
        inside: (N,) scores.
        outside: (M,) scores.
    """
    import numpy as np

    ordered = np.sort(outside)
    lower, up_to = (np.searchsorted(ordered, inside, side) for side in ("left", "right"))
    return float((lower + up_to).mean() / (2 * len(ordered)))


def _logits(model: ImageClassifier, images: ImageList, batch: int) -> np.ndarray:
    """(N, C) of all images; raises the error of the first that cannot be read."""
    import numpy as np

    from promptkd.deploy.stream import classified

    rows: list[np.ndarray] = []
    for _, logits in classified(model, _pictures(images), batch):
        if isinstance(logits, OSError):
            raise logits
        rows.append(logits)
    return np.stack(rows)


def _pictures(images: ImageList) -> Iterable[Picture]:
    from promptkd.data.images import read_published, read_upright
    from promptkd.deploy.sources import Picture

    read = read_published if images.as_published else read_upright
    return [Picture(path, partial(read, path)) for path in images.paths]


def images_for(run: Path, root: str, against: Sequence[str]) -> tuple[ImageList, dict[str, ImageList]]:
    """Validation images of a run, and images of other things.

    Args:
        run: directory of a finished run.
        root: the data sets' folder where it is another one now, or "".
        against: names of data sets, whose test images are taken, or folders.

    Raises:
        OSError, ValueError: they are not there; the message says what to do.
    """
    from promptkd.deploy import run_images
    from promptkd.results.directory import read_configuration

    config = read_configuration(run)
    if config is None:
        raise ValueError(
            f"{run} stores no threshold and is no run, which has validation images: choose it with the run "
            "(promptkd predict RUN --reject), and export it again"
        )
    inside = run_images.of_run(config, "val", root)
    outside = {}
    for name in against:
        if Path(name).is_dir():
            outside[name] = run_images.of_folders([name])
        else:
            outside[name] = run_images.of_data_set(name, root or str(config.DATASET.get("ROOT", "")), "test")
    return inside, outside
