"""File names that are not UTF-8: what is written, printed and hashed of them, and the way back."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest
import torch
from conftest import result
from PIL import Image
from trees import dataset_cfg

from datasets.folder import Folder
from datasets.unlabeled import Unlabeled
from promptkd.data import command
from promptkd.data.loading.views import view_seed
from promptkd.data.splits import digest
from promptkd.results.predictions import Predictions
from promptkd.texts import is_utf8, path_of, path_text

LATIN = os.fsdecode(b"caf\xe9")
NAMES = [b"caf\xe9.png", b"\x82\xa0\x83.png", "schön 猫.png".encode(), b"a\nb.png", b"lit\\xe9.png", b"\x1b[31m.png"]


def image(folder: bytes, name: bytes) -> None:
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as file:
        Image.new("RGB", (40, 40), (len(name) * 9, 90, 30)).save(file, "PNG")


@pytest.mark.parametrize("name", NAMES)
def test_there_and_back(name: bytes):
    text = path_text(os.fsdecode(name))
    text.encode()
    assert os.fsencode(path_of(text)) == name and text.isprintable()
    assert is_utf8(os.fsdecode(name)) == (b"\x82" not in name and b"caf" not in name)


def test_usual_names_stay():
    for name in ("train/cat/1.png", "é/猫 (2).jpg", "back\\slash.png", "a\u200db.png"):
        assert path_text(name) == name == path_of(name)
    assert path_text(f"{LATIN}.png") == r"caf\xe9.png"


def test_hashes():
    assert view_seed(1, 2, "a/b.png") == 9188193118322028869  # as before there were such names
    assert view_seed(1, 2, f"{LATIN}.png") != view_seed(1, 2, "café.png")
    assert digest([(f"{LATIN}.png", 0, "x")]) != digest([("café.png", 0, "x")])


def test_predictions_are_found_again(tmp_path: Path):
    predictions = Predictions(tmp_path)
    paths = [os.path.join(tmp_path, os.fsdecode(name)) for name in NAMES]
    predictions.add("all", ["x", "y"], paths, torch.zeros(len(paths), dtype=torch.long), torch.zeros(len(paths), 2))
    text = predictions.text()
    rows = list(csv.DictReader(io.StringIO(text.encode().decode())))
    assert [os.fsencode(path_of(row["path"])) for row in rows] == NAMES
    assert len(text.splitlines()) == 1 + len(NAMES)


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    root = tmp_path / "pool"
    for name in NAMES:
        image(os.fsencode(root) + b"/sub\xff", name)
    (root / "classnames.txt").write_text("cat\ndog\n")
    return root


def test_a_data_set_is_checked_and_said(pool: Path, capsys: pytest.CaptureFixture[str]):
    with open(os.fsencode(pool) + b"/sub\xff/b\xe0d.png", "wb") as file:
        file.write(b"no image")
    assert command.main(["check", "Unlabeled", "--root", str(pool), "--decode", "--json"]) == 1
    report = json.loads(capsys.readouterr().out.encode())[0]
    (path,) = report["undecodable"]
    assert path == rf"{pool}/sub\xff/b\xe0d.png" and os.path.isfile(path_of(path))
    Unlabeled(dataset_cfg(pool, SKIP_BAD_IMAGES=True))
    assert r"left out sub\xff/b\xe0d.png" in capsys.readouterr().out


def test_class_folders(tmp_path: Path):
    for number in range(10):
        image(os.fsencode(tmp_path / LATIN), b"%d.png" % number)
        image(os.fsencode(tmp_path / "tea"), b"%d.png" % number)
    with pytest.raises(ValueError, match=r"class names are not UTF-8: caf\\xe9; rename the folders, or name them"):
        Folder(dataset_cfg(tmp_path))
    assert not list(tmp_path.glob("split_built*"))
    (tmp_path / "classnames.txt").write_text("caf\\xe9 café\ntea tea\n", encoding="utf-8")
    data = Folder(dataset_cfg(tmp_path, shots=2))
    assert data.classnames == ["café", "tea"]
    assert Folder(dataset_cfg(tmp_path, shots=2)).fewshot == data.fewshot  # read back from its file


def test_a_list_may_name_them_as_predictions_do(tmp_path: Path):
    for name in (b"caf\xe9.png", b"tea.png"):
        image(os.fsencode(tmp_path), name)
    (tmp_path / "files.csv").write_text("path,class,split\ncaf\\xe9.png,cup,train\ntea.png,tea,train\n")
    assert [Path(d.impath).name for d in Folder(dataset_cfg(tmp_path, FILES="files.csv")).train_x] == [
        f"{LATIN}.png",
        "tea.png",
    ]


def test_a_run_ends_with_its_files(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = tmp_path / LATIN
    for part in ("train", "test"):
        for number in range(4):
            image(os.fsencode(root / part / "cat"), b"\xe9%d.png" % number)
            image(os.fsencode(root / part / "dog"), b"%d.png" % number)
    words = ("DATASET.NAME", "Folder", "DATASET.ROOT", str(root), "DATASET.SUBSAMPLE_CLASSES", "all")
    run("CoOp", tmp_path / "out", *words, epochs=1)
    assert "all" in result(tmp_path / "out")["metrics"]
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").open(encoding="utf-8")))
    paths = {row["path"] for row in rows}
    assert r"test/cat/\xe90.png" in paths and all((root / path_of(path)).is_file() for path in paths)
    assert (tmp_path / "out" / "class_vectors.safetensors").is_file()
