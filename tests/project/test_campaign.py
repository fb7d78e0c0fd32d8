"""The campaign of hostile cases: a small part of it runs, and its counts are those that must be."""

from __future__ import annotations

import subprocess
import sys

import pytest
from campaign import damage
from campaign.cases import Case, Tally, run_case
from campaign.kinds import KINDS

from promptkd.home import ROOT


@pytest.mark.slow
def test_a_quick_campaign_finds_nothing():
    command = [sys.executable, "-m", "tests.campaign", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert all(f"| {name} |" in done.stdout for name in KINDS)


def test_damage_is_the_same_for_a_seed():
    value = {"a": [1, {"b": "text"}], "c": 2.0}
    for made, content in ((damage.of_bytes, b"some bytes " * 30), (damage.of_document, value)):
        first, again, other = ([*made(content, 40, seed)] for seed in (1, 1, 2))
        assert str(first) == str(again) != str(other) and len(first) == 40
        assert all(name for name, _ in first)
    assert value == {"a": [1, {"b": "text"}], "c": 2.0}


def speak(error: str, code: int):
    def action() -> int:
        print(error, file=sys.stderr)
        return code

    return action


def hang() -> int:
    while True:
        pass


def fail() -> int:
    raise KeyError("x")


def swell() -> int:
    content = bytearray(200 * 2**20)
    content[:: 2**12] = b"x" * len(content[:: 2**12])
    return 0


@pytest.mark.parametrize(
    ("case", "end"),
    [
        (Case("", speak("error: no", 1)), "one line"),
        (Case("", speak("error: no\nmore", 1)), "wrong"),
        (Case("", speak("", 0)), "accepted"),
        (Case("", speak("", 0), refused=False), "handled"),
        (Case("", speak("", 0), False, lambda out, err: "no table"), "wrong"),
        (Case("", fail), "traceback"),
        (Case("", hang, seconds=0.5), "hang"),
    ],
)
def test_ends_are_told_apart(case, end, tmp_path):
    tally = Tally()
    run_case(case, tally, tmp_path)
    assert dict(tally.ends) == {end: 1} and bool(tally.faults) == (end not in ("one line", "handled"))


def test_memory_is_counted(tmp_path):
    tally = Tally()
    run_case(Case("", swell, refused=False), tally, tmp_path)
    assert 150 < tally.memory < 400
