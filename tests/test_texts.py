"""Texts from anywhere: nothing hidden in a line, no formula in a cell, nothing cut inside a word."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from promptkd import logs
from promptkd.texts import cell, clipped, one_line, plain, uncelled

LOG = logging.getLogger("promptkd.test")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("red\x1b[31m", r"red\x1b[31m"),
        ("a\rb\nc\td\x00", r"a\rb\nc\td\x00"),
        ("\x9b2J", r"\x9b2J"),
        ("gpj.\u202efoo", r"gpj.\u202efoo"),
        ("\u2066a\u2069\u200b", r"\u2066a\u2069\u200b"),
        ("caf\udce9", r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("Käse 猫 🙂 👩‍🔬", "Käse 猫 🙂 👩‍🔬"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, shown):
    assert plain(text) == shown and plain(text).encode()


def test_lines_stay_where_they_are_wanted():
    assert plain("a\n\tb\x07", lines=True) == "a\n\tb\\x07"
    assert one_line("a\n b\r\n\x1b c") == r"a b \x1b c"


NUMBERS_OR_NAMES = ["=1+1", "+cmd", "-cat", "@sum", "\t=1", "\r=1", "'=1", "''-1", " =1", "＝1"]


@pytest.mark.parametrize("name", NUMBERS_OR_NAMES)
def test_a_cell_is_no_formula_and_comes_back(name):
    assert cell(name) == f"'{name}" and uncelled(cell(name)) == name


@pytest.mark.parametrize("name", ["cat", "a=b", "'tis", "", "2-door", "café"])
def test_other_names_are_their_cells(name):
    assert cell(name) == name == uncelled(name)


def test_nothing_is_cut_inside_a_word():
    url = f"https://example.org/{'a' * 70}"
    assert clipped(f"no such file {url} at all", 40) == "no such file ..."
    assert clipped(f"{url} is gone", 20) == f"{url} ..."
    assert clipped("short", 20) == "short" and clipped(url, 5) == url


def test_a_name_forges_no_line_of_the_log(tmp_path, capsys):
    with logs.to_file(tmp_path / "log.txt"):
        LOG.info("%s is left out", "a.jpg\nResults: forged")
        LOG.warning("%d images in %s", 3, tmp_path / "x\x1b[2K\ry")
        LOG.info("%s", "a table\nof two lines")
        LOG.info("** Heading of %s **\n%s", "a\nb", "two\nlines")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert lines[0] == r"a.jpg\nResults: forged is left out"
    assert lines[1] == rf"WARNING: 3 images in {tmp_path}/x\x1b[2K\ry"
    assert lines[2:] == ["a table", "of two lines", r"** Heading of a\nb **", "two", "lines"]
    assert capsys.readouterr().out.splitlines() == lines


def test_a_log_on_a_full_disk_is_given_up_once(tmp_path, capsys):
    with logs.to_file("/dev/full"):
        for number in range(3):
            LOG.info("line %d", number)
    printed = capsys.readouterr()
    assert printed.out.splitlines().count("WARNING: /dev/full is not written any more: No space left on device") == 1
    assert [f"line {number}" in printed.out for number in range(3)] == [True] * 3 and not printed.err


def test_a_screen_that_nobody_reads_stops_no_run(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Closed())
    LOG.info("nobody")
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    LOG.info("Käse")
    narrow.flush()
    assert narrow.buffer.getvalue() == b"K\\xe4se\n"
