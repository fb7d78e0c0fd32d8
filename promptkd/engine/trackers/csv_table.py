"""A run's numbers as a table, metrics.csv: a line for each number, `step,name,value`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptkd import files
from promptkd.engine.trackers.tracker import Picture, Scalar, Start
from promptkd.texts import cell, plain

FILE_NAME = "metrics.csv"
COLUMNS = ("step", "name", "value")


class CsvTable:
    """RUN/metrics.csv; a resumed run first leaves out the lines of steps that are done again."""

    shows_pictures = False

    def __init__(self, start: Start) -> None:
        path = start.directory / FILE_NAME
        _write_start(path, start.first_step)
        self.file = path.open("a", encoding="utf-8", newline="")
        self.table = csv.writer(self.file, lineterminator="\n")

    def write(self, values: Sequence[Scalar]) -> None:
        self.table.writerows((one.step, cell(plain(one.name)), repr(one.value)) for one in values)
        self.file.flush()

    def finish(self, record: dict[str, Any], pictures: Sequence[Picture], step: int) -> None:
        """Its measures are among the numbers already."""

    def close(self, failed: bool) -> None:
        self.file.close()


def _write_start(path: Path, first_step: int) -> None:
    """Writes the head, and behind it what an earlier start has left of the steps before `first_step`."""
    with files.replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as target:
        target.write(",".join(COLUMNS) + "\n")
        if first_step and path.is_file():
            with path.open(encoding="utf-8", errors="replace", newline="") as source:
                for line in source:
                    step = line.partition(",")[0]
                    whole = line.endswith("\n") and line.count(",") >= 2  # not what a killed process left of one
                    if whole and step.isdecimal() and len(step) < 19 and int(step) < first_step:
                        target.write(line)
