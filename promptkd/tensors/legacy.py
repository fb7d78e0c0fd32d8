"""Files that `torch.save` wrote before PyTorch 1.6: five pickles, then the numbers of each storage."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from torch import Tensor

from promptkd.bounded import shown
from promptkd.tensors.pickles import LONGEST, Contents, Storage, numbers_of, unpickle

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def read_legacy(path: Path) -> Any:
    """The value that a file of PyTorch's first form holds.

    Raises:
        ValueError: it is none, is cut off, or claims more than it holds.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(LONGEST + 2**16)
        if not head.startswith(b"\x80"):
            raise ValueError("neither a zip archive nor a pickle" if head else "it is empty")
        magic, end, _ = unpickle(head)
        protocol, end, _ = unpickle(head, end)
        if magic != _MAGIC or protocol != _PROTOCOL:
            raise ValueError("a pickle that PyTorch did not write")
        system, end, _ = unpickle(head, end)
        if isinstance(system, dict) and system.get("little_endian") is False:
            raise ValueError("numbers in big-endian order")
        content, end, storages = unpickle(head, end)
        keys, end, _ = unpickle(head, end)
        places = _Places(size, end, keys)

        def held(storage: Storage) -> int:
            return places.held(file, storage)

        def load(storage: Storage) -> Tensor:
            file.seek(places.starts[storage.key] + 8)
            return numbers_of(file.read(storage.bytes), storage)

        places.find(storages)
        return Contents(held, load).make(content)


class _Places:
    """Where each storage begins: its number of elements (8 bytes), and then they."""

    def __init__(self, size: int, start: int, keys: Any) -> None:
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
            raise ValueError(f"the list of storages is {shown(keys)}")
        self.size, self.start, self.keys = size, start, keys
        self.starts: dict[str, int] = {}

    def find(self, storages: dict[str, Storage]) -> None:
        """Walks over the storages; raises ValueError where the file ends before they do."""
        position = self.start
        for key in self.keys:
            if key not in storages:
                raise ValueError(f"no tensor has the storage {shown(key)}")
            self.starts[key] = position
            position += 8 + storages[key].bytes
            if position > self.size:
                raise ValueError(f"the storage {shown(key)} goes on to byte {position:,} of {self.size:,}")

    def held(self, file: Any, storage: Storage) -> int:
        """The bytes of a storage, as the file counts them in front of it."""
        if storage.key not in self.starts:
            raise ValueError(f"no storage {shown(storage.key)} in the file")
        file.seek(self.starts[storage.key])
        return int(struct.unpack("<q", file.read(8))[0]) * storage.dtype.itemsize
