"""The parts of a table: percentages, and the published numbers beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from promptkd.tables import published
from promptkd.tables.published import Published
from promptkd.tables.summaries import Method, Summary


@dataclass(frozen=True)
class Percentage:
    """A percentage of a table, with its deviation over seeds."""

    mean: float
    std: float | None = None
    note: str = ""
    best: bool = False  # of its column and data set


@dataclass(frozen=True)
class Difference:
    """Ours minus the published number, in percentage points."""

    value: float
    verified: bool


TableCell = str | Percentage | Difference


@dataclass(frozen=True)
class Table:
    """A table before it is printed in one of the formats."""

    title: str
    headers: list[str]
    rows: list[list[TableCell]]
    notes: list[str] = field(default_factory=list)
    folded: bool = False  # on the page of results, below a table that gives the overview


def missing(lacking: Sequence[str] = (), seeds: int = 0) -> str:
    """The text in the place of a number.

    Args:
        lacking: data sets that an average waits for.
        seeds: how many seeds a cell without any should have.
    """
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        return f"missing (lacks {', '.join(lacking[:3])}{more})"
    return f"missing (0 of {seeds} seed{'' if seeds == 1 else 's'})" if seeds else "missing"


class Papers:
    """Published numbers of one table, and the notes below it.

    Args:
        compare: False for a table without them.
    """

    def __init__(self, compare: bool) -> None:
        self._compare = compare
        self._used: list[Published] = []
        self._students = False

    def find(self, method: Method, summary: Summary, dataset: str, metric: str) -> Published | None:
        """The published number that compares to a summary, None where there is none; remembered for the notes."""
        if not self._compare or summary.mean(metric) is None or method.pool:
            return None
        number = published.beside(method, summary, dataset, metric)
        if number:
            self._used.append(number)
            self._students |= method.trainer == "PromptKD" and method.selection == "last epoch"
        return number

    @staticmethod
    def beside(value: TableCell, number: Published | None) -> list[TableCell]:
        """Two cells: the published number and the difference."""
        if number is None or not isinstance(value, Percentage):
            return ["", ""]
        return [f"{number.value:.2f}" + ("" if number.verified else "?"), _difference(value, number)]

    @staticmethod
    def lines(
        head: Sequence[TableCell], values: Sequence[TableCell], numbers: Sequence[Published | None]
    ) -> list[list[TableCell]]:
        """Two rows below ours: the published numbers and the differences; none where no number is known."""
        if not any(numbers):
            return []
        pairs = [Papers.beside(value, number) for value, number in zip(values, numbers, strict=True)]
        return [["  paper", *head[1:], *(p for p, _ in pairs)], ["  diff", *head[1:], *(d for _, d in pairs)]]

    def notes(self) -> list[str]:
        """The papers, the numbers that nobody verified, and comparisons of unlike with unlike."""
        notes = []
        if self._used:
            notes.append(f"paper: {'; '.join(dict.fromkeys(number.paper for number in self._used))}")
        doubtful = dict.fromkeys(f"{n.paper}: {n.source}" for n in self._used if not n.verified)
        notes += [f"? not verified ({source})" for source in doubtful]
        if self._students:
            notes.append("The published PromptKD picks the best epoch on test images; ours is the last epoch.")
        return notes


def _difference(value: Percentage, number: Published) -> Difference:
    return Difference(value.mean - number.value, number.verified)
