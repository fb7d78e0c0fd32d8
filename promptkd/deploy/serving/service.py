"""A request's way: admitted, read, decoded and prepared by one of some threads, classified in a batch."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from promptkd.deploy.predict import answer_of
from promptkd.deploy.ranking import ImageClassifier
from promptkd.deploy.serving.batching import Batcher
from promptkd.deploy.serving.decoding import decoded
from promptkd.deploy.serving.limits import Limits, RefusalError
from promptkd.deploy.serving.metrics import Metrics, resident_bytes
from promptkd.deploy.serving.uploads import image_bytes

THREADS = min(4, os.cpu_count() or 1)  # that decode, each of which holds one decoded image


class Service:
    """A classifier that many ask at once.

    Args:
        classifier: what `promptkd.deploy.opening.open_classifier` gives.
        limits: what a request may take.
    """

    def __init__(self, classifier: ImageClassifier, limits: Limits) -> None:
        self.limits = limits
        self.metrics = Metrics()
        self.classnames: tuple[str, ...] = tuple(classifier.classnames)
        self._classifier = classifier
        self._batcher = Batcher(self._classify, limits.batch, self.metrics)
        self._decoders = ThreadPoolExecutor(THREADS, "decoder")
        self._admitted = 0

    def start(self) -> None:
        """Begins; to be called in the event loop that serves."""
        self._batcher.start()

    async def stop(self) -> None:
        """Ends what computes."""
        await self._batcher.stop()
        self._decoders.shutdown(wait=False, cancel_futures=True)

    @property
    def alive(self) -> bool:
        """Whether images are classified."""
        return self._batcher.alive

    async def answer(self, content_type: str, length: str, chunks: AsyncIterator[bytes], top: int) -> dict[str, Any]:
        """The likeliest classes of the image in a request's body.

        Args:
            content_type, length: the request's headers; "" where it has none.
            chunks: of the body, as they come.
            top: how many classes.

        Returns:
            {"top": [{"class": name, "probability": from 0 to 1}, ...]}, the likeliest first; and "score" and "rejected"
            where the run has a threshold.

        Raises:
            RefusalError: anything that keeps it from being answered, with a status of HTTP and one line.
        """
        if not 1 <= top <= len(self.classnames):
            raise RefusalError(400, "top", f"top={top}: from 1 to the number of classes, {len(self.classnames)}")
        if self._admitted >= self.limits.queue:
            raise RefusalError(429, "queue", f"{self.limits.queue} requests are being answered: ask again in a second")
        self._admitted += 1
        try:
            body = await self._in_time(self._read(length, chunks), 408, "the body did not come")
            content = image_bytes(content_type, body, self.limits.size)
            del body  # which may be as large once more
            row = await self._in_time(self._row(content), 503, "there was no answer")
        finally:
            self._admitted -= 1
        answer = answer_of("", row, self.classnames, top, self._classifier.rejection).to_dict()
        del answer["path"]
        return answer

    def metrics_text(self) -> str:
        """The metrics as Prometheus reads them."""
        return self.metrics.text(
            {
                "promptkd_requests_in_progress": ("Requests that are read, decoded or classified.", self._admitted),
                "promptkd_waiting_images": ("Prepared images that wait for the model.", len(self._batcher)),
                "process_resident_memory_bytes": ("Memory of the server's process.", resident_bytes()),
            }
        )

    async def _in_time(self, work: Any, status: int, message: str) -> Any:
        """What a coroutine gives within the limit; else RefusalError with this status."""
        try:
            return await asyncio.wait_for(work, self.limits.seconds)
        except asyncio.TimeoutError:
            raise RefusalError(status, "time", f"{message} within {self.limits.seconds:g} s") from None

    async def _read(self, length: str, chunks: AsyncIterator[bytes]) -> bytes:
        """A body of at most so many bytes, whatever its head says of them."""
        most = self.limits.body
        message = f"the body has more than {most:,} bytes"
        if length.isdecimal() and (len(length) > 18 or int(length) > most):
            raise RefusalError(413, "size", message)
        body = bytearray()
        async for chunk in chunks:
            body += chunk
            if len(body) > most:
                raise RefusalError(413, "size", message)
        return bytes(body)

    async def _row(self, content: bytes) -> Any:
        """The content of an image file -> (C,) logits."""
        loop = asyncio.get_running_loop()
        pixels = await loop.run_in_executor(self._decoders, self._prepare, content)
        return await self._batcher.logits(pixels)

    def _prepare(self, content: bytes) -> Any:
        """The content of an image file -> the model's input, (3, H, W)."""
        return self._classifier.pixels([decoded(content, self.limits.pixels)])[0]

    def _classify(self, inputs: Sequence[Any]) -> Any:
        """B inputs of the model -> (B, C) logits."""
        import numpy as np

        return self._classifier.logits_of(np.stack(inputs))


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """A service between its start and its stop."""
    service.start()
    try:
        yield
    finally:
        await service.stop()
