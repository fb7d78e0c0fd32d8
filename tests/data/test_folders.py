"""What is no data in a folder of images: left by systems and archives, or pictures that are not read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from trees import WRITERS, dataset_cfg, write_class_tree, write_image, write_lines

from dassl.data.datasets import DATASET_REGISTRY
from datasets.folder import Folder
from datasets.unlabeled import Unlabeled
from promptkd import guests
from promptkd.data.folders import innermost, is_junk, list_folders, walk_images

guests.register_datasets()

JUNK = (
    *("__MACOSX", "@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information", "lost+found"),
    *(".Trash-1000", ".Trashes", ".AppleDouble", ".ipynb_checkpoints", "__pycache__", ".git", ".thumbnails"),
    *("Temporary Items", "Network Trash Folder", "RECYCLER", "found.000", "@Recycle", ".@__thumb", ".Spotlight-V100"),
)
CLASSES = {"cat": 10, "dog": 10}


def litter(folder: Path) -> None:
    """Puts folders of no data with small images, and files of no data, into a folder and all folders below it."""
    for inside in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        for name in JUNK:
            write_image(inside / name / "cat" / "SYNOPHOTO_THUMB_M.jpg")
            write_image(inside / name / "thumb.png")
        for name in ("._1.jpg", "Thumbs.db", "desktop.ini", ".DS_Store", "ehthumbs.db", "Icon\r"):
            (inside / name).write_bytes(b"\0\5\x16\7")


@pytest.mark.parametrize("name", JUNK)
def test_junk(name: str):
    assert is_junk(name) and is_junk(name.upper()) and is_junk(name.lower())


@pytest.mark.parametrize(
    "name", ["recycling bin", "trash", "macosx", "git", "lost", "tmp", "thumb", "$100", "@home", "#1"]
)
def test_classes(name: str):
    assert not is_junk(name)


def lists(data) -> list[list[tuple[str, int]]]:
    return [[(d.impath, d.label) for d in part] for part in (data.full.train, data.full.val, data.full.test)]


@pytest.mark.parametrize("parts", [("",), ("train", "val", "test")])
def test_folder(tmp_path: Path, parts: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    for part in parts:
        write_class_tree(tmp_path / part, CLASSES)
    clean = lists(Folder(dataset_cfg(tmp_path)))
    litter(tmp_path)
    capsys.readouterr()
    assert lists(Folder(dataset_cfg(tmp_path))) == clean
    lines = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert len(lines) == 1 and "hold no data: #recycle (" in lines[0]


def test_unlabeled_and_its_test_folder(tmp_path: Path):
    write_class_tree(tmp_path / "pool", CLASSES)
    write_class_tree(tmp_path / "test", CLASSES)
    write_lines(tmp_path / "names.txt", list(CLASSES))
    options = {"CLASSNAMES": str(tmp_path / "names.txt"), "TEST_DIR": str(tmp_path / "test")}
    clean = lists(Unlabeled(dataset_cfg(tmp_path / "pool", **options)))
    litter(tmp_path)
    assert lists(Unlabeled(dataset_cfg(tmp_path / "pool", **options))) == clean


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_published_data_sets(name: str, tmp_path: Path):
    WRITERS[name](tmp_path)
    clean = lists(DATASET_REGISTRY.get(name)(dataset_cfg(tmp_path)))
    for path in tmp_path.rglob("split_built_*"):
        path.unlink()
    for inside in [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]:
        for junk in ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN"):
            write_image(inside / junk / "1.jpg")
    assert lists(DATASET_REGISTRY.get(name)(dataset_cfg(tmp_path))) == clean


def test_images_without_a_suffix_are_used_and_others_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    jpeg = write_image(tmp_path / "cat" / "0.jpg").read_bytes()
    for name in ("0000a1f", "pic.jpg_large", "pic.jpeg!d", "UPPER.JPG", "x.jpg (1)"):
        (tmp_path / "cat" / name).write_bytes(jpeg)
    for name in ("0.jpg~", "0.jpg_original", "0.jpg.bak", "1.jpg.crdownload", "photo.dat"):
        (tmp_path / "cat" / name).write_bytes(jpeg)
    for name in ("IMG_1.HEIC", "IMG_2.heic", "raw.NEF"):
        (tmp_path / "cat" / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    (tmp_path / "cat" / "README").write_text("no image")
    (tmp_path / "cat" / "labels.csv").write_text("no image")
    os.mkfifo(tmp_path / "cat" / "pipe")
    shutil.copytree(tmp_path / "cat", tmp_path / "dog", ignore=shutil.ignore_patterns("pipe"))
    Folder(dataset_cfg(tmp_path))
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if "pictures" in line]
    assert line.startswith("WARNING: Folder: left out 16 files that are pictures and have no image's suffix: 4 .heic")
    assert "2 .jpg~ (JPEG)" in line and "2 .dat (JPEG)" in line and "2 .nef" in line and "pillow-heif" in line
    assert walk_images(tmp_path / "cat") == [
        "0.jpg",
        "0000a1f",
        "UPPER.JPG",
        "pic.jpeg!d",
        "pic.jpg_large",
        "x.jpg (1)",
    ]


def test_a_folder_of_names_without_suffix(tmp_path: Path):
    for number in range(8):
        for folder, kind in (("cat", "PNG"), ("dog", "WEBP")):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.new("RGB", (9, 9)).save(tmp_path / folder / f"{number:032x}", kind)
    data = Folder(dataset_cfg(tmp_path))
    assert sum(map(len, vars(data.full).values())) == 16
    data.full.train[0]


def test_innermost(tmp_path: Path):
    write_image(tmp_path / "images" / "images" / "1.png")
    (tmp_path / "images" / "__MACOSX").mkdir()
    assert innermost(tmp_path / "images") == tmp_path / "images" / "images"
    write_image(tmp_path / "images" / "2.png")
    assert innermost(tmp_path / "images") == tmp_path / "images"
    assert list_folders(tmp_path / "images") == ["images"]
