"""Answers of a classifier, image by image: as text, JSON lines, or a file of CSV, JSON or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from promptkd.files import replacing
from promptkd.texts import cell

KINDS = (".csv", ".json", ".parquet")
_ROWS = 4096  # of a row group of Parquet


@dataclass(frozen=True)
class Answer:
    """What a classifier says of an image.

    Attributes:
        path: of the image, as text.
        top: classes with their probabilities, the likeliest first.
        score: by which images are rejected; None where none are.
        rejected: whether it is none of the classes.
    """

    path: str
    top: list[tuple[str, float]]
    score: float | None = None
    rejected: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        top = [{"class": name, "probability": value} for name, value in self.top]
        more = {} if self.score is None else {"score": self.score, "rejected": self.rejected}
        return {"path": self.path, "top": top} | more

    def text(self) -> str:
        """A table of the classes under the path."""
        from tabulate import tabulate

        rows = [[name, 100 * value] for name, value in self.top]
        table = tabulate(rows, headers=["class", "probability %"], floatfmt=".1f")
        none = f"none of these (score {self.score:.4g})\n" if self.rejected else ""
        return f"{self.path}\n{none}{table}\n"


class Writer(Protocol):
    """Takes answers into a file."""

    def add(self, answer: Answer) -> None:
        """One more."""


def check_file(path: Path) -> None:
    """Refuses a file that cannot be written, before images are classified.

    Raises:
        ValueError: it is of another kind than KINDS.
        FileExistsError: it is there.
        ImportError: Parquet, and pyarrow is not installed.
    """
    if path.suffix.lower() not in KINDS:
        raise ValueError(f"--out {path}: give a file that ends in {', '.join(KINDS)}")
    if path.exists():
        raise FileExistsError(f"--out {path} is there already: remove it, or give another file")
    if path.suffix.lower() == ".parquet":
        from importlib.util import find_spec

        if find_spec("pyarrow") is None:
            raise ImportError(f"--out {path}: Parquet needs pyarrow; pip install 'promptkd[parquet]', or give a .csv")


@contextmanager
def writing(path: Path, top: int, scores: bool) -> Iterator[Writer]:
    """A writer of a file that is whole at the end, or not there.

    CSV and Parquet have the columns path, class1, p1, class2, p2, ..., and score and rejected where images can be; JSON
    is a list of what `Answer.to_dict` gives.

    Args:
        path: ends in one of KINDS.
        top: classes of each answer.
        scores: whether answers have scores.

    Raises:
        OSError: it cannot be written.
    """
    names = ["path", *(f"{kind}{i + 1}" for i in range(top) for kind in ("class", "p"))]
    names += ["score", "rejected"] if scores else []
    kind = path.suffix.lower()
    with replacing(path) as partial:
        if kind == ".parquet":
            with _parquet(partial, names) as writer:
                yield writer
            return
        with partial.open("w", encoding="utf-8", newline="") as file:
            if kind == ".csv":
                rows = csv.writer(file, lineterminator="\n")
                rows.writerow(names)
                yield _Csv(rows)
            else:
                file.write("[")
                yield _Json(file)
                file.write("\n]\n")


def _values(answer: Answer) -> list[Any]:
    pairs = [value for pair in answer.top for value in pair]
    return [answer.path, *pairs, *([] if answer.score is None else [answer.score, answer.rejected])]


class _Csv:
    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def add(self, answer: Answer) -> None:
        """A line; no cell is run by a spreadsheet."""
        shown = [cell(one) if isinstance(one, str) else one for one in _values(answer)]
        self._rows.writerow([f"{one:.6g}" if isinstance(one, float) else one for one in shown])


class _Json:
    def __init__(self, file: Any) -> None:
        self._file, self._first = file, True

    def add(self, answer: Answer) -> None:
        """A line of the list."""
        self._file.write(("\n" if self._first else ",\n") + json.dumps(answer.to_dict()))
        self._first = False


class _Parquet:
    def __init__(self, writer: Any, schema: Any) -> None:
        self._writer, self._schema = writer, schema
        self._rows: list[list[Any]] = []

    def add(self, answer: Answer) -> None:
        """A row; rows are written in groups."""
        self._rows.append(_values(answer))
        if len(self._rows) >= _ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes the rows that wait."""
        import pyarrow

        if self._rows:
            columns = [list(column) for column in zip(*self._rows, strict=True)]
            self._writer.write_table(pyarrow.table(columns, schema=self._schema))
            self._rows = []


@contextmanager
def _parquet(path: Path, names: list[str]) -> Iterator[_Parquet]:
    import pyarrow
    from pyarrow import parquet

    kinds = {"path": pyarrow.string(), "score": pyarrow.float32(), "rejected": pyarrow.bool_()}
    of_pair = {"c": pyarrow.string(), "p": pyarrow.float32()}
    schema = pyarrow.schema(
        [(name, kinds.get(name, of_pair[name[0]] if name[0] in of_pair else None)) for name in names]
    )
    with parquet.ParquetWriter(str(path), schema) as writer:
        rows = _Parquet(writer, schema)
        yield rows
        rows.flush()
