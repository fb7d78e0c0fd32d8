"""`promptkd data look`: a self-contained page of a data set before training, with the models' first guesses."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from chromium import PROGRAM, Chromium
from conftest import CLASSES, SIZE
from PIL import Image

from promptkd.data import command

EVIL = '<img src="x" onerror=alert(1)>&'


@pytest.fixture
def recipe(tmp_path):
    """Views of the tiny models' size."""
    path = tmp_path / "recipe.yaml"
    path.write_text(f"INPUT:\n  SIZE: [{SIZE}, {SIZE}]\n", encoding="utf-8")
    return str(path)


def page(out: Path, *words: str) -> str:
    assert command.command_line(["look", *words, "--out", str(out)]) == 0
    return out.read_text(encoding="utf-8")


def test_page_shows_classes_prompts_counts_views_and_guesses(data_root, clips, recipe, tmp_path):
    words = ["eurosat", "--root", data_root, "--config-file", recipe, "--sample", "7", "--views", "2"]
    text = page(tmp_path / "look.html", *words, "--teacher", clips["teacher"], "--student", clips["student"])
    assert "train 30, val 10, test 15" in text and text.count('class="card"') == 5
    for name in CLASSES:
        assert f"<h5>{name}</h5>" in text and f"a centered satellite photo of {name}." in text
    assert text.count("train 6, val 2, test 3") == 5
    assert text.count('src="data:image/jpeg') == 5 * 3 + 7 == text.count("<img ")
    assert text.count('class="guess ') == 14 and len(re.findall(r"[\d.]+ % right", text)) == 2
    assert "default-src 'none'" in text and "http" not in re.sub(r"http-equiv", "", text)
    assert page(tmp_path / "again.html", *words, "--teacher", clips["teacher"], "--student", clips["student"]) == text


def test_a_template_and_a_teacher_of_other_names_are_seen(data_root, clips, recipe, tmp_path, capsys):
    words = ["eurosat", "--root", data_root, "--config-file", recipe, "--sample", "3", "--template", "nonsense {} & co"]
    text = page(tmp_path / "look.html", *words, "--teacher", str(tmp_path / "moved"))
    assert "nonsense River &amp; co" in text
    assert "no run&#x27;s directory" in text and "no CLIP" in capsys.readouterr().err
    assert text.count("<img ") == 5 * 4 + 3 and 'class="guess' not in text.partition("</style>")[2]


def test_names_are_text_and_damaged_images_are_said(tmp_path, recipe):
    root = tmp_path / "own"
    for name in (EVIL.replace("/", ""), "cat"):
        for part in ("train", "test"):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (40, 30), (90 * number, 0, 90)).save(folder / f"{number}.png")
    for number in range(2):
        (root / "test" / "cat" / f"{number}.png").write_bytes(b"no image")
    text = page(tmp_path / "look.html", "Folder", "--root", str(root), "--config-file", recipe)
    body = text.partition("<body>")[2]
    assert EVIL not in body and EVIL in unescape(body)
    assert body.count("cannot read the image") == 2


def test_words_that_do_not_fit_are_one_line(data_root, tmp_path, capsys):
    for words, message in (
        (["--views", "0"], "--views 0: give 1 to 12"),
        (["--template", "no place"], "no place for the class name"),
        (["--config-file", str(tmp_path / "none.yaml")], "none.yaml"),
    ):
        assert command.command_line(["look", "eurosat", "--root", data_root, *words, "--out", str(tmp_path / "x")]) == 1
        error = capsys.readouterr().err
        assert message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.skipif(not PROGRAM, reason="no Chromium on this machine: apt-get install chromium")
def test_page_fits_a_phone_and_asks_for_nothing(data_root, clips, recipe, tmp_path):
    words = ["--root", data_root, "--config-file", recipe, "--sample", "5", "--teacher", clips["teacher"]]
    page(tmp_path / "look.html", "eurosat", *words)
    (tmp_path / "profile").mkdir()
    with Chromium(tmp_path / "profile") as browser:
        for width, dark in ((1280, False), (390, False), (390, True)):
            browser.open(tmp_path / "look.html", width, 844, dark)
            assert browser.console == [] and len(browser.requests) - str(browser.requests).count("data:") == 1
            assert browser.do("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
            assert browser.do("[...document.images].every((one) => one.naturalWidth > 0)")
