"""Programs that tests start in processes of their own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# What a user may have set that changes what scripts/ do.
VARIABLES = ("DATA", "OUTPUT", "SHOTS", "SOURCE", "RECIPE", "TEACHER", "KD_WEIGHT", "TEMPLATE", "TEST_DIR")
VARIABLES += ("METHODS", "IMAGES", "CORRUPTED", "KINDS", "SEVERITIES")


def start(place: Path | str, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program that ran in a folder to its end; it had `environment`, and nothing else of VARIABLES or for Python."""
    kept = {key: value for key, value in os.environ.items() if key not in VARIABLES and not key.startswith("PYTHON")}
    kept |= {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.run([str(word) for word in words], cwd=place, env=kept, capture_output=True, text=True)


def output(place: Path | str, *words: str | Path, **environment: str) -> str:
    """The standard output of a program that succeeds; its errors fail the test."""
    done = start(place, *words, **environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
