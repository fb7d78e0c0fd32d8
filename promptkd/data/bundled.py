"""Data sets that travel in the repository: an archive beside its class, unpacked to the data root on first use."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from promptkd.data.benchmark import BenchmarkDataset
from promptkd.data.layout import Layout


def unpack(folder: Path, path: Path, digest: str) -> None:
    """Unpacks a bundled archive to `folder`, whole or not at all; if two runs do so at once, the first one's stays.

    Args:
        folder: where its files go.
        path: of the archive, whose files are in a folder of its own name.
        digest: its sha256.

    Raises:
        ValueError: the archive is damaged.
        OSError: it cannot be unpacked there.
    """
    content = path.read_bytes()
    if (sha256 := hashlib.sha256(content).hexdigest()) != digest:
        raise ValueError(f"{path} is damaged: sha256 is {sha256}, not {digest}; restore it from the repository")

    def extract(place: Path) -> Path:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(place)
        return place / path.stem

    make_folder(folder, extract)


def make_folder(folder: Path, fill: Callable[[Path], Path]) -> None:
    """Makes a data set's folder, whole or not at all; if two runs do so at once, the first one's stays.

    Args:
        folder: which is not there yet.
        fill: writes the files below a temporary folder, and returns the one of them that becomes `folder`.

    Raises:
        OSError: it cannot be made there.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        os.rename(fill(temporary), folder)
    except OSError:
        if not (folder / "images").is_dir():  # else another run was faster
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class BundledDataset(BenchmarkDataset):
    """A data set whose images are made at ROOT/<dataset_dir> on first use; a subclass names its archive.

    Attributes:
        archive: the file beside the subclass's module.
        sha256: of the archive.
    """

    archive: ClassVar[Path]
    sha256: ClassVar[str]

    @classmethod
    def find(cls, root: Path) -> Layout:
        """Finds the data set as any other; makes it first where there is none."""
        root = root.expanduser().absolute()
        if root.name != cls.dataset_dir and not (root / cls.dataset_dir).exists():
            cls.make(root / cls.dataset_dir)
        return super().find(root)

    @classmethod
    def make(cls, folder: Path) -> None:
        """Makes the data set's folder. Raises what `unpack` does."""
        unpack(folder, cls.archive, cls.sha256)
