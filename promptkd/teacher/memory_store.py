"""Image features in the memory of a run, under the names of promptkd.teacher.cache_store: nothing is left on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class MemoryView:
    """Features (N, D) of one view of N images.

    Args:
        images: N.
        like: (n, D), of the same type and channels as they will be.
    """

    def __init__(self, images: int, like: Tensor) -> None:
        self.path, self.dim = Path("memory"), like.shape[1]
        self.rows = torch.zeros(images, self.dim, dtype=like.dtype)
        self.present = np.zeros(images, bool)

    def read(self, numbers: np.ndarray) -> tuple[Tensor, np.ndarray, int]:
        """Rows of images (B,): features (B, D), which of them are there (B,), and 0: none can be damaged."""
        return self.take(numbers), self.present[numbers], 0

    def take(self, numbers: np.ndarray) -> Tensor:
        """Rows of images (B,) as they are: (B, D)."""
        return self.rows[torch.from_numpy(numbers)]

    def write(self, numbers: np.ndarray, features: Tensor) -> None:
        """Keeps features (B, D) of images (B,)."""
        self.rows[torch.from_numpy(numbers)] = features.detach().cpu()
        self.present[numbers] = True

    def close(self) -> None:
        """They stay as long as the run."""


class MemoryEntry:
    """The views of one encoder.

    Args:
        images: N.
    """

    def __init__(self, images: int) -> None:
        self.path, self.images = Path("memory"), images
        self._views: dict[int, MemoryView] = {}

    def find(self, view: int) -> MemoryView | None:
        """A view; None where nothing was kept of it."""
        return self._views.get(view)

    def make(self, view: int, features: Tensor) -> MemoryView:
        """A place for a view whose rows are like these (B, D)."""
        return self._views.setdefault(view, MemoryView(self.images, features))

    def close(self) -> None:
        """Nothing is left that others could remove."""
