"""docs/: the page of options is what the declarations give; what a page names is there."""

from __future__ import annotations

import subprocess
import sys

from promptkd.data.benchmark import DATASET_DEFAULTS
from promptkd.engine import config, options_page
from promptkd.engine.checks import NOT_READ
from promptkd.home import ROOT

OPTIONS = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")


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
