"""`promptkd job`: one job of a list that a sweep wrote."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from programs import start

from promptkd.home import PACKAGE


@pytest.mark.parametrize("words", [["nowhere.json", "0"], ["jobs.json", "3"]])
def test_a_job_that_is_not_listed_is_one_line(words: list[str], tmp_path: Path):
    (tmp_path / "jobs.json").write_text("[]")
    done = start(tmp_path, sys.executable, PACKAGE / "__main__.py", "job", *words)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: no job {words[1]} in {words[0]}: ")
