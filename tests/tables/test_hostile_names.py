"""Tables, CSV and the page from results of unknown origin: names forge nothing, and pictures are those of the data."""

from __future__ import annotations

import csv
import io
import os
import sys
from pathlib import Path

import pytest
import torch
from made_up import result, write
from PIL import Image

from promptkd.pages.pictures import thumbnail
from promptkd.results.predictions import COLUMNS, Predictions, read_rows
from promptkd.tables import command as collect
from promptkd.tables.report import page

NAMES = ["=HYPERLINK(1)", "+1", "-2", "@x", "\x1b]0;title\x07", "a\nforged | 99.9", "\u202egpj", "[a](http://b)"]


@pytest.fixture
def output(tmp_path) -> Path:
    for number, name in enumerate(NAMES):
        metrics = result()["metrics"]
        metrics["base"] |= {"per_class": {name: 50.0}}
        write(tmp_path / "o" / str(number), result(dataset=name, metrics=metrics, config_hash=str(number)))
    return tmp_path / "o"


@pytest.mark.parametrize("form", collect.FORMATS)
def test_formats_hold_no_control_characters(output, form, capsys):
    assert collect.main([str(output), "--format", form]) == 0
    printed = capsys.readouterr()
    assert not {"\x1b", "\x07", "\u202e"} & set(printed.out + printed.err)
    assert not any(line.startswith("forged") for line in printed.out.splitlines())


def test_markdown_has_no_links(output, capsys):
    collect.main([str(output), "--format", "markdown"])
    assert "\\[a\\](http://b)" in capsys.readouterr().out


def test_numbers_of_a_csv_stay_numbers(output, capsys):
    collect.main([str(output), "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["dataset"] for row in rows} >= {"'=HYPERLINK(1)", "'+1", "'-2", "'@x"}
    assert all(0 <= float(row["mean"]) <= 100 for row in rows if row["mean"])
    assert not any(text[:1] in ("=", "+", "@") for row in rows for text in row.values())


def test_predictions_are_no_formulas_and_come_back(tmp_path):
    predictions = Predictions(tmp_path)
    names = ["=1+1", "cat", "-x"]
    paths = [str(tmp_path / "=cmd.jpg"), str(tmp_path / "d" / "a\nb.jpg")]
    predictions.add("all", names, paths, torch.tensor([0, 2]), torch.eye(3)[:2] * 9)
    assert "\n=" not in predictions.text() and ",=" not in predictions.text() and ",-" not in predictions.text()
    (tmp_path / "predictions.csv").write_text(predictions.text())
    rows = list(read_rows(tmp_path / "predictions.csv"))
    assert [row["path"] for row in rows] == ["=cmd.jpg", r"d/a\x0ab.jpg"] and rows[0]["label"] == "=1+1"
    assert 0.99 < float(rows[0]["p1"]) <= 1 and list(rows[0]) == list(COLUMNS)


def test_the_page_turns_no_text_around(output):
    summaries, left_out = collect.collect([str(output)])
    text = page(summaries, left_out, [str(output)])
    assert "\u202e" not in text and "\x1b" not in text and "\\u202egpj" in text


@pytest.fixture
def root(tmp_path) -> Path:
    """A data root with a picture, beside a secret."""
    (tmp_path / "root" / "d").mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(tmp_path / "root" / "d" / "a.png")
    Image.new("RGB", (40, 30)).save(tmp_path / "secret.png")
    return tmp_path / "root"


def test_pictures_come_from_below_the_data_root(root):
    secret = root.parent / "secret.png"
    os.symlink(secret, root / "link.png")
    os.symlink(root.parent, root / "up")
    os.symlink(root / "d" / "a.png", root / "inside.png")
    assert thumbnail(str(root), "d/a.png") and thumbnail(str(root), "inside.png")
    for path in (str(secret), "../secret.png", "link.png", "up/secret.png", "d", "", "a\0b", "x" * 5000):
        assert thumbnail(str(root), path) == "", path


def test_pictures_are_regular_files_of_a_size_that_fits(root, monkeypatch):
    os.mkfifo(root / "pipe.png")
    with (root / "huge.png").open("wb") as file:
        file.truncate(2**40)
    (root / "program.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    for path in ("pipe.png", "huge.png", "program.eps"):
        assert thumbnail(str(root), path) == "", path
    monkeypatch.setattr(sys.modules[thumbnail.__module__], "LARGEST_PICTURE", 1000)
    assert thumbnail(str(root), "d/a.png") == ""


def test_a_damaged_training_log_costs_its_curves(output):
    folder = output / "0" / "tensorboard"
    folder.mkdir()
    (folder / "events.out.tfevents.1.host").write_bytes(b"\xff" * 500)
    summaries, left_out = collect.collect([str(output)])
    assert "</html>" in page(summaries, left_out, [str(output)])
