"""What a server has done, in the text format that Prometheus reads.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text, version 0.0.4).
"""

from __future__ import annotations

import os
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # upper ends of buckets
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Histogram:
    """Counts values up to each of some bounds.

    Args:
        bounds: ascending; values above the last are counted under +Inf.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Counts a value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self._sum += value

    def lines(self, name: str) -> Iterator[str]:
        """The histogram's samples: cumulative buckets, sum and count."""
        total = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum}"
        yield f"{name}_count {total}"


class Metrics:
    """The counters of one server; used from its event loop alone."""

    def __init__(self) -> None:
        self.answers: Counter[int] = Counter()  # by status
        self.refusals: Counter[str] = Counter()  # by reason
        self.seconds = Histogram(SECONDS)
        self.batches = Histogram(IMAGES)
        self.model_seconds = 0.0

    def count_batch(self, images: int, seconds: float) -> None:
        """Counts a batch that the model has classified."""
        self.batches.add(images)
        self.model_seconds += seconds

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """All of it as text.

        Args:
            gauges: name -> meaning and value of what is as it is now.
        """
        lines: list[str] = []

        def add(name: str, kind: str, meaning: str, samples: Iterator[str] | Sequence[str]) -> None:
            lines.extend((f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", *samples))

        name = "promptkd_requests_total"
        answers = [f'{name}{{status="{status}"}} {count}' for status, count in sorted(self.answers.items())]
        add(name, "counter", "Images that were asked about, by the status of the answer.", answers)
        name = "promptkd_refusals_total"
        refusals = [f'{name}{{reason="{reason}"}} {count}' for reason, count in sorted(self.refusals.items())]
        add(name, "counter", "Requests that were not answered with classes, by reason.", refusals)
        name = "promptkd_request_seconds"
        add(name, "histogram", "Seconds from a request's head to its answer.", self.seconds.lines(name))
        name = "promptkd_batch_images"
        add(name, "histogram", "Images that the model classified at once.", self.batches.lines(name))
        name = "promptkd_model_seconds_total"
        add(name, "counter", "Seconds that the model computed.", [f"{name} {self.model_seconds}"])
        for name, (meaning, value) in gauges.items():
            add(name, "gauge", meaning, [f"{name} {value}"])
        return "\n".join(lines) + "\n"


def resident_bytes() -> int:
    """Bytes of memory that this process holds at the moment; where the system does not say, the most that it held."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
