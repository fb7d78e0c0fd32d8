import json
from pathlib import Path

import pytest
from PIL import Image
from trees import dataset_cfg

from datasets.emoji import Emoji

CLASSES = [
    "aircraft", "bird", "boat", "bug", "building", "clothing", "computer", "drink", "flower", "fruit",
    "ground vehicle", "mammal", "marine animal", "musical instrument", "plant", "prepared food", "sport", "sweet food",
    "tool", "vegetable",
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("emoji") / "not" / "there"  # made on first use
    Emoji(dataset_cfg(root))
    return root


def test_unpacked_whole(root: Path):
    data = Emoji(dataset_cfg(root))
    assert data.all_classnames == CLASSES
    assert (len(data.full.train), len(data.full.val), len(data.full.test)) == Emoji.counts
    datums = [*data.full.train, *data.full.val, *data.full.test]
    assert len({datum.impath for datum in datums}) == sum(Emoji.counts)
    with Image.open(datums[0].impath) as image:
        assert image.size == (64, 64)
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert {path.name for path in (root / "emoji" / "LICENSES").iterdir()} == {
        "FluentEmoji-MIT.txt", "OpenMoji-CC-BY-SA-4.0.txt",
    }  # fmt: skip
    assert "CC BY-SA 4.0" in (root / "emoji" / "ATTRIBUTION.md").read_text()
    assert [path.name for path in root.iterdir()] == ["emoji"]  # nothing temporary is left


def test_no_emoji_is_in_two_parts_or_classes(root: Path):
    split = json.loads((root / "emoji" / "split_zhou_Emoji.json").read_text())
    place: dict[str, set[tuple[str, str]]] = {}
    designs = set()
    for part, rows in split.items():
        for path, label, classname in rows:
            assert CLASSES[label] == classname and path.startswith(classname.replace(" ", "_") + "/")
            code, design = Path(path).stem.rsplit("-", 1)
            designs.add(design)
            place.setdefault(code, set()).add((part, classname))
    assert designs == {"fluent3d", "fluentflat", "openmoji"}
    assert {code: where for code, where in place.items() if len(where) > 1} == {}
    for part, share in (("train", 0.5), ("val", 0.2), ("test", 0.3)):
        actual = sum(part == chosen for where in place.values() for chosen, _ in where) / len(place)
        assert abs(actual - share) < 0.02
