"""Parts of data that commands use need no torch, and `import trainers` brings no data set."""

from __future__ import annotations

import sys

from programs import output

from promptkd.home import ROOT

LIGHT = (  # what may be imported without torch: parts of data that commands and sweeps use
    *(
        "checks",
        "class_folders",
        "class_lists",
        "class_names",
        "command",
        "fewshot",
        "file_lists",
        "folders",
        "formats",
        "images",
    ),
    *("layout", "parquet", "part_names", "pixels", "reading", "splits"),
    *("download.archives", "download.fetch", "download.sources"),
)


def fresh(code: str) -> list[str]:
    """The words that a program prints, in a process of its own."""
    return output(ROOT, sys.executable, "-c", code).split()


def test_trainers_register_no_data_set():
    code = """
import trainers
from dassl.data.datasets import DATASET_REGISTRY
before = DATASET_REGISTRY.registered_names()
from promptkd import guests
guests.register_datasets()
print(len(before), *DATASET_REGISTRY.registered_names())
"""
    count, *after = fresh(code)
    assert count == "0" and {"Emoji", "Folder", "ImageNet", "OxfordPets"} <= set(after)


def test_parts_of_data_need_no_torch():
    modules = ", ".join(f"promptkd.data.{name}" for name in LIGHT)
    slow = "[name for name in ('torch', 'dassl', 'scipy', 'open_clip') if name in sys.modules]"
    assert fresh(f"import sys, {modules}; print(*{slow})") == []
