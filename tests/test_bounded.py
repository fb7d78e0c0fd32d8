"""Text, JSON and YAML: limits hold before memory is taken, and the line says what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fuzz import cost

from promptkd import bounded

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{this}: &{this} [{', '.join([f'*{before}'] * 10)}]\n" for before, this in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS, "more than 200,000 values"),
        ("a: &a [*a]", "stands for nothing"),
        ("[" * 5000, "nest"),
        ("- " * 50 + "x", "nested deeper than"),
        ("a: 1\nb: 2\na: 3", "line 3 gives 'a' a second time"),
        ("a: .inf", "not finite"),
        ("a: 1" + ":59" * 300_000, "a number of 900,001 digits"),
        ("a: " + "9" * 30, "more than 64 bits"),
        ("a: !!python/object/apply:os.system [ls]", "is not YAML"),
        ("a: !!timestamp x", "is not YAML"),
        ("a: [", "is not YAML"),
        ("a: 2024-13-45", "is not YAML"),
    ],
)
def test_yaml(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    error, seconds, grown = cost(lambda: bounded.read_yaml(tmp_path / "x.yaml"))
    assert isinstance(error, ValueError) and reason in str(error) and "x.yaml" in str(error)
    assert seconds < 2 and grown < 100e6 and len(str(error)) < 700


def test_a_yaml_file_may_have_aliases(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: &a [1, 2]\nb: *a\nc: {<<: {k: 1}, l: 2}\n")
    assert bounded.read_yaml(tmp_path / "x.yaml") == {"a": [1, 2], "b": [1, 2], "c": {"k": 1, "l": 2}}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 500_000, "nested deeper than"),
        ("[" * 60 + "]" * 60, "nested deeper than"),
        ("[" + "[]," * 1_000_000 + "[]]", "more than"),
        ('{"a": 1, "a": 2}', "'a' twice in one object"),
        ('{"a": NaN}', "NaN, which is not finite"),
        ('{"a": 1e999}', "too large"),
        ('{"a": ' + "9" * 10_000 + "}", "10,000 digits"),
        ('{"a": 99999999999999999999999}', "too large"),
        ('{"a": ', "is not JSON"),
        ("", "is not JSON"),
    ],
)
def test_json(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    error, seconds, grown = cost(lambda: bounded.read_json(tmp_path / "x.json", most=2**23))
    assert isinstance(error, ValueError) and reason in str(error) and "x.json" in str(error)
    assert seconds < 2 and grown < 100e6 and len(str(error)) < 500


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_text("x" * 101)
    (tmp_path / "latin").write_bytes("caf\xe9".encode("latin-1"))
    for path, reason in (
        ("pipe", "no regular"),
        ("", "no regular"),
        ("large", "more than 100 bytes"),
        ("latin", "byte 3"),
    ):
        with pytest.raises(ValueError, match=reason):
            bounded.read_text(tmp_path / path, 100)
    with pytest.raises(FileNotFoundError):
        bounded.read_text(tmp_path / "none")


def test_a_line_shows_no_control_characters() -> None:
    assert "\x1b" not in bounded.clipped("a\x1b[31m\nb") and len(bounded.clipped("x" * 10_000)) < 600
    assert len(bounded.shown(["x" * 10**6] * 1000)) <= 80
    assert bounded.whole_number(3, "epoch", 0, 5) == 3
    for wrong in (True, 1.0, "3", None, -1, 6, 10**5000):
        with pytest.raises(ValueError, match="epoch is .* whole number from 0 to 5"):
            bounded.whole_number(wrong, "epoch", 0, 5)
    for wrong in ("x", {"a": 1}, ["a", 3], [None]):
        with pytest.raises(ValueError, match="names"):
            bounded.texts(wrong, "names")
