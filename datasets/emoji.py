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
OTHERS = Path(__file__).with_name("emoji_others.zip")  # faces, hearts and weather, of the same designs
OTHERS_SHA256 = "feb237eee6b3624dc2070ad02ce3a57646f11255de834750d0db01840fafc1fd"


def unpack(folder: Path, path: Path | None = None, digest: str = SHA256) -> None:
    """Unpacks a bundled archive to `folder`, whole or not at all; if two runs do so at once, the first one's stays.

    Args:
        folder: where its files go.
        path: of the archive, whose files are in a folder of its own name; None for the data set's.
        digest: its sha256.

    Raises:
        ValueError: the archive is damaged.
        OSError: it cannot be unpacked there.
    """
    path = path or ARCHIVE
    content = path.read_bytes()
    if (sha256 := hashlib.sha256(content).hexdigest()) != digest:
        raise ValueError(f"{path} is damaged: sha256 is {sha256}, not {digest}; restore it from the repository")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(temporary)
        os.rename(temporary / path.stem, folder)
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

    def other_images(self) -> list[str]:
        """Paths of 337 faces, hearts and pictures of the weather; unpacked beside the data set on first use."""
        folder = self.layout.folder.with_name(OTHERS.stem)
        if not folder.exists():
            unpack(folder, OTHERS, OTHERS_SHA256)
        return sorted(str(path) for path in (folder / "images").rglob("*.png"))
