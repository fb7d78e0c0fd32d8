"""EmojiShifted: Emoji's pictures in other colours and blurred, with an imbalanced pool; made from Emoji's archive."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

from PIL import Image

from dassl.data.datasets import DATASET_REGISTRY, Datum
from promptkd.data.bundled import BundledDataset, make_folder
from promptkd.data.pools import imbalanced

from .emoji import Emoji

SEED = 1  # of the hues and of the images that stay
BLUR = ("gaussian_blur", 4)  # kind and severity in promptkd/data/corruptions.py: 1.1 pixels at 64
IMBALANCE = 5.0  # the share that stays of the largest class to that of the smallest
NOTICE = """
The images here are not as in Emoji: datasets/emoji_shifted.py turned the hue of each by an angle of its own and blurred
it. They are offered under the licences of the images that they were made from.
"""


@DATASET_REGISTRY.register()
class EmojiShifted(BundledDataset):
    """Emoji under a shift of colour, sharpness and balance. Made at ROOT/emoji_shifted on first use, in some seconds.

    Classes, validation and test images are Emoji's; of the training images a long tail stays.
    """

    dataset_dir = "emoji_shifted"
    split_file = "split_zhou_EmojiShifted.json"
    counts = (297, 272, 405)

    @classmethod
    def make(cls, folder: Path) -> None:
        """Unpacks Emoji to a temporary folder and writes its pictures, changed, to this one."""

        def fill(place: Path) -> Path:
            with tempfile.TemporaryDirectory(dir=place) as original:
                Emoji.make(Path(original, "emoji"))
                write_shifted(Path(original, "emoji"), place / cls.dataset_dir, cls.split_file)
            return place / cls.dataset_dir

        make_folder(folder, fill)


def write_shifted(original: Path, folder: Path, split_file: str) -> None:
    """Writes the shifted pictures of Emoji, their split and its licences.

    Args:
        original: Emoji's folder.
        folder: where the files go.
        split_file: name of the split.
    """
    for path in sorted((original / "images").rglob("*.png")):
        name = path.relative_to(original).as_posix()
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            shifted(image.convert("RGB"), name).save(place)
    (original / "LICENSES").rename(folder / "LICENSES")
    (folder / "ATTRIBUTION.md").write_text((original / "ATTRIBUTION.md").read_text(encoding="utf-8") + NOTICE)
    split = json.loads((original / Emoji.split_file).read_text(encoding="utf-8"))
    kept = imbalanced([Datum(path, label, 0, name) for path, label, name in split["train"]], IMBALANCE, SEED)
    split["train"] = [[datum.impath, datum.label, datum.classname] for datum in kept]
    (folder / split_file).write_text(json.dumps(split))


def shifted(image: Image.Image, name: str) -> Image.Image:
    """A picture with its hue turned by an angle that follows from its name, and blurred; white stays white."""
    from torchvision.transforms import functional as TF  # torch: only where pictures are made

    from promptkd.data.corruptions import corrupted

    turn = random.Random(f"{SEED} {name}").uniform(-0.5, 0.5)  # of the colour circle
    pixels = TF.to_tensor(TF.adjust_hue(image, turn))  # (3, H, W) in [0, 1]
    return TF.to_pil_image(corrupted(pixels[None], *BLUR)[0])
