"""Training images in an order and in views that follow from (seed, epoch, image) alone.

So a run does not depend on the number of loader workers or processes, a resumed run sees the same views as an unbroken
one, and a frozen teacher's output for a view can be stored for later runs of the same seed.
"""

from __future__ import annotations

import hashlib
import os
import random
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler, RandomSampler

from promptkd import distributed
from promptkd.data.loading.pipeline import TimedLoader, rebuilt


class SeededViews(Dataset):
    """Dassl's training items, each transformed under random numbers that follow from seed, epoch and image.

    Args:
        items: Dassl's DatasetWrapper, or one like it.
        root: folder from which image paths count, so that a moved data set gives the same views.
    """

    def __init__(self, items: Any, root: str) -> None:
        self.items, self.root = items, os.path.abspath(os.path.expanduser(root))
        # Seed and epoch, in shared memory: workers that stay from one epoch to the next see them change.
        self._moment = torch.zeros(2, dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def data_source(self) -> list[Any]:
        """Dassl's Datum of each item."""
        return self.items.data_source

    def set_epoch(self, seed: int, epoch: int) -> None:
        """Sets the seed and the epoch of the views that follow."""
        self._moment.copy_(torch.tensor([seed, epoch]))

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = os.path.relpath(self.items.data_source[index].impath, self.root)
        run_seed, epoch = self._moment.tolist()
        seed = view_seed(run_seed, epoch, path)
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
    """The seed of a view's random numbers, from 0 to 2**63 - 1.

    Args:
        seed: of the run.
        epoch: from 0.
        path: of the image, from the data root.
    """
    key = f"{seed}/{epoch}/{path.replace(os.sep, '/')}".encode("utf-8", "surrogateescape")  # a name of any bytes
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1


def seeded_loader(loader: DataLoader, root: str, prefetch: int = 2, **changes: Any) -> TimedLoader:
    """Dassl's training loader with seeded views and, where it draws images at random, a seeded order.

    Each of several processes gets its share of the same batches (see `check_shares`). Example: batches of 8 with 2
    processes are 4 images each; process 0 takes images 0, 2, 4, 6 of the order, process 1 takes 1, 3, 5, 7.

    Args:
        loader: Dassl's, whose batch size is that of all processes together.
        root: see SeededViews.
        prefetch: batches that each worker has ready.
        changes: other arguments of DataLoader.
    """
    dataset, size = SeededViews(loader.dataset, root), distributed.world_size()
    sampler: Any = loader.sampler
    if isinstance(sampler, RandomSampler):
        # Process r takes images r, r + size, ... of one order, so that the shares together are the whole batches.
        sampler = DistributedSampler(dataset, num_replicas=size, rank=distributed.rank(), shuffle=True, drop_last=True)
    share = max(1, cast(int, loader.batch_size) // size)
    changes = {"persistent_workers": loader.num_workers > 0} | changes
    return rebuilt(loader, prefetch, TimedLoader, dataset=dataset, sampler=sampler, batch_size=share, **changes)


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
    images, batch = len(cast(Any, loader.dataset)), cast(int, loader.batch_size) * size
    if images < batch:
        raise ValueError(
            f"{images} training images are less than one batch of {batch}, and {size} processes need a whole one: "
            "lower DATALOADER.TRAIN_X.BATCH_SIZE"
        )


def set_epoch(loader: DataLoader, seed: int, epoch: int) -> None:
    """Sets the seed and the epoch of the next pass over a loader; a loader without seeded views stays as it is."""
    if not isinstance(loader.dataset, SeededViews):
        return
    loader.dataset.set_epoch(seed, epoch)
    if isinstance(loader.sampler, DistributedSampler):
        loader.sampler.seed = seed
        loader.sampler.set_epoch(epoch)
