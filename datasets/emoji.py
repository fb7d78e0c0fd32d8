"""Emoji: 1,370 pictures of 20 kinds of emoji in three free designs; in the repository (assets/make_emoji.py)."""

from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.bundled import BundledDataset, unpack

OTHERS = Path(__file__).with_name("emoji_others.zip")  # faces, hearts and weather, of the same designs
OTHERS_SHA256 = "feb237eee6b3624dc2070ad02ce3a57646f11255de834750d0db01840fafc1fd"


@DATASET_REGISTRY.register()
class Emoji(BundledDataset):
    """Split per class 50/20/30 by emoji: one part has all designs of an emoji. Unpacked to ROOT/emoji on first use."""

    dataset_dir = "emoji"
    split_file = "split_zhou_Emoji.json"
    counts = (693, 272, 405)
    archive = Path(__file__).with_name("emoji.zip")
    sha256 = "757573997ddcebe0a346fece663913458acf0e32e6689c724e6d9e13fc671115"

    def other_images(self) -> list[str]:
        """Paths of 337 faces, hearts and pictures of the weather; unpacked beside the data set on first use."""
        folder = self.layout.folder.with_name(OTHERS.stem)
        if not folder.exists():
            unpack(folder, OTHERS, OTHERS_SHA256)
        return sorted(str(path) for path in (folder / "images").rglob("*.png"))
