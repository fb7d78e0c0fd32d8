"""Emoji: 1,370 pictures of 20 kinds of emoji in three free designs; in the repository (assets/make_emoji.py)."""

import hashlib
import io
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import BenchmarkDataset, Layout

ARCHIVE = Path(__file__).with_name("emoji.zip")
SHA256 = "757573997ddcebe0a346fece663913458acf0e32e6689c724e6d9e13fc671115"


def unpack(folder: Path) -> None:
    """Unpacks the bundled archive to `folder`, whole or not at all; if two runs do so at once, the first one's stays.

    Raises:
        ValueError: the archive is damaged.
        OSError: it cannot be unpacked there.
    """
    content = ARCHIVE.read_bytes()
    if (sha256 := hashlib.sha256(content).hexdigest()) != SHA256:
        raise ValueError(f"{ARCHIVE} is damaged: sha256 is {sha256}, not {SHA256}; restore it from the repository")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(temporary)
        os.rename(temporary / "emoji", folder)
    except OSError:
        if not (folder / "images").is_dir():  # else another run was faster
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@DATASET_REGISTRY.register()
class Emoji(BenchmarkDataset):
    """Split per class 50/20/30 by emoji: one part has all designs of an emoji. Unpacked to ROOT/emoji on first use."""

    dataset_dir = "emoji"
    split_file = "split_zhou_Emoji.json"
    counts = (693, 272, 405)

    @classmethod
    def find(cls, root: Path) -> Layout:
        """Finds the data set as any other; unpacks it first where there is none."""
        root = root.expanduser().absolute()
        if root.name != cls.dataset_dir and not (root / cls.dataset_dir).exists():
            unpack(root / cls.dataset_dir)
        return super().find(root)
