"""Image features of a pool by image and view, kept on disk for later epochs and runs: of what, and when they are read.

Un-normalised features are kept as they leave the encoder, so they serve any class vectors, KD_WEIGHT, temperature,
student or projector. docs/teacher-cache.md is for users.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from promptkd import distributed
from promptkd.teacher.cache_store import GIGA, Entry, Store, ViewFile, file_bytes
from promptkd.teacher.memory_store import MemoryEntry, MemoryView

log = logging.getLogger(__name__)

MODES = ("", "exact", "views")
FORMAT = 1
_AT_ONCE = 4096  # rows that are checked together


class StoredFeatures:
    """Reads an encoder's features of a pool's images, or has them computed and keeps them.

    Args:
        entry: where they are, on disk or in memory.
        mode: "exact": every epoch has its views, and a batch is read or computed as a whole, because the last bits of
            a feature depend on the batch. "views": epoch e has the views of epoch e % views, and only images that are
            missing are computed. "weak": each image has one view, that of an evaluation.
        views: of an image, in the mode of that name.
        counts: "read" and "computed" images, counted on here.
    """

    def __init__(self, entry: Entry | MemoryEntry, mode: str, views: int, counts: dict[str, int]) -> None:
        self.entry, self.mode, self.views, self.counts = entry, mode, views, counts
        self.view = 0
        self._file: ViewFile | MemoryView | None = None
        self._whole: dict[int, ViewFile | MemoryView] = {}  # views of which every row was checked; they stay open
        self._keeps, self._complained = True, False

    def start_epoch(self, epoch: int) -> int:
        """Turns to the view of an epoch, and returns it: the epoch whose random numbers the loader takes.

        Of the mode "weak" there is the view 0 alone.
        """
        self.view = epoch if self.mode == "exact" else epoch % self.views
        if self._file and self._file not in self._whole.values():
            self._file.close()
        self._keeps, self._complained = True, False
        try:
            self._file = self._whole.get(self.view) or self.entry.find(self.view)
        except OSError as error:  # it was there when the run began
            self._file, self._keeps = None, False
            log.info(f"Stored features: {self.entry.path}: {error.strerror or error}: not used in this epoch")
        return self.view

    def features(self, rows: Tensor, images: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """The features (B, D) of a batch, on the images' device.

        Args:
            rows: (B,) numbers of the images in the pool.
            images: (B, 3, H, W), their views of this epoch.
            encode: (b, 3, H, W) -> (b, D).
        """
        numbers = rows.cpu().numpy()
        kept, present = self._read(numbers)
        if kept is not None and present.all():
            self.counts["read"] += len(numbers)
            return kept.to(images.device)
        if kept is None or self.mode == "exact" or not present.any():
            new = encode(images)  # (B, D)
            self._keep(numbers, new)
            return new
        missing = np.flatnonzero(~present)
        new = encode(images[torch.from_numpy(missing).to(images.device)])  # (b, D)
        self._keep(numbers[missing], new)
        self.counts["read"] += len(numbers) - len(missing)
        kept[torch.from_numpy(missing)] = new.cpu()
        return kept.to(images.device)

    def missing(self) -> np.ndarray:
        """Numbers of the images that the view lacks, in order; where it lacks none, it is not checked again."""
        if self._file is None or self.view in self._whole:
            return np.arange(0 if self._file else self.entry.images)
        numbers = np.arange(self.entry.images)
        blocks = np.split(numbers, range(_AT_ONCE, len(numbers), _AT_ONCE))
        lacking = ~np.concatenate([self._read(block)[1] for block in blocks])
        if not lacking.any():
            self._whole[self.view] = self._file
        return numbers[lacking]

    def whole(self, width: int) -> Tensor | None:
        """The features (N, D) of all images in their order; None where one is missing, or D is not `width`."""
        if self._file and self._file.dim != width:
            log.info(f"Stored features: {self._file.path} is not of {width} channels: made anew")
            self._file.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None
        kept, present = self._read(np.arange(self.entry.images))
        if kept is None or not present.all():
            return None
        self.counts["read"] += len(kept)
        return kept

    def keep(self, features: Tensor) -> None:
        """Keeps the features (N, D) of all images."""
        self._keep(np.arange(self.entry.images), features)

    def _read(self, numbers: np.ndarray) -> tuple[Tensor | None, np.ndarray]:
        if self._file is None:
            return None, np.zeros(len(numbers), bool)
        if self.view in self._whole:
            return self._file.take(numbers), np.ones(len(numbers), bool)
        kept, present, damaged = self._file.read(numbers)
        if damaged and not self._complained:
            self._complained = True
            log.info(f"Stored features: {self._file.path} has damaged rows: they are made anew")
        return kept, present

    def _keep(self, numbers: np.ndarray, features: Tensor) -> None:
        self.counts["computed"] += len(numbers)
        if not self._keeps:
            return
        try:
            self._file = self._file or self.entry.make(self.view, features)
            if self._file:
                self._file.write(numbers, features)
                return
            assert isinstance(self.entry, Entry), "memory has room"
            size = file_bytes(self.entry.images, features.shape[1] * features.element_size()) / GIGA
            why = f"no room for a view of {size:.3g} GB below CACHE_GB {self.entry.store.limit / GIGA:g}"
        except OSError as error:
            why = error.strerror or str(error)
        self._keeps = False
        log.info(f"Stored features: {why} in {self.entry.path.parent}: what is computed now is not kept")

    def finish(self, device: torch.device) -> None:
        """Adds up the processes of a run, says what the cache did, and gives it back."""
        if distributed.world_size() > 1:
            both = torch.tensor([self.counts["read"], self.counts["computed"]], device=device)
            torch.distributed.all_reduce(both)
            self.counts["read"], self.counts["computed"] = both.tolist()
        log.info(f"Teacher images: {self.counts['read']} read from the cache, {self.counts['computed']} computed")
        self.close()

    def close(self) -> None:
        """Gives the files back; others may remove them from now on."""
        for file in {id(one): one for one in (self._file, *self._whole.values()) if one}.values():
            file.close()
        self._whole = {}
        self.entry.close()

    def result(self) -> dict[str, Any]:
        """What results.json says of it."""
        views = {"views": self.views} if self.mode == "views" else {}
        return {"mode": self.mode} | views | self.counts


def open_store(
    folder: Path, gigabytes: float, key: dict[str, Any], about: dict[str, Any], images: int, option: str
) -> Entry:
    """The entry of a folder that belongs to a key.

    Args:
        folder: of any number of entries, runs and processes.
        gigabytes: 10^9 bytes that all of them may take.
        key: everything that the features depend on, plain values.
        about: what its key.json says beside it.
        images: N.
        option: that names the folder, for the message.

    Raises:
        OSError: the folder cannot be written to.
    """
    try:
        return Entry(Store(folder, round(gigabytes * GIGA)), {"format": FORMAT} | key, about, images)
    except OSError as error:
        why = error.strerror or error
        raise OSError(f"cannot write to {option} {folder}: {why}; choose another folder") from error
