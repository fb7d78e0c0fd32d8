"""EmojiShifted: made from Emoji's archive alone, the same each time; a run is trained and evaluated on it by name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import result
from PIL import Image
from trees import dataset_cfg

import train
from datasets.emoji import Emoji
from datasets.emoji_shifted import IMBALANCE, EmojiShifted, shifted
from promptkd.sweep import execute as executing
from promptkd.sweep import launch
from promptkd.sweep.jobs import Job


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shifted")


@pytest.fixture(scope="module")
def data(root: Path) -> EmojiShifted:
    return EmojiShifted(dataset_cfg(root))


@pytest.fixture(scope="module")
def emoji(root: Path) -> Emoji:
    return Emoji(dataset_cfg(root))


def files(data: Emoji | EmojiShifted, part: str) -> list[tuple[str, int]]:
    """Where the images of a part are in the data set, and their labels."""
    return [
        (Path(datum.impath).relative_to(data.layout.images).as_posix(), datum.label)
        for datum in getattr(data.full, part)
    ]


def test_emoji_with_a_long_tail(data: EmojiShifted, emoji: Emoji, root: Path):
    assert sorted(path.name for path in root.iterdir()) == ["emoji", "emoji_shifted"]  # nothing temporary is left
    assert data.all_classnames == emoji.all_classnames
    assert tuple(len(files(data, part)) for part in ("train", "val", "test")) == EmojiShifted.counts
    assert files(data, "val") == files(emoji, "val") and files(data, "test") == files(emoji, "test")
    kept, whole = files(data, "train"), files(emoji, "train")
    assert set(kept) < set(whole)
    sizes, before = (Counter(label for _, label in part) for part in (kept, whole))
    shares = [sizes[label] / before[label] for label in before]
    assert max(shares) == 1 and min(shares) == pytest.approx(1 / IMBALANCE, abs=0.05)
    folder = data.layout.folder
    assert {path.name for path in (folder / "LICENSES").iterdir()} == {
        path.name for path in (emoji.layout.folder / "LICENSES").iterdir()
    }
    assert "not as in Emoji" in (folder / "ATTRIBUTION.md").read_text()


def test_pictures_are_of_other_colours_and_blurred(data: EmojiShifted, emoji: Emoji):
    colours, edges = [], []
    for (path, _), _ in zip(files(data, "val"), range(60), strict=False):
        with Image.open(data.layout.path(path)) as one, Image.open(emoji.layout.path(path)) as other:
            new, old = (np.asarray(image.convert("RGB"), dtype=float) for image in (one, other))
        assert new.shape == old.shape == (64, 64, 3)
        assert np.abs(new[0, 0] - old[0, 0]).max() <= 1  # the page stays white
        colours.append(np.abs(new.mean((0, 1)) - old.mean((0, 1))).max())
        edges.append(np.abs(np.diff(new.mean(2))).mean() / np.abs(np.diff(old.mean(2))).mean())
    assert np.median(colours) > 3 and np.mean(edges) < 0.9


def test_a_picture_is_the_same_each_time():
    image = Image.effect_noise((64, 64), 90).convert("RGB")
    image.putpixel((3, 3), (250, 10, 20))
    one, again, other = (shifted(image, name).tobytes() for name in ("images/a.png", "images/a.png", "images/b.png"))
    assert one == again != other


def test_a_script_runs_on_it(data: EmojiShifted, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a script starts, by the data set's name; the bundled pair is its default."""

    def here(one: Job, *_: object) -> int:
        train.main(list(one.command[2:]))
        return 0

    monkeypatch.setattr(executing, "_process", here)
    monkeypatch.setenv("DATA", str(root))
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    assert launch.main(["base2new", "ZeroshotCLIP", "emoji_shifted", "1", "USE_CUDA", "False"]) == 0
    (place,) = tmp_path.glob("base2new/emoji_shifted/*/ZeroshotCLIP/mini/seed1")
    assert (record := result(place))["dataset"] == "EmojiShifted" and record["backbone"] == "mini-student"
    assert record["metrics"]["base"]["images"] + record["metrics"]["new"]["images"] == EmojiShifted.counts[2]
