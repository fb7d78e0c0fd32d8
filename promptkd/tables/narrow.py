"""A table for a terminal of 80 columns: student and teacher in two columns, and cells of several lines."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tabulate import tabulate


def narrow(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str, str]:
    """The title and the text of a table that was too wide.

    A method's CLIP, a deviation, a published number and its difference go to lines below; a data set that all rows have
    goes into the title, and several go below their methods.

    Args:
        title: of the table.
        headers: its columns, the first of which is the method.
        rows: their cells.
    """
    heads, lines = list(headers), [list(row) for row in rows]
    below = [""] * len(lines)
    if "data set" in heads:
        place = heads.index("data set")
        heads.pop(place)
        below = [line.pop(place) for line in lines]
        if len(set(below)) == 1:
            title, below = f"{title}\n{below[0]}", [""] * len(lines)
        else:
            heads[0] = "method\ndata set"
    heads, lines = _papers_below(heads, lines)
    parts = [line[0].partition(" <- ") for line in lines]
    taught = any(arrow for _, arrow, _ in parts)
    made = []
    for (student, _, teacher), line, dataset in zip(parts, lines, below, strict=True):
        notes = re.search(r" \(.*", f"{student} {teacher}".rstrip())  # settings stand behind the last of the two
        names = [_in_lines(name.partition(" (")[0]) for name in (student, teacher)]
        names[0] = "\n".join(filter(None, [names[0], *([notes[0].strip()] if notes else []), dataset]))
        cells = [re.sub(r" (?=\()", "\n", cell) for cell in line[1:]]
        made.append([names[0], *([names[1]] if taught else []), *cells])
    heads = [heads[0], *(["teacher"] if taught else []), *heads[1:]]
    drawn = tabulate([heads, *made], tablefmt="plain", disable_numparse=True).splitlines()
    number = max(head.count("\n") for head in heads) + 1
    return title, "\n".join([*drawn[:number], "-" * max(map(len, drawn)), *drawn[number:]])


def _papers_below(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Deviations, and columns of published numbers and differences, as lines of the cells that they belong to."""
    papers = "paper" in headers
    heads: list[str] = []
    lines: list[list[str]] = [[] for _ in rows]
    for place, head in enumerate(headers):
        if head in ("paper", "diff"):
            heads[-1] += f"\n{head}"
            for line, row in zip(lines, rows, strict=True):
                line[-1] += f"\n{row[place]}"
            continue
        heads.append(head)
        for line, row in zip(lines, rows, strict=True):
            mean, sign, spread = row[place].partition(" +- ")
            # with published numbers below, every cell has a line for its deviation
            line.append(f"{mean}\n+- {spread}" if sign else f"{mean}\n" if papers and place > 1 else mean)
        if papers and place and head not in ("shots", "seeds"):
            heads[-1] += "\n+-"
    return heads, lines


def _in_lines(name: str) -> str:
    """A method and its CLIP in two lines; an indented row, as of a paper, stays one."""
    return name if name.startswith(" ") else name.replace(" ", "\n", 1)
