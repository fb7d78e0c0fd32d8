"""Hugging Face's exports: image folders with metadata, and Parquet files with images in them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from trees import WRITERS, dataset_cfg, write_image, write_lines

from datasets.folder import Folder
from promptkd.data import command
from promptkd.data.command import command_line
from promptkd.data.parquet import class_names, folder_name, unpack


def write_metadata(path: Path, rows: list[dict]) -> None:
    if path.suffix == ".csv":
        write_lines(path, [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)])
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def counts(data: Folder) -> dict[str, int]:
    return {part: len(items) for part, items in vars(data.full).items()}


@pytest.mark.parametrize("file", ["metadata.csv", "metadata.jsonl"])
@pytest.mark.parametrize("column", ["label", "text", "category"])
def test_metadata_of_each_part(file: str, column: str, tmp_path: Path):
    for part, number in (("train", 6), ("test", 4)):
        rows = [{"file_name": f"{i}.png", column: "cat" if i % 2 else "dog"} for i in range(number)]
        for row in rows:
            write_image(tmp_path / part / row["file_name"])
        write_metadata(tmp_path / part / file, rows)
    data = Folder(dataset_cfg(tmp_path))
    assert data.classnames == ["cat", "dog"] and counts(data) == {"train": 6, "val": 0, "test": 4}
    assert data.full.train[0].impath == str(tmp_path / "train" / "0.png") and data.full.train[0].classname == "dog"


@pytest.mark.parametrize("folders", [("train", "test"), ("images",), ("",)])
def test_metadata_in_the_root(folders: tuple[str, ...], tmp_path: Path):
    names = [f"{folder}/{i}.png".lstrip("/") for folder in folders for i in range(20)]
    rows = [{"file_name": name, "label": ("cat", "dog")[i % 2]} for i, name in enumerate(names)]
    for name in names:
        write_image(tmp_path / name)
    write_metadata(tmp_path / "metadata.jsonl", rows)
    expected = {"train": 20, "val": 0, "test": 20} if "train" in folders else {"train": 10, "val": 4, "test": 6}
    assert counts(Folder(dataset_cfg(tmp_path))) == expected


def test_class_folders_count_before_metadata(tmp_path: Path):
    for name in ("cat", "dog"):
        for number in range(10):
            write_image(tmp_path / name / f"{number}.png")
    write_metadata(tmp_path / "metadata.csv", [{"file_name": "cat/1.png", "label": "x"}])
    assert Folder(dataset_cfg(tmp_path)).classnames == ["cat", "dog"]


def test_numbers_as_classes_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [{"file_name": f"{i}.png", "label": i % 2} for i in range(20)]
    for row in rows:
        write_image(tmp_path / row["file_name"])
    write_metadata(tmp_path / "metadata.jsonl", rows)
    Folder(dataset_cfg(tmp_path))
    assert "the classes are numbers (0, 1)" in capsys.readouterr().out
    (tmp_path / "classnames.txt").write_text("0 cat\n1 dog\n")
    assert Folder(dataset_cfg(tmp_path)).classnames == ["cat", "dog"]
    assert "numbers" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "line", ["{", '{"file_name": "1.png"}', '{"file_name": "../1.png", "label": "x"}', "[]", '"x"']
)
def test_damaged_metadata(line: str, tmp_path: Path):
    write_image(tmp_path / "1.png")
    (tmp_path / "metadata.jsonl").write_text(f"{line}\n")
    with pytest.raises(ValueError, match="metadata.jsonl"):
        Folder(dataset_cfg(tmp_path))


def test_parquet_is_refused_with_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"is a Parquet file, .* unpack .*/data --out FOLDER .*pip install pyarrow"):
        Folder(dataset_cfg(tmp_path))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert command_line(["unpack", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "needs a package: pip install pyarrow" in capsys.readouterr().err
    WRITERS["EuroSAT"](tmp_path / "whole")
    (tmp_path / "eurosat").mkdir()
    (tmp_path / "eurosat" / "train.parquet").write_bytes(b"PAR1")
    assert command.main(["check", "eurosat", "--root", str(tmp_path)]) == 1
    assert "holds Parquet files, a Hugging Face export" in capsys.readouterr().out


def test_parquet_is_unpacked(tmp_path: Path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def encoded(number: int, kind: str) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (9, 9), (number, 0, 0)).save(file, kind)
        return file.getvalue()

    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["C/V cat", "dog"]}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    for part, size in (("train", 100), ("validation", 10), ("test", 10)):
        rows = [
            {"image": {"bytes": encoded(i, "PNG" if i % 3 else "JPEG"), "path": None}, "label": i % 2}
            for i in range(size)
        ]
        table = pyarrow.Table.from_pylist(rows).replace_schema_metadata(metadata)
        (tmp_path / "data").mkdir(exist_ok=True)
        parquet.write_table(table, tmp_path / "data" / f"{part}-00000-of-00001.parquet")
    assert unpack(tmp_path, tmp_path / "out") == {"test": 10, "train": 100, "val": 10}
    data = Folder(dataset_cfg(tmp_path / "out"))
    assert counts(data) == {"train": 100, "val": 10, "test": 10} and data.classnames == ["C-V cat", "dog"]
    (tmp_path / "data" / "bad.parquet").write_bytes(b"PAR1" * 9)
    with pytest.raises(ValueError, match="bad.parquet is no Parquet file that can be read"):
        unpack(tmp_path / "data" / "bad.parquet", tmp_path / "out")
    parquet.write_table(pyarrow.table({"x": [1]}), tmp_path / "data" / "bad.parquet")
    with pytest.raises(ValueError, match="has no column image; its columns are x"):
        unpack(tmp_path / "data" / "bad.parquet", tmp_path / "out")


def test_names_of_unpacked_folders():
    assert folder_name("a/b\\c") == "a-b-c" and folder_name("..") == "unnamed" and folder_name("../x") == "-x"
    assert class_names({}, "label") == class_names({b"huggingface": b"{"}, "label") == []
