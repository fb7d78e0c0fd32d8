"""Images that wait are classified together: one thread has the model, and takes what has come when it is free.

Nobody waits for a batch to fill: an image that comes alone is classified alone.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from promptkd.deploy.serving.metrics import Metrics


class Batcher:
    """Gives each image its row of logits.

    Args:
        classify: B prepared images -> B rows of logits, (B, C); it is called from one thread alone.
        most: images of a batch, at most.
        metrics: where batches and the model's time are counted.
    """

    def __init__(self, classify: Callable[[Sequence[Any]], Any], most: int, metrics: Metrics) -> None:
        self._classify, self._most, self._metrics = classify, most, metrics
        self._waiting: deque[tuple[Any, asyncio.Future[Any]]] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "model")
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many images wait."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether images are still taken."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begins; to be called in the event loop that asks."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Ends after the batch that is being classified; what waits is cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while self._waiting:
            self._waiting.popleft()[1].cancel()
        self._thread.shutdown(wait=False)

    async def logits(self, image: Any) -> Any:
        """One prepared image -> its row of logits, (C,).

        Raises:
            Exception: what the model raised; the next batch is tried all the same.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((image, answer))
        self._arrived.set()
        return await answer

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            batch = self._next()
            if not batch:
                self._arrived.clear()
                continue
            start = time.perf_counter()
            try:
                rows = await loop.run_in_executor(self._thread, self._classify, [image for image, _ in batch])
            except Exception as error:
                rows = [error] * len(batch)
            self._metrics.count_batch(len(batch), time.perf_counter() - start)
            for (_, answer), row in zip(batch, rows, strict=True):
                if answer.done():  # its client has gone meanwhile
                    continue
                if isinstance(row, Exception):
                    answer.set_exception(row)
                else:
                    answer.set_result(row)

    def _next(self) -> list[tuple[Any, asyncio.Future[Any]]]:
        """The images of the next batch, in the order in which they came, without those that nobody waits for."""
        batch: list[tuple[Any, asyncio.Future[Any]]] = []
        while self._waiting and len(batch) < self._most:
            one = self._waiting.popleft()
            if not one[1].done():
                batch.append(one)
        return batch
