"""A training loader that reads no image: its batches are the numbers of images whose features are stored."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader

from promptkd.data.loading.pipeline import TimedLoader, rebuilt
from promptkd.data.loading.views import SeededViews


class StoredViews(SeededViews):
    """Training items of which a batch is what they are called by: "index" (B,), and "img" (B, 0) in images' place."""

    def __getitems__(self, numbers: list[int]) -> dict[str, Any]:
        """A batch at once, as torch's loaders ask for it."""
        return {"img": torch.empty(len(numbers), 0), "index": torch.tensor(numbers)}

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])


def feature_loader(loader: DataLoader) -> TimedLoader:
    """A seeded training loader without its images: the same order and batches, in this process.

    Args:
        loader: of `promptkd.data.loading.views.seeded_loader`.
    """
    before: Any = loader.dataset
    views = StoredViews(before.items, before.root)
    return rebuilt(loader, 2, TimedLoader, dataset=views, num_workers=0, prefetch_factor=None, collate_fn=as_it_is)


def as_it_is(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch that is one already."""
    return batch
