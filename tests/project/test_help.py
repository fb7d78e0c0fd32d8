"""Every command answers --help at once: in less than a second of CPU, without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks import startup
from promptkd.__main__ import COMMANDS
from promptkd.home import ROOT

HEAVY = (
    "torch",
    "torchvision",
    "open_clip",
    "dassl",
    "sklearn",
    "scipy",
    "numpy",
    "pandas",
    "PIL",
    "ray",
    "matplotlib",
)
STARTS = [["train.py"], ["promptkd/__main__.py"], *(["promptkd/__main__.py", name] for name in COMMANDS)]
STARTS += [["promptkd/__main__.py", "data", name] for name in ("check", "download", "fewshot")]
STARTS += [[f"tools/{path.name}"] for path in sorted((ROOT / "tools").glob("*.py"))]
WRAPPER = f"""
import runpy, sys, time
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    code = end.code
print("FOUND", code, [name for name in {HEAVY} if name in sys.modules], time.process_time())
"""


@pytest.mark.parametrize("words", STARTS, ids=" ".join)
def test_help_answers_at_once(words, tmp_path):
    command = [sys.executable, "-c", WRAPPER, str(ROOT / words[0]), *words[1:], "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("usage: "), done.stderr
    assert "python -m tools" not in done.stdout, "people type python tools/..."
    code, _, found = done.stdout.rpartition("FOUND ")[2].partition(" ")
    heavy, _, seconds = found.rpartition(" ")
    assert (code, heavy) == ("0", "[]")
    assert float(seconds) < 1.0


def test_the_benchmark_measures_and_judges(tmp_path, capsys):
    assert startup.main(["train.py", "--repeats", "1", "--json", str(tmp_path / "x.json")]) == 0
    (row,) = json.loads((tmp_path / "x.json").read_text())["rows"]
    assert row["command"] == "train.py --help" and not row["loads_torch"]
    assert 0 < row["cpu_seconds"] < startup.LIMIT and row["peak_bytes"] > 2**20
    (tmp_path / "torch.py").touch()
    (tmp_path / "slow.py").write_text("import torch")
    assert startup.main(["slow.py", "--checkout", str(tmp_path), "--repeats", "1"]) == 1
    assert "yes" in capsys.readouterr().out
    (tmp_path / "broken.py").write_text("raise SystemExit('no')")
    assert startup.main(["broken.py", "--checkout", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")
