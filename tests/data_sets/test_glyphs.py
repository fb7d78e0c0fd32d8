"""Glyphs: whole, with its licences, and a second task: no object in two parts, nothing of Emoji."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import dataset_cfg

from datasets.emoji import Emoji
from datasets.glyphs import Glyphs

CLASSES = [
    "book", "decoration", "dishes", "film and video", "game", "household object", "lamp", "lock and key", "mail",
    "medicine", "money", "moon and stars", "music", "office supply", "pen", "phone", "place", "reptile",
    "scientific instrument", "weather",
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("glyphs")


@pytest.fixture(scope="module")
def glyphs(root: Path) -> Glyphs:
    return Glyphs(dataset_cfg(root))


def test_unpacked_whole(glyphs: Glyphs, root: Path):
    assert glyphs.all_classnames == CLASSES
    parts = (glyphs.full.train, glyphs.full.val, glyphs.full.test)
    assert tuple(map(len, parts)) == Glyphs.counts
    assert all({datum.label for datum in part} == set(range(20)) for part in parts)  # every class in every part
    with Image.open(glyphs.full.train[0].impath) as image:
        assert image.size == (64, 64) and image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    folder = root / "glyphs"
    assert {path.name for path in (folder / "LICENSES").iterdir()} == {
        "FluentEmoji-MIT.txt", "OpenMoji-CC-BY-SA-4.0.txt", "Unifont-OFL-1.1.txt",
    }  # fmt: skip
    table = (folder / "ATTRIBUTION.md").read_text()
    designs = {Path(datum.impath).stem.rsplit("-", 1)[1] for part in parts for datum in part}
    assert designs == {"fluent", "openmoji", "symbola", "unifont"} and all(f"`*-{one}.png`" in table for one in designs)


def test_no_object_is_in_two_parts(glyphs: Glyphs):
    """No emoji is in two parts, and no two pictures of a class that look alike are."""
    split = json.loads((glyphs.layout.folder / Glyphs.split_file).read_text())
    rows = [(part, path, label) for part, entries in split.items() for path, label, _ in entries]
    place: dict[str, set[str]] = {}
    for part, path, _ in rows:
        place.setdefault(Path(path).stem.rsplit("-", 1)[0], set()).add(part)
    assert {code: where for code, where in place.items() if len(where) > 1} == {}

    def grey(path: str) -> np.ndarray:
        with Image.open(glyphs.layout.path(path)) as image:
            return np.asarray(image.convert("L"), dtype=np.float32) / 255

    pixels = np.stack([grey(path) for _, path, _ in rows])
    for row, (part, path, label) in enumerate(rows):
        others = [index for index, (other, _, its) in enumerate(rows) if its == label and other != part]
        nearest = np.abs(pixels[others] - pixels[row]).mean((1, 2)).min()
        assert nearest > 0.03, path


def test_nothing_of_emoji_is_in_it(glyphs: Glyphs, root: Path):
    emoji = Emoji(dataset_cfg(root))
    assert not set(emoji.all_classnames) & set(CLASSES)
    own, theirs = (
        {path.stem.rsplit("-", 1)[0] for path in data.layout.images.rglob("*.png")} for data in (glyphs, emoji)
    )
    assert own and theirs and not own & theirs
