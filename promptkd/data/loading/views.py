"""Training images in an order and in views that follow from (seed, epoch, image) alone.

So a run does not depend on the number of loader workers or processes, a resumed run sees what an unbroken one sees, and
what a frozen teacher says of a view can be kept for later runs of the same seed.
"""

from __future__ import annotations

import hashlib
import os
import random
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler, RandomSampler

from promptkd import distributed
from promptkd.data.loading.pipeline import TimedLoader, rebuilt


class SeededViews(Dataset):
    """Dassl's training items, each transformed under random numbers of its own.

    Args:
        items: Dassl's DatasetWrapper, or one like it.
        root: folder that image paths count from, so that a moved data set gives the same views.
    """

    def __init__(self, items: Dataset, root: str) -> None:
        self.items, self.root = items, os.path.abspath(os.path.expanduser(root))
        self._moment = torch.zeros(2, dtype=torch.int64).share_memory_()  # seed, epoch; workers that stay see it change

    def __len__(self) -> int:
        return len(self.items)

    @property
    def data_source(self) -> list[Any]:
        """Dassl's Datum of each item."""
        return self.items.data_source

    def set_epoch(self, seed: int, epoch: int) -> None:
        """The views that follow are those of this epoch."""
        self._moment.copy_(torch.tensor([seed, epoch]))

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = os.path.relpath(self.items.data_source[index].impath, self.root)
        seed = view_seed(*self._moment.tolist(), path)
        # Only the CPU's generator: torch.manual_seed would reach into those of the devices.
        generator, before, other = torch.default_generator, torch.get_rng_state(), random.getstate()
        try:
            generator.manual_seed(seed)
            random.seed(seed)
            return self.items[index]
        finally:
            torch.set_rng_state(before)
            random.setstate(other)


def view_seed(seed: int, epoch: int, path: str) -> int:
    """Seed of the random numbers of a view, below 2**63: of an image path that counts from the data root."""
    key = f"{seed}/{epoch}/{path.replace(os.sep, '/')}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1


def seeded_loader(loader: DataLoader, root: str, prefetch: int = 2, **changes: Any) -> DataLoader:
    """Dassl's training loader with seeded views and, where it draws images at random, a seeded order.

    Each of several processes gets its share of the same batches (see `check_shares`).

    Args:
        loader: Dassl's, of the batch of all processes.
        root: see SeededViews.
        prefetch: batches that each worker has ready.
        changes: other arguments of DataLoader.
    """
    dataset, sampler, size = SeededViews(loader.dataset, root), loader.sampler, distributed.world_size()
    if isinstance(sampler, RandomSampler):
        # rank, rank + size, ... of one order: the shares of the first batch_size images are the first batch, and so on
        sampler = DistributedSampler(dataset, num_replicas=size, rank=distributed.rank(), shuffle=True, drop_last=True)
    own = {"dataset": dataset, "sampler": sampler, "batch_size": max(1, loader.batch_size // size)}
    return rebuilt(loader, prefetch, TimedLoader, **own, persistent_workers=loader.num_workers > 0, **changes)


def check_shares(loader: DataLoader) -> None:
    """Raises ValueError where several processes cannot share a loader: its sampler is for one, or no batch is full."""
    size = distributed.world_size()
    if size == 1:
        return
    if not isinstance(loader.sampler, DistributedSampler):
        raise ValueError(
            f"{type(loader.sampler).__name__} draws images for one process: with {size} of them set "
            "DATALOADER.TRAIN_X.SAMPLER RandomSampler"
        )
    if len(loader.dataset) < loader.batch_size * size:
        raise ValueError(
            f"{len(loader.dataset)} training images are less than one batch of {loader.batch_size * size}, and {size} "
            "processes need a whole one: lower DATALOADER.TRAIN_X.BATCH_SIZE"
        )


def set_epoch(loader: DataLoader, seed: int, epoch: int) -> None:
    """The next pass over a loader is that of this epoch; one that a trainer built by itself is left as it is."""
    if not isinstance(loader.dataset, SeededViews):
        return
    loader.dataset.set_epoch(seed, epoch)
    if isinstance(loader.sampler, DistributedSampler):
        loader.sampler.seed = seed
        loader.sampler.set_epoch(epoch)
