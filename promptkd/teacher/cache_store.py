"""Image features on disk, one folder for each thing they depend on: shared by runs, bounded in size, safe to share.

    FOLDER/lock                      held while entries are made, counted or removed
    FOLDER/<hash of the key>/key.json    the key, for people and against damage
    FOLDER/<hash of the key>/live        locked (shared) by every run that uses the entry; its time is the last use
    FOLDER/<hash of the key>/view-0003.float16.768    one view of every image: type and channels of its rows

A view file is sparse: N checksums of 4 bytes (0: nothing written yet), then N rows. A row is written before its
checksum, so a reader in another process finds all of a row or none of it, and a damaged one is seen.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from promptkd import bounded, files

log = logging.getLogger(__name__)

GIGA = 10**9
_SUM = np.dtype("<u4")


class ViewFile:
    """Features (N, D) of one view of N images, mapped for reading.

    Args:
        path: `view-<number>.<type>.<D>`.
        images: N.

    Raises:
        ValueError: the name or the size is not that of such a file.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, images: int) -> None:
        self.path = path
        _, kind, channels = path.name.split(".")
        dtype, self.dim = getattr(torch, kind, None), int(channels)
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point or self.dim < 1:
            raise ValueError(f"{kind!r} with {channels!r} channels is no type of features")
        self.dtype = dtype
        self.row_bytes = self.dim * self.dtype.itemsize
        self.file = open(path, "r+b", buffering=0)  # noqa: SIM115  (open as long as the view is in use)
        self.start, size = images * _SUM.itemsize, os.fstat(self.file.fileno()).st_size
        if size != file_bytes(images, self.row_bytes):
            self.file.close()
            raise ValueError(f"{size} of {file_bytes(images, self.row_bytes)} bytes")
        mapped = np.asarray(np.memmap(self.file, np.uint8, "r"))
        self.sums = mapped[: self.start].view(_SUM)  # (N,)
        self.rows = mapped[self.start :].reshape(images, self.row_bytes)  # (N, bytes)

    def take(self, numbers: np.ndarray) -> Tensor:
        """Rows of images (B,) as they are, of a view that was read as a whole before: (B, D)."""
        return torch.from_numpy(self.rows[numbers]).view(self.dtype)

    def read(self, numbers: np.ndarray) -> tuple[Tensor, np.ndarray, int]:
        """Rows of images (B,): features (B, D), which of them are there (B,), and how many are damaged."""
        sums, data = self.sums[numbers], self.rows[numbers]  # copies, the checksums first: they are written last
        features = torch.from_numpy(data).view(self.dtype)
        present = np.array([stored == checksum(row) for stored, row in zip(sums, data, strict=True)], bool)
        present &= features.isfinite().all(dim=1).numpy()
        return features, present, int(((sums != 0) & ~present).sum())

    def write(self, numbers: np.ndarray, features: Tensor) -> None:
        """Keeps features (B, D) of images (B,) that no other process has kept meanwhile.

        Raises:
            ValueError: of another type or width.
            OSError: the disk is full. (Written, not stored into the mapping: that would end the process.)
        """
        if (features.dtype, features.shape[1]) != (self.dtype, self.dim):
            given = f"{features.dtype} of {features.shape[1]} channels"
            raise ValueError(f"{self.path} is for {self.dtype} of {self.dim} channels, the encoder gives {given}")
        file = self.file.fileno()
        fcntl.flock(file, fcntl.LOCK_EX)  # or one's row might stay with the other's checksum
        try:
            for number, row in zip(numbers.tolist(), as_bytes(features), strict=True):
                if self.sums[number] == checksum(self.rows[number]):
                    continue
                if os.pwrite(file, row, self.start + number * self.row_bytes) == self.row_bytes:
                    os.pwrite(file, np.array(checksum(row), _SUM).tobytes(), number * _SUM.itemsize)
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Gives the file back; the mapping goes with the last array of it."""
        self.file.close()
        del self.sums, self.rows


def as_bytes(features: Tensor) -> np.ndarray:
    """(B, D) of any type -> (B, bytes)."""
    return features.detach().cpu().contiguous().view(torch.uint8).numpy()


def checksum(row: np.ndarray) -> int:
    """CRC-32 of a row's bytes, never 0: that is what a row that was not written has."""
    return zlib.crc32(row.data) or 1


def file_bytes(images: int, row_bytes: int) -> int:
    """Size of a view file when it is full."""
    return images * (_SUM.itemsize + row_bytes)


