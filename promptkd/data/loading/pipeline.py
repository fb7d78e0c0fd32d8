"""From images on disk to batches on the device: parts of batches, loaders that are timed, evaluation in shares."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from promptkd import distributed

STARVED = 0.2  # share of an epoch that the device may wait for images before a warning
_ENOUGH = 10  # batches; fewer say nothing of a loader's rate


class TimedLoader(DataLoader):
    """A DataLoader that knows how long each pass has waited for it, its first batch (workers start) left out."""

    waited, running, batches = 0.0, 0.0, 0  # seconds, seconds and batches of the last pass; a class's, so one a loader

    def __iter__(self) -> Iterator[Any]:
        batches = super().__iter__()
        self.waited, self.running, self.batches = 0.0, 0.0, 0
        first = next(batches, None)
        if first is None:
            return
        start = time.perf_counter()
        yield first
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            now = time.perf_counter()
            self.running = now - start
            if batch is None:
                return
            self.waited += now - asked
            self.batches += 1
            yield batch

    def rates(self) -> tuple[float, float]:
        """Images/s that the loader gives, and that the steps take while there are images; of all processes."""
        images = self.batches * (self.batch_size or 1) * distributed.world_size()
        # With workers both go on side by side, so that a loader which is waited for is busy all of the time.
        loading = self.running if self.num_workers else self.waited
        return images / max(loading, 1e-9), images / max(self.running - self.waited, 1e-9)


def starvation(loader: TimedLoader) -> str | None:
    """A line of advice where the last pass waited for images more than a fifth of its time; else None."""
    if loader.batches < _ENOUGH or loader.waited < STARVED * loader.running:
        return None
    given, taken = loader.rates()
    return (
        f"the device waits for images {100 * loader.waited / loader.running:.0f} % of the time: the loader "
        f"gives {given:.0f} images/s, the step takes {taken:.0f} images/s: raise DATALOADER.NUM_WORKERS "
        f"(now {loader.num_workers}), or see docs/scaling.md"
    )


def rebuilt(loader: DataLoader, prefetch: int, kind: type[DataLoader] = DataLoader, **changes: Any) -> DataLoader:
    """A loader like another one, with some of its arguments changed.

    Args:
        loader: where dataset, batch size and so on come from.
        prefetch: batches that each worker has ready.
        kind: class of the new one.
        changes: arguments of DataLoader.
    """
    workers = loader.num_workers
    if workers:
        changes = {"prefetch_factor": prefetch} | changes
    if "batch_sampler" not in changes:
        own = {"batch_size": loader.batch_size, "sampler": loader.sampler, "drop_last": loader.drop_last}
        changes = own | changes
    # The generator seeds the workers, and Dassl's samplers in our toolkit.
    own = {"dataset": loader.dataset, "pin_memory": loader.pin_memory, "generator": loader.generator}
    return kind(**(own | {"num_workers": workers} | changes))


def micro_batches(batch: dict[str, Any], count: int) -> Iterator[tuple[float, dict[str, Any]]]:
    """Cuts a batch of Dassl's into parts of nearly the same size.

    Args:
        batch: tensors and lists of B entries each.
        count: parts, at most B.

    Yields:
        A part, after its share of the images: a mean over the batch is the sum of share * mean over the part.
    """
    size = len(batch["img"])
    edges = [size * number // count for number in range(count + 1)]
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        yield (stop - start) / size, batch if count == 1 else {key: value[start:stop] for key, value in batch.items()}


class _Turns(Sampler[list[int]]):
    """Batches of a data set in its order, of which each process takes every Nth."""

    def __init__(self, items: int, batch_size: int) -> None:
        self.batches = [range(start, min(start + batch_size, items)) for start in range(0, items, batch_size)]

    def __iter__(self) -> Iterator[list[int]]:
        return (list(batch) for batch in self.batches[distributed.rank() :: distributed.world_size()])

    def __len__(self) -> int:
        return len(self.batches[distributed.rank() :: distributed.world_size()])


def classified(
    loader: DataLoader, classify: Callable[[Tensor], Tensor], width: int, device: torch.device
) -> Iterator[tuple[list[str], Tensor, Tensor]]:
    """Each test image once, in the loader's order, batch by batch.

    Several processes classify a batch each in turn, the same batches as one would, and all of them get all results.

    Args:
        loader: over Dassl's items.
        classify: images (B, 3, H, W) -> logits (B, C).
        width: C.
        device: where images go.

    Yields:
        B paths, labels (B,), logits (B, C) float32 on the CPU.
    """
    if distributed.world_size() == 1:
        for batch in loader:
            logits = classify(batch["img"].to(device, non_blocking=True)).float().cpu()  # (B, C)
            yield list(batch["impath"]), batch["label"], logits
        return
    items, turns = loader.dataset.data_source, _Turns(len(loader.dataset), loader.batch_size)
    own = iter(rebuilt(loader, 2, batch_sampler=turns))
    for first in range(0, len(turns.batches), distributed.world_size()):
        batch = next(own, None)
        logits = None if batch is None else classify(batch["img"].to(device, non_blocking=True)).float()
        parts = distributed.gather_rows(logits, loader.batch_size, width, device)
        for numbers, part in zip(turns.batches[first:], parts, strict=False):  # the last round has fewer batches
            these = [items[number] for number in numbers]
            yield [item.impath for item in these], torch.tensor([item.label for item in these]), part[: len(these)]
