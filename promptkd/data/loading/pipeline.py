"""Batches on their way to the device: loaders that are timed, parts of batches, evaluation shared by processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from promptkd import distributed

STARVED = 0.2  # share of an epoch that the device may wait for images before a warning
_ENOUGH = 10  # batches that a measured rate needs

Loader = TypeVar("Loader", bound=DataLoader)


class TimedLoader(DataLoader):
    """A DataLoader that measures each pass over it, without its first batch, for which workers start.

    Attributes:
        waited: seconds of the last pass in which the device waited for images.
        running: seconds of the last pass.
        batches: batches of the last pass.
    """

    waited, running, batches = 0.0, 0.0, 0  # of the class, since DataLoader restricts what __init__ may set

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # any iterator of batches does
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
        """Images/s that the loader gives, and images/s that the steps take; of all processes together."""
        images = self.batches * (self.batch_size or 1) * distributed.world_size()
        # Workers load while the device computes: if the device waits for them, they are busy all of the time.
        loading = self.running if self.num_workers else self.waited
        return images / max(loading, 1e-9), images / max(self.running - self.waited, 1e-9)


def starvation(loader: TimedLoader) -> str | None:
    """A warning where the device waited for images for more than a fifth of the last pass; else None."""
    if loader.batches < _ENOUGH or loader.waited < STARVED * loader.running:
        return None
    given, taken = loader.rates()
    return (
        f"the device waits for images {100 * loader.waited / loader.running:.0f} % of the time: the loader "
        f"gives {given:.0f} images/s, the step takes {taken:.0f} images/s: raise DATALOADER.NUM_WORKERS "
        f"(now {loader.num_workers}), or see docs/scaling.md"
    )


def rebuilt(loader: DataLoader, prefetch: int, kind: type[Loader], **changes: Any) -> Loader:
    """A loader like another one, with some of its arguments changed.

    Args:
        loader: the one whose dataset, batch size and so on are taken.
        prefetch: batches that each worker has ready.
        kind: class of the new loader.
        changes: arguments of DataLoader.
    """
    arguments: dict[str, Any] = {
        "dataset": loader.dataset,
        "pin_memory": loader.pin_memory,
        "generator": loader.generator,  # seeds the workers, and Dassl's samplers in our toolkit
        "num_workers": loader.num_workers,
    }
    if loader.num_workers:
        arguments["prefetch_factor"] = prefetch
    if "batch_sampler" not in changes:
        arguments |= {"batch_size": loader.batch_size, "sampler": loader.sampler, "drop_last": loader.drop_last}
    return kind(**(arguments | changes))


def micro_batches(batch: dict[str, Any], count: int) -> Iterator[tuple[float, dict[str, Any]]]:
    """Cuts a batch of Dassl's into parts of nearly the same size. Example: 7 images in 3 parts are 2, 2 and 3.

    Args:
        batch: tensors and lists of B entries each.
        count: number of parts, at most B.

    Yields:
        (share of the images, part): a mean over the batch is the sum of share * mean over the part.
    """
    size = len(batch["img"])
    edges = [size * number // count for number in range(count + 1)]
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        yield (stop - start) / size, batch if count == 1 else {key: value[start:stop] for key, value in batch.items()}


class Turns(Sampler[list[int]]):
    """Batches of a data set in its order, of which process r of N takes number r, r + N, r + 2N, ...

    Example: 7 images in batches of 2 are 4 batches; of 2 processes, one takes batches 0 and 2, the other 1 and 3.
    """

    def __init__(self, items: int, batch_size: int) -> None:
        self.batches = [range(start, min(start + batch_size, items)) for start in range(0, items, batch_size)]

    def __iter__(self) -> Iterator[list[int]]:
        return (list(batch) for batch in self.batches[distributed.rank() :: distributed.world_size()])

    def __len__(self) -> int:
        return len(self.batches[distributed.rank() :: distributed.world_size()])


def classified(
    loader: DataLoader, classify: Callable[[Tensor], Tensor], width: int, device: torch.device
) -> Iterator[tuple[list[str], Tensor, Tensor]]:
    """Classifies each test image once, in the loader's order, batch by batch.

    Several processes take turns: each classifies one batch of a round, and all of them get all results. The batches are
    those of a single process.

    Args:
        loader: of Dassl's items.
        classify: images (B, 3, H, W) -> logits (B, C).
        width: C, the number of classes.
        device: of the images.

    Yields:
        B paths, labels (B,), logits (B, C) float32 on the CPU.
    """
    if distributed.world_size() == 1:
        for batch in loader:
            logits = classify(batch["img"].to(device, non_blocking=True)).float().cpu()  # (B, C)
            yield list(batch["impath"]), batch["label"], logits
        return
    items, size = cast(Any, loader.dataset).data_source, cast(int, loader.batch_size)
    turns = Turns(len(items), size)
    batches = iter(rebuilt(loader, 2, DataLoader, batch_sampler=turns))  # of this process
    for first in range(0, len(turns.batches), distributed.world_size()):  # a round: one batch a process
        batch = next(batches, None)  # None: the last round has fewer batches than processes
        rows = None if batch is None else classify(batch["img"].to(device, non_blocking=True)).float()
        gathered = distributed.gather_rows(rows, size, width, device)  # a table of each process, in their order
        for numbers, table in zip(turns.batches[first:], gathered, strict=False):
            chosen = [items[number] for number in numbers]
            yield [item.impath for item in chosen], torch.tensor([item.label for item in chosen]), table[: len(chosen)]