class Store:
    """The folder of all entries.

    Args:
        folder: made where it does not exist.
        limit: bytes that all entries may have together when they are full.

    Raises:
        OSError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        folder.mkdir(parents=True, exist_ok=True)
        with self.locked():
            pass

    @contextmanager
    def locked(self) -> Iterator[None]:
        """No other process makes, counts or removes entries meanwhile."""
        with files.locked(self.folder / "lock"):
            yield

    def room_for(self, wanted: int, entry: Path) -> bool:
        """Whether so many bytes more may be taken, after removing the least recently used entries that no run uses."""
        entries = [path.parent for path in self.folder.glob("*/live")]
        sizes = {path: sum(file.stat().st_size for file in path.glob("view-*")) for path in entries}
        over = sum(sizes.values()) + wanted - self.limit
        unused = sorted((path for path in entries if path != entry), key=lambda path: (path / "live").stat().st_mtime)
        going: list[tuple[Path, Any]] = []
        try:
            for path in unused:
                if over <= sum(sizes[one] for one, _ in going):
                    break
                file = open(path / "live", "a")  # noqa: SIM115  (its lock holds until the entry is gone)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    going.append((path, file))
                except BlockingIOError:
                    file.close()
            fits = over <= sum(sizes[one] for one, _ in going)
            for path, _ in going if fits else ():
                log.info(f"Stored features: removes {path}, the least recently used ({sizes[path] / GIGA:.3g} GB)")
                shutil.rmtree(path)
            return fits
        finally:
            for _, file in going:
                file.close()


class Entry:
    """The features that belong to one key, in use by this process until `close`.

    Args:
        store: where it is.
        key: everything the features depend on, plain values.
        about: what key.json says beside it.
        images: N.
    """

    def __init__(self, store: Store, key: dict[str, Any], about: dict[str, Any], images: int) -> None:
        text = json.dumps(key, sort_keys=True)
        self.store, self.images = store, images
        self.path = store.folder / hashlib.sha256(text.encode()).hexdigest()[:24]
        with store.locked():
            self.path.mkdir(exist_ok=True)
            self._live = open(self.path / "live", "a")  # noqa: SIM115  (its lock holds until close)
            fcntl.flock(self._live, fcntl.LOCK_SH)
            os.utime(self.path / "live")
            self._check_key(self.path / "key.json", json.loads(text), about)

    def _check_key(self, file: Path, key: dict[str, Any], about: dict[str, Any]) -> None:
        try:
            if bounded.read_json(file, bounded.RECORD)["key"] == key:
                return
            fault = "is another's"
        except FileNotFoundError:
            fault = "is missing" if any(self.path.glob("view-*")) else ""
        except (ValueError, KeyError, TypeError):
            fault = "is damaged"
        if fault:
            log.info(f"Stored features: {file} {fault}: the entry is made anew")
        for view in self.path.glob("view-*"):
            view.unlink()
        files.write_json(file, {"key": key, "about": about})

    def find(self, view: int) -> ViewFile | None:
        """The file of a view; None where there is none, or a damaged one, which is removed."""
        with self.store.locked():
            return self._find(view)

    def _find(self, view: int) -> ViewFile | None:
        for path in sorted(self.path.glob(f"view-{view:04d}.*")):
            try:
                return ViewFile(path, self.images)
            except ValueError as error:
                log.info(f"Stored features: {path} is damaged ({error}): made anew")
                path.unlink()  # never cut in place: another process may have it mapped
        return None

    def make(self, view: int, features: Tensor) -> ViewFile | None:
        """A file for a view whose rows are like these (B, D), or the one that another run just made; None: no room."""
        row_bytes = features.shape[1] * features.element_size()
        with self.store.locked():
            if existing := self._find(view):
                return existing
            size = file_bytes(self.images, row_bytes)
            if not self.store.room_for(size, self.path):
                return None
            name = f"view-{view:04d}.{str(features.dtype).removeprefix('torch.')}.{features.shape[1]}"
            partial = self.path / "part"  # under the lock: one is enough, and an old one is nobody's
            with open(partial, "wb") as file:
                file.truncate(size)
            os.replace(partial, self.path / name)
            return ViewFile(self.path / name, self.images)

    def close(self) -> None:
        """Others may remove it from now on."""
        os.utime(self._live.fileno())
        fcntl.flock(self._live, fcntl.LOCK_UN)  # the loader's workers have the file, too: closing it is not enough
        self._live.close()
