"""The commands of README.md: each is understood by the program that it starts, and the cheap ones are run."""

from __future__ import annotations

import re
import shlex
import sys

import pytest
from PIL import Image
from programs import VARIABLES, output, start

from promptkd.engine import command
from promptkd.home import ROOT
from promptkd.sweep import launch, own_images
from promptkd.sweep.expand import jobs_of

README = (ROOT / "README.md").read_text(encoding="utf-8")
START = r"(?:[A-Z]+=\S+ )*(?:bash scripts|python tools|python train\.py|promptkd)"
COMMANDS = sorted(
    {line.partition("  #")[0].strip() for line in re.findall(rf"^ {{4}}({START}.*)$", README, re.MULTILINE)}
    | set(re.findall(rf"`({START}[^`]*)`", README))
)
SET_UP = ("bash scripts/quickstart.sh", "bash scripts/test.sh")  # make a .venv first


def of(start: str) -> list[str]:
    return [line for line in COMMANDS if re.match(rf"(?:[A-Z]+=\S+ )*{start}", line) and line not in SET_UP]


def test_readme_is_short_and_begins_with_two_commands():
    assert len(README.splitlines()) < 150
    assert re.findall(r"^ {4}(bash \S+)", README, re.MULTILINE)[:2] == list(SET_UP)
    assert len(of("bash")) > 8 and len(of("python tools")) > 4 and len(of(r"python train\.py")) > 2


@pytest.mark.parametrize("line", of("bash"))
def test_scripts_ask_for_runs(line, tmp_path, monkeypatch):
    """The words that a script gives to the launcher make jobs; the interpreter here only shows them."""
    echo = tmp_path / "echo"
    echo.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    echo.chmod(0o755)
    (tmp_path / "IMAGES").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "IMAGES" / "1.png")
    (tmp_path / "CLASSES.txt").write_text("bird\nfruit\n")
    monkeypatch.chdir(tmp_path)
    given, words = variables_and_words(line)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    shown = output(tmp_path, "bash", ROOT / words[1], *words[2:], **given, PYTHON=str(echo))
    _, _, protocol, trainers, *rest = shown.splitlines()
    if protocol == "folder":
        jobs = own_images.jobs_of(rest)
    else:
        jobs = [job for plan in launch.read_words(protocol, trainers.split(","), rest) for job in jobs_of(plan)]
    assert jobs


@pytest.mark.slow
@pytest.mark.parametrize("line", of("python tools"))
def test_tools_understand_their_words(line, tmp_path):
    """Here there is no run and no data: that is a line, not a usage error."""
    _, words = variables_and_words(line)
    done = start(tmp_path, sys.executable, ROOT / words[1], *words[2:])
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0 or "usage" not in done.stderr


@pytest.mark.parametrize("line", of(r"python train\.py"))
def test_train_understands_its_words(line):
    _, words = variables_and_words(line)
    command.parser().parse_args(words[2:])


def variables_and_words(line: str) -> tuple[dict[str, str], list[str]]:
    """`DATA=/data bash script.sh eurosat` -> the variables before the command, and its words."""
    words = shlex.split(line)
    count = next(number for number, word in enumerate(words) if "=" not in word)
    return dict(word.split("=", 1) for word in words[:count]), words[count:]
