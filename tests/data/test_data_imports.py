"""What the data, the models and the data sets may import, and that `import trainers` brings no data set."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from promptkd.home import ROOT

OURS = ("promptkd", "trainers", "datasets", "clip", "dassl", "tools", "train", "benchmarks")
ALLOWED = {  # folder -> the modules of ours that it may import, and all below them
    "promptkd/model": ("promptkd.model", "promptkd.home", "promptkd.files"),
    "promptkd/data": (
        *("promptkd.data", "promptkd.distributed", "promptkd.files", "promptkd.logs", "promptkd.home"),
        *("promptkd.guests", "promptkd.filenames", "dassl"),
    ),
    "datasets": ("promptkd.data", "promptkd.files", "promptkd.logs", "promptkd.home", "promptkd.filenames", "dassl"),
}
LIGHT = (  # what may be imported without torch: parts of data that commands and sweeps use
    *(
        "checks",
        "class_lists",
        "class_names",
        "command",
        "errors",
        "fewshot",
        "file_lists",
        "folders",
        "formats",
        "images",
    ),
    *("layout", "parquet", "part_names", "pixels", "reading", "splits"),
    *("download.archives", "download.fetch", "download.sources"),
)


def imported(path: Path) -> Iterator[str]:
    """Names of the modules that a file imports, inside functions too; those of relative imports left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            whole = node.module in ("promptkd", "promptkd.data")  # `from promptkd import logs` imports promptkd.logs
            yield from (f"{node.module}.{alias.name}" if whole else node.module for alias in node.names)


@pytest.mark.parametrize("folder", ALLOWED)
def test_directions_of_imports(folder: str):
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in imported(path)
        if name.partition(".")[0] in OURS and not any(f"{name}.".startswith(f"{good}.") for good in ALLOWED[folder])
    }
    assert not found


def fresh(code: str) -> list[str]:
    """The words that a program prints, in a process of its own."""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_trainers_register_no_data_set():
    names = "DATASET_REGISTRY.registered_names()"
    code = f"import trainers; from dassl.data.datasets import DATASET_REGISTRY; print(*{names})"
    assert fresh(code) == []
    code = f"from promptkd import guests; guests.register_datasets(); {code}"
    assert {"Emoji", "Folder", "ImageNet", "OxfordPets"} <= set(fresh(code))


def test_parts_of_data_need_no_torch():
    modules = ", ".join(f"promptkd.data.{name}" for name in LIGHT)
    slow = "[name for name in ('torch', 'dassl', 'scipy', 'open_clip') if name in sys.modules]"
    assert fresh(f"import sys, {modules}; print(*{slow})") == []
