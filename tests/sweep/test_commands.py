"""`promptkd job`: one job of a list that a sweep wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from promptkd.home import PACKAGE


@pytest.mark.parametrize("words", [["nowhere.json", "0"], ["jobs.json", "3"]])
def test_a_job_that_is_not_listed_is_one_line(words: list[str], tmp_path: Path):
    (tmp_path / "jobs.json").write_text("[]")
    command = [sys.executable, str(PACKAGE / "__main__.py"), "job", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: no job {words[1]} in {words[0]}: ")
