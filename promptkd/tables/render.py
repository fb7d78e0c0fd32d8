"""Tables and cells as text: terminal, Markdown, LaTeX, CSV, JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tabulate import tabulate

from promptkd.tables import published
from promptkd.tables.build import TEXT_HEADERS
from promptkd.tables.summaries import ELSEWHERE, METRICS, NOTHING, Average, Cell, Cells, Method
from promptkd.tables.table import Difference, Entry, Table, Value

_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
          "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "<-": r"$\leftarrow$"}  # fmt: skip


def terminal(tables: Sequence[Table]) -> str:
    """For a person at a terminal."""
    parts = []
    for table in tables:
        rows = [[_plain(entry, "+-") for entry in row] for row in table.rows]
        text = tabulate(rows, headers=table.headers, disable_numparse=True)
        parts.append("\n".join([table.title, "", text, *table.notes]))
    return "\n\n".join(parts) + "\n"


def markdown(tables: Sequence[Table]) -> str:
    """Pipe tables; the best of each column and data set is bold."""
    parts = []
    for table in tables:
        rows = [[_markdown(entry) for entry in row] for row in table.rows]
        text = tabulate(rows, headers=table.headers, tablefmt="github", disable_numparse=True)
        parts.append("\n".join([f"### {table.title}", "", text, "", *(f"- {note}" for note in table.notes)]).rstrip())
    return "\n\n".join(parts) + "\n"


def latex(tables: Sequence[Table]) -> str:
    """booktabs tables; the best of each column and data set is bold."""
    return "\n\n".join(_latex_table(table) for table in tables) + "\n"


def _latex_table(table: Table) -> str:
    text = sum(header in TEXT_HEADERS for header in table.headers)
    columns = "l" * text + "r" * (len(table.headers) - text)
    caption = _escape(". ".join([table.title, *table.notes]))
    lines = [
        r"\begin{table}",
        rf"\caption{{{caption}}}",
        r"\centering",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
    ]
    lines += [" & ".join(map(_escape, table.headers)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(_latex_entry, row)) + r" \\" for row in table.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def records(found: Cells) -> list[dict[str, Any]]:
    """One record for each method, data set (and the average) and metric; percentages in full precision.

    Those that are missing beside the others of their table have the mean None.
    """
    listed = []
    for method, row in _whole(found).items():
        entries = dict(sorted(row.items()))
        there = {name: cell for name, cell in entries.items() if cell.runs and method.averages(name)}
        lacking = [name for name, cell in entries.items() if not cell.runs and method.averages(name)]
        if len(there) + len(lacking) > 1:
            # as in the tables: only that of base and new may be of fewer data sets, and says so
            entries["average"] = Average(there, lacking if method.protocol in ("fewshot", *ELSEWHERE) else ())
        metrics = [metric for metric in METRICS if any(_beside(method, other, found, metric) for other in found)]
        for dataset, cell in entries.items():
            lacks = lacking if isinstance(cell, Average) else []
            listed += [_record(method, dataset, cell, metric, lacks) for metric in metrics]
    return listed


def _whole(found: Cells) -> Cells:
    """The rows with every data set that another row of their table has, and in few-shot with every number of shots."""
    rows: Cells = {}
    for method in found:
        others = [other for other in found if _beside(method, other, found)]
        names = {name for other in others for name in found[other]}
        shots = {other.shots for other in others} - {NOTHING} if method.protocol == "fewshot" else set()
        for one in {method, *(replace(method, shots=k) for k in shots if method.shots != NOTHING)}:
            rows[one] = {name: found.get(one, {}).get(name, Cell()) for name in names}
    return dict(sorted(rows.items()))


def _beside(method: Method, other: Method, found: Cells, metric: str = "") -> bool:
    """Whether two rows stand in one table, and the other has the metric."""
    same = (method.protocol, method.transductive) == (other.protocol, other.transductive)
    sources = {method.source, other.source} - {""}
    return same and len(sources) < 2 and (not metric or any(cell.by_seed(metric) for cell in found[other].values()))


def _record(method: Method, dataset: str, cell: Cell, metric: str, lacks: Sequence[str]) -> dict[str, Any]:
    mean = cell.mean(metric)
    number = published.find(method, cell.datasets if isinstance(cell, Average) else [dataset], metric)
    return {
        "protocol": method.protocol, "transductive": method.transductive, "trainer": method.trainer,
        "backbone": method.backbone, "teacher": method.teacher, "shots": method.images, "selection": method.selection,
        "learned_on": method.source or None,
        "settings": dict(method.variant), "dataset": dataset,
        "datasets": cell.datasets if isinstance(cell, Average) else [dataset], "metric": metric, "mean": mean,
        "std": cell.std(metric), "seeds": cell.seeds, "n_seeds": len(cell.seeds),
        "lacks": list(lacks),
        "published": number.value if number else None,
        "difference": mean - number.value if number and mean is not None else None,
        "paper": number.paper if number else None, "verified": number.verified if number else None,
        "source": number.source if number else None,
    }  # fmt: skip


def json_text(found: Cells, left_out: Sequence[str]) -> str:
    """The records, and what was left out."""
    return json.dumps({"format": 1, "cells": records(found), "left_out": list(left_out)}, indent=1) + "\n"


def csv_text(found: Cells) -> str:
    """The records as lines; lists are joined by spaces, settings are KEY=VALUE."""
    listed = records(found)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(listed[0]) if listed else ["protocol"], lineterminator="\n")
    writer.writeheader()
    for record in listed:
        settings = " ".join(f"{key}={value}" for key, value in record["settings"].items())
        joined = {key: " ".join(map(str, record[key])) for key in ("datasets", "seeds", "lacks")}
        writer.writerow(record | joined | {"settings": settings})
    return text.getvalue()


def _plain(entry: Entry, sign: str) -> str:
    if isinstance(entry, Difference):
        return f"{entry.value:+.2f}" + ("" if entry.verified else "?")
    if isinstance(entry, Value):
        text = f"{entry.mean:.2f}" + ("" if entry.std is None else f" {sign} {entry.std:.2f}")
        return f"{text} ({entry.note})" if entry.note else text
    return entry


def _markdown(entry: Entry) -> str:
    text = _plain(entry, "±").replace("|", "\\|").replace("<", "&lt;")
    return f"**{text}**" if isinstance(entry, Value) and entry.best else text


def _latex_entry(entry: Entry) -> str:
    if isinstance(entry, Value):
        mean = rf"\textbf{{{entry.mean:.2f}}}" if entry.best else f"{entry.mean:.2f}"
        spread = "" if entry.std is None else rf" $\pm$ {entry.std:.2f}"
        return mean + spread + (_escape(f" ({entry.note})") if entry.note else "")
    if isinstance(entry, Difference):
        return f"${entry.value:+.2f}$" + ("" if entry.verified else "?")
    return _escape(entry)


def _escape(text: str) -> str:
    """Characters that LaTeX reads as commands."""
    arrow = text.split("<-")
    return _LATEX["<-"].join("".join(_LATEX.get(character, character) for character in part) for part in arrow)
