"""The commands of sweeps and tables answer at once: --help loads nothing heavy, wherever it is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from promptkd.home import PACKAGE, ROOT

HEAVY = {"torch", "torchvision", "numpy", "pandas", "scipy", "PIL", "dassl", "open_clip", "ray", "matplotlib"}
ASK = """
import json, runpy, sys
sys.argv = json.loads(sys.argv[1])
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    print(json.dumps([end.code, sorted(sys.modules)]))
"""


@pytest.mark.parametrize(
    "words",
    [[str(ROOT / "tools" / f"{name}.py"), "--help"] for name in ("sweep", "launch", "collect")]
    + [[str(PACKAGE / "__main__.py"), "job", "--help"]],
    ids=("sweep", "launch", "collect", "job"),
)
def test_help_loads_nothing_heavy(words: list[str], tmp_path: Path):
    command = [sys.executable, "-c", ASK, json.dumps(words)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0 and done.stdout.startswith("usage: ")
    assert not HEAVY & {name.partition(".")[0] for name in modules}
    assert "python -m tools" not in done.stdout, "people type python tools/..."


@pytest.mark.parametrize("words", [["nowhere.json", "0"], ["jobs.json", "3"]])
def test_a_job_that_is_not_listed_is_one_line(words: list[str], tmp_path: Path):
    (tmp_path / "jobs.json").write_text("[]")
    command = [sys.executable, str(PACKAGE / "__main__.py"), "job", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: no job {words[1]} in {words[0]}: ")
