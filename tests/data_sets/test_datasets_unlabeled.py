"""Unlabeled: a user's own images without labels, and a class list."""

import os
from pathlib import Path

import pytest
import torch
from trees import dataset_cfg, write_image, write_json, write_lines

from datasets.unlabeled import Unlabeled


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    root = tmp_path / "pool"
    for index in range(5):
        write_image(root / f"{index}.png")
        write_image(root / "batch 2" / f"{index}.jpg")
    write_lines(root / "classnames.txt", ["Red fox", "polar bear", "otter"])
    return root


def test_unlabeled(pool: Path):
    data = Unlabeled(dataset_cfg(pool))
    assert not data.labelled and data.classnames == data.all_classnames == ["Red fox", "polar bear", "otter"]
    assert data.num_classes == 3 and data.lab2cname == {0: "Red fox", 1: "polar bear", 2: "otter"}
    assert [Path(d.impath).name for d in data.train_x][:2] == ["0.png", "1.png"] and len(data.train_x) == 10
    assert {d.label for d in data.train_x} == {-1}
    assert data.full.test == [] and data.test == data.train_x and data.groups["new"] == [2]
    with pytest.raises((IndexError, RuntimeError)):  # a loss that needs labels cannot be computed by mistake
        torch.nn.functional.cross_entropy(torch.zeros(1, 3), torch.tensor([data.train_x[0].label]))


def test_unlabeled_with_test_folder(pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for folder in (tmp_path / "test", pool / "held out"):
        write_image(folder / "red_fox" / "1.png")
        write_image(folder / "Otter" / "2.png")
        data = Unlabeled(dataset_cfg(pool, TEST_DIR=str(folder), subsample="new"))
        assert len(data.train_x) == 10, "test images are not trained on"
        assert [(Path(d.impath).name, d.label, d.classname) for d in data.full.test] == [
            ("2.png", 2, "otter"),
            ("1.png", 0, "Red fox"),
        ]
        assert all(Path(d.impath).is_file() for d in data.full.test)
        assert data.classnames == ["otter"] and [(d.label, d.classname) for d in data.test] == [(0, "otter")]
        assert "1 of 3 classes have no test images: polar bear" in capsys.readouterr().out
    write_image(pool / "held out" / "oter" / "2.png")
    with pytest.raises(ValueError, match="oter is no class of the class list; did you mean 'otter'?"):
        Unlabeled(dataset_cfg(pool, TEST_DIR="held out"))


def test_links_in_the_test_folder(pool: Path, tmp_path: Path):
    for name in ("red fox", "otter"):
        write_image(tmp_path / "test" / name / "1.png")
    os.symlink("../..", tmp_path / "test" / "otter" / "up")
    assert len(Unlabeled(dataset_cfg(pool, TEST_DIR=str(tmp_path / "test"))).full.test) == 2
    os.symlink("../red fox", tmp_path / "test" / "otter" / "more")
    with pytest.raises(ValueError, match="are the same file"):
        Unlabeled(dataset_cfg(pool, TEST_DIR=str(tmp_path / "test")))


@pytest.mark.parametrize(
    ("file", "content", "names"),
    [
        ("classnames.json", '["cat", "dog"]', ["cat", "dog"]),
        ("c.txt", "\ufeffn01440764 tench\r\nn01443537 goldfish\r\n", ["tench", "goldfish"]),
        ("c.txt", "n01440764 tench\nstreet sign", ["n01440764 tench", "street sign"]),
        ("c.txt", "0 cat\n1 dog, black\n2\tpig", ["cat", "dog, black", "pig"]),
        ("c.txt", "2: cat\n1: dog", ["dog", "cat"]),
        ("c.txt", "0,cat\n1,dog", ["cat", "dog"]),
        ("c.txt", "2012 Audi TTS\n2000 Acura RL", ["2012 Audi TTS", "2000 Acura RL"]),
        ("c.txt", "'cat',\n'dog'", ["cat", "dog"]),
        ("c.txt", "\u200bcat\u200b\ndog, black", ["cat", "dog, black"]),
    ],
)
def test_class_lists(pool: Path, file: str, content: str, names: list[str]):
    (pool / file).write_text(content, encoding="utf-8")
    assert Unlabeled(dataset_cfg(pool, CLASSNAMES=file)).classnames == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cat", "1 class .cat.; a classifier needs two"),
        ("", "0 class"),
        ("cat\ndog\nCat", "cannot tell apart: 'cat' = 'Cat'"),
        ("cat\ncat\u200b", "cannot tell apart: 'cat' = 'cat'"),
        ("cat,dog,bird", "has one line, 'cat,dog,bird'; put each class name on a line of its own"),
    ],
)
def test_wrong_class_lists(pool: Path, content: str, message: str):
    (pool / "classnames.txt").write_text(content)
    with pytest.raises(ValueError, match=message):
        Unlabeled(dataset_cfg(pool))


def test_unlabeled_without_what_it_needs(pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_json({"cat": "tabby"}, pool / "map.json")
    with pytest.raises(ValueError, match="map.json is not a list of class names"):
        Unlabeled(dataset_cfg(pool, CLASSNAMES="map.json"))
    with pytest.raises(FileNotFoundError, match="DATASET.CLASSNAMES none.txt is neither in"):
        Unlabeled(dataset_cfg(pool, CLASSNAMES="none.txt"))
    with pytest.raises(FileNotFoundError, match="DATASET.TEST_DIR none is neither in"):
        Unlabeled(dataset_cfg(pool, TEST_DIR="none"))
    Unlabeled(dataset_cfg(pool, shots=4))
    assert "DATASET.NUM_SHOTS 4 does not apply to images without labels" in capsys.readouterr().out
    for path in [*pool.glob("*.png"), *pool.glob("*/*.jpg")]:
        path.unlink()
    with pytest.raises(ValueError, match="Unlabeled: no images in .*pool"):
        Unlabeled(dataset_cfg(pool))
    (pool / "classnames.txt").unlink()
    with pytest.raises(FileNotFoundError, match="no class list; put classnames.txt"):
        Unlabeled(dataset_cfg(pool))


def test_class_list_of_folders_and_names_is_said(pool: Path, capsys: pytest.CaptureFixture[str]):
    Unlabeled(dataset_cfg(pool))
    assert "folder" not in capsys.readouterr().out
    for folder in ("fox", "bear"):
        write_image(pool / "train" / folder / "1.png")
    write_lines(pool / "classnames.txt", ["fox Red fox", "bear polar bear"])
    assert Unlabeled(dataset_cfg(pool)).classnames == ["fox Red fox", "bear polar bear"]
    assert "every line of classnames.txt begins with the name of a folder" in capsys.readouterr().out
