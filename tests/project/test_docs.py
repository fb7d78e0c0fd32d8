"""docs/: the page of options is what the declarations give; what a page names is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pkgutil import resolve_name

import pytest

from promptkd.data.benchmark import DATASET_DEFAULTS
from promptkd.engine import config, options_page
from promptkd.engine.checks import NOT_READ
from promptkd.home import ROOT

FOLDERS = "(?:docs|scripts|datasets|clip|trainers|tools|tests|promptkd|benchmarks|configs|examples|toolkit|assets)"
PARTS = "model|data|engine|teacher|results|tables|sweep|deploy"  # of promptkd/
OPTIONS = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_page_of_options_is_what_the_declarations_give():
    """By the command that makes it, in a process of its own: other tests register methods of theirs."""
    command = [sys.executable, str(ROOT / "train.py"), "--options"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown == OPTIONS, "python train.py --options > docs/options.md"


def test_every_key_is_on_the_page_and_every_meaning_has_its_key():
    keys = set(options_page.leaves(config.default_config(DATASET_DEFAULTS)))
    for key in keys:
        section = key.rpartition(".")[0]
        if not section.startswith("TRAINER."):  # those of methods are compared above
            assert f"`{key}`" in OPTIONS or f"`{section}.*`" in OPTIONS, key
    sections = {f"{key.rpartition('.')[0]}.*" for key in keys}
    assert options_page.DASSL.keys() <= keys | sections
    assert set(NOT_READ) <= options_page.DASSL.keys()


def test_what_the_pages_name_is_there():
    """Files, folders and modules in backquotes, commands, and links."""
    pages = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
        for path in re.findall(rf"\b(?:bash|python) ({FOLDERS}/[\w/]+\.(?:sh|py))", text):
            assert (ROOT / path).is_file(), f"{page.name}: {path}"
        for name in re.findall(rf"`({FOLDERS}/[\w./-]*\w)`", text):
            assert (ROOT / name).exists() or name.startswith("clip/ViT"), (
                f"{page.name}: {name}"
            )  # weights are not shipped
        for name in re.findall(rf"`((?:{PARTS})/[\w/]+\.py)`", text):
            assert (ROOT / "promptkd" / name).is_file(), f"{page.name}: {name}"
        assert not re.search(r"python -m (tools|train|promptkd)\b", text), f"{page.name}: the current folder goes first"


def test_names_of_the_changelog_are_there():
    """Each new module or attribute, and what it says has kept its name."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    names = re.findall(r"`(promptkd(?:\.\w+)+)`", text)
    for before, now in re.findall(r"^\| (.+) \| (.+) \|$", text, re.MULTILINE):
        if same := re.search(r"the same names in `([\w.]+)`", now):
            names += [f"{same[1]}.{old.rpartition('.')[2]}" for old in re.findall(r"`([\w.]+)`", before.split(";")[0])]
    assert len(names) > 80
    assert [name for name in names if not is_there(name)] == []


def is_there(name: str) -> bool:
    """Whether a dotted name leads to a module, or to an attribute of one."""
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True
