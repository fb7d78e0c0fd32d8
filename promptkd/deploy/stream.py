"""Many images through a classifier: threads read them while the last batch is computed."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

from promptkd.deploy.sources import Picture

if TYPE_CHECKING:
    import numpy as np

    from promptkd.deploy.ranking import ImageClassifier

_AHEAD = 3  # batches that are read before they are wanted; more would be memory only


def classified(
    model: ImageClassifier, pictures: Iterable[Picture], batch: int = 64, threads: int = 0
) -> Iterator[tuple[str, np.ndarray | OSError]]:
    """Each image's name with its logits (C,), or with the error of one that cannot be read; in order.

    Args:
        model: classifies.
        pictures: to be read.
        batch: images that are classified at a time.
        threads: that read and resize; 0 for one a core.

    Raises:
        OSError, ValueError: what the source of the pictures raises.
    """
    import numpy as np

    source = iter(pictures)
    waiting: deque[tuple[str, Future[Any]]] = deque()
    pool = ThreadPoolExecutor(threads or os.cpu_count())
    try:
        while True:
            for picture in islice(source, _AHEAD * batch - len(waiting)):
                waiting.append((picture.name, pool.submit(_prepared, model, picture)))
            if not waiting:
                return
            some = [waiting.popleft() for _ in range(min(batch, len(waiting)))]
            ready = [(name, future.result()) for name, future in some]
            pixels = [value for _, value in ready if not isinstance(value, OSError)]
            logits = iter(model.logits_of(np.stack(pixels)) if pixels else ())
            for name, value in ready:
                yield name, value if isinstance(value, OSError) else next(logits)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepared(model: ImageClassifier, picture: Picture) -> np.ndarray | OSError:
    """A model's input of one image, or the error of one that cannot be read."""
    try:
        pixels: np.ndarray = model.pixels([picture.read()])[0]
    except OSError as error:
        return error
    except ValueError as error:  # of an extreme shape
        return OSError(f'cannot read the image "{picture.name}" ({error})')
    return pixels
