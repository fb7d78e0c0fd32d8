"""Zip archives of PyTorch: what `torch.save` and TorchScript write, read without building a module of them."""

from __future__ import annotations

import re
import struct
import zipfile
from pathlib import Path
from typing import Any

from torch import Tensor

from promptkd.bounded import shown
from promptkd.tensors.pickles import LONGEST, Claim, Contents, Storage, Thing, numbers_of, unpickle

_LONGEST_INDEX = 2**22  # bytes of an archive's table of contents: some 50,000 files
_SOURCE = 2**24  # bytes of the source that a TorchScript archive holds
_SPARE = 2**26  # bytes that a small archive may unpack to
_TENSORS = 100_000
# A class of TorchScript's source, with the names of its parameters and buffers.
_CLASS = re.compile(
    r"^class (\w+)\(Module\):\n\s*__parameters__ = \[([^\]\n]*)\]\n\s*__buffers__ = \[([^\]\n]*)\]", re.MULTILINE
)


def is_archive(path: Path) -> bool:
    """Whether a file is a zip archive, by its first bytes."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


class Archive:
    """An open archive of PyTorch's.

    Raises:
        ValueError: it is damaged, or its files are larger than it can hold.
    """

    def __init__(self, path: Path) -> None:
        check_index(path)
        self.file = zipfile.ZipFile(path)
        names = self.file.namelist()
        roots = {name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl") and name.count("/") == 1}
        if len(roots) != 1 or len(set(names)) < len(names):
            raise ValueError(
                "a zip archive that is none of PyTorch's" if len(roots) != 1 else "a file in it comes twice"
            )
        self.root = roots.pop()
        check_sizes(self.file, path.stat().st_size)
        if self._has("byteorder") and self._read("byteorder", 100) != b"little":
            raise ValueError("numbers in big-endian order")

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    @property
    def is_script(self) -> bool:
        """Whether it is TorchScript's."""
        return self._has("constants.pkl")

    def content(self) -> Any:
        """The value that was stored, with tensors; objects are None."""
        return self._contents().make(unpickle(self._read("data.pkl", LONGEST)).value)

    def script_state(self) -> dict[str, Tensor]:
        """The parameters and buffers of a TorchScript archive by the path of their attributes.

        Raises:
            ValueError: the archive holds no module, or its modules are nested without end.
        """
        module, names = unpickle(self._read("data.pkl", LONGEST)).value, self._names_of_classes()
        if not isinstance(module, Thing) or not isinstance(module.state, dict):
            raise ValueError("a TorchScript archive without a module")
        claims: dict[str, Claim] = {}
        waiting: list[tuple[str, Thing]] = [("", module)]
        visited = 0
        while waiting:
            prefix, thing = waiting.pop()
            visited += 1
            if visited > _TENSORS or prefix.count(".") > 60:
                raise ValueError(f"a TorchScript archive of more than {_TENSORS:,} modules, or nested too deep")
            state = thing.state if isinstance(thing.state, dict) else {}
            tensors = names.get(thing.kind, state.keys())
            inner = []
            for name, value in state.items():
                if isinstance(value, Claim) and name in tensors:
                    claims[f"{prefix}{name}"] = value
                elif isinstance(value, Thing) and isinstance(name, str):
                    inner.append((f"{prefix}{name}.", value))
            waiting += reversed(inner)
            if len(claims) > _TENSORS:
                raise ValueError(f"a TorchScript archive of more than {_TENSORS:,} tensors")
        made: dict[str, Tensor] = self._contents().make(claims)
        return made

    def _names_of_classes(self) -> dict[str, set[str]]:
        """Class of TorchScript -> names of its parameters and buffers, from the source that lies beside them."""
        code, names, left = f"{self.root}code/", {}, _SOURCE
        for info in self.file.infolist():
            if info.filename.startswith(code) and info.filename.endswith(".py"):
                left -= info.file_size
                if left < 0:
                    raise ValueError(f"a TorchScript archive with more than {_SOURCE:,} bytes of source")
                module = info.filename[len(code) : -len(".py")].replace("/", ".")
                for found in _CLASS.finditer(self.file.read(info).decode("utf-8")):
                    names[f"{module}.{found[1]}"] = set(re.findall(r'"([^"]+)"', found[2] + found[3]))
        return names

    def _contents(self) -> Contents:
        return Contents(lambda one: self._info(f"data/{one.key}").file_size, self._numbers)

    def _numbers(self, storage: Storage) -> Tensor:
        return numbers_of(self._read(f"data/{storage.key}", storage.bytes), storage)

    def _has(self, name: str) -> bool:
        return f"{self.root}{name}" in self.file.NameToInfo

    def _info(self, name: str) -> zipfile.ZipInfo:
        if not self._has(name):
            raise ValueError(f"the archive has no {shown(name)}")
        return self.file.getinfo(f"{self.root}{name}")

    def _read(self, name: str, most: int) -> bytes:
        info = self._info(name)
        if info.file_size > most:
            raise ValueError(f"{shown(name)} in it has {info.file_size:,} bytes, above {most:,}")
        with self.file.open(info) as file:
            return file.read(info.file_size)


def check_sizes(archive: zipfile.ZipFile, size: int) -> None:
    """Compares what the files of an archive unpack to with its own size: tensors are stored as they are.

    Raises:
        ValueError: they unpack to far more, or are compressed in an unusual way.
    """
    for info in archive.infolist():
        stored = info.compress_type == zipfile.ZIP_STORED
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.compress_size > size:
            raise ValueError(f"{shown(info.filename)} in it is compressed in an unusual way, or larger than it")
        if stored and info.file_size != info.compress_size:
            raise ValueError(f"{shown(info.filename)} in it has two sizes")
    if (total := sum(info.file_size for info in archive.infolist())) > 4 * size + _SPARE:
        raise ValueError(f"an archive of {size:,} bytes that unpacks to {total:,}")


def check_index(path: Path) -> None:
    """Raises ValueError where an archive's table of contents is missing, or too large to be read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 2**16 - 100))
        tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) - end < 22:
        raise ValueError("an archive that is cut off")
    claimed = struct.unpack("<L", tail[end + 12 : end + 16])[0]
    if claimed == 0xFFFFFFFF and (record := tail.rfind(b"PK\x06\x06", 0, end)) >= 0 and len(tail) - record >= 48:
        claimed = struct.unpack("<Q", tail[record + 40 : record + 48])[0]
    if claimed > min(size, _LONGEST_INDEX):
        raise ValueError(f"an archive of {size:,} bytes with a table of contents of {claimed:,}")
