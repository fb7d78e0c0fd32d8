"""What one request, and all of them together, may take of the server; and the answer to one that goes beyond."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of a server. Bodies take at most `queue` x `size` bytes together, decoding `pixels` for each thread.

    Attributes:
        size: bytes of an image file, at most.
        pixels: width x height of an image, at most; compared before anything is decoded.
        seconds: for the head of a request, for its body, and for its answer.
        queue: requests that are read, decoded or classified at a time; others are refused with status 429.
        batch: images that the model classifies at once, at most.
    """

    size: int = 10 * 2**20
    pixels: int = 32_000_000
    seconds: float = 10.0
    queue: int = 128
    batch: int = 32

    @property
    def body(self) -> int:
        """Bytes of a request's body, at most: an image in base64, with room for what stands around it."""
        return self.size * 4 // 3 + 4096


class RefusalError(Exception):
    """A request that is not answered with classes.

    Args:
        status: of HTTP.
        reason: a word for the metrics.
        message: one line for the client.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message
