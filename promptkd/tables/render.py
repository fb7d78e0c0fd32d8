"""Tables and summaries as text: terminal, Markdown, LaTeX, CSV, JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tabulate import tabulate

from promptkd import texts
from promptkd.results.measured import family_of
from promptkd.tables import published
from promptkd.tables.build import TEXT_HEADERS
from promptkd.tables.narrow import narrow
from promptkd.tables.summaries import ELSEWHERE, METRICS, NOTHING, Average, Method, Summaries, Summary
from promptkd.tables.table import Difference, Percentage, Table, TableCell

_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
          "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "<-": r"$\leftarrow$"}  # fmt: skip


def terminal(tables: Sequence[Table], width: int = 0) -> str:
    """For a person at a terminal.

    Args:
        tables: what is shown.
        width: columns of the terminal; a table that is wider is made narrow. 0 for any width, as of a file.
    """
    parts = []
    for table in tables:
        rows = [[_plain(cell, "+-") for cell in row] for row in table.rows]
        headers, title = list(map(texts.plain, table.headers)), texts.plain(table.title)
        text = tabulate(rows, headers=headers, disable_numparse=True)
        if width and max(map(len, text.splitlines())) > width:
            title, text = narrow(title, headers, rows)
        parts.append("\n".join([title, "", text, *map(texts.plain, table.notes)]))
    return "\n\n".join(parts) + "\n"


def markdown(tables: Sequence[Table]) -> str:
    """Pipe tables; the best of each column and data set is bold."""
    parts = []
    for table in tables:
        rows = [[_markdown(cell) for cell in row] for row in table.rows]
        text = tabulate(
            rows, headers=list(map(texts.markdown, table.headers)), tablefmt="github", disable_numparse=True
        )
        notes = [f"- {texts.plain(note)}" for note in table.notes]
        parts.append("\n".join([f"### {texts.markdown(table.title)}", "", text, "", *notes]).rstrip())
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
    lines += [" & ".join(map(_latex_cell, row)) + r" \\" for row in table.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def measurements(summaries: Summaries) -> list[dict[str, Any]]:
    """One entry for each method, data set (and the average) and metric; percentages in full precision.

    Those that are missing beside the others of their table have the mean None.
    """
    entries = []
    for method, row in _whole(summaries).items():
        shown = dict(sorted(row.items()))
        present = {name: one for name, one in shown.items() if one.runs and method.averages(name)}
        lacking = [name for name, one in shown.items() if not one.runs and method.averages(name)]
        if len(present) + len(lacking) > 1:
            # as in the tables: only that of base and new may be of fewer data sets, with a note
            shown["average"] = Average(present, lacking if method.protocol in ("fewshot", *ELSEWHERE) else ())
        metrics = [name for name in METRICS if any(_beside(method, other, summaries, name) for other in summaries)]
        attacked = {name for one in row.values() for run in [*one.runs, *one.again] for name in run.record.under_attack}
        metrics += sorted(attacked)
        for dataset, summary in shown.items():
            lacks = lacking if isinstance(summary, Average) else []
            for metric in metrics:
                entries += [_measurement(method, dataset, one, metric, lacks) for one in _alike(summary, metric)]
    return entries


def _alike(summary: Summary, metric: str) -> list[Summary]:
    """The summary, or of what was measured in addition one for each way in which it was."""
    family = family_of(metric.partition("/")[2])
    if not family or isinstance(summary, Average):
        return [summary]
    return [one for one in summary.alike(family) if one.by_seed(metric)] or [summary]


def _whole(summaries: Summaries) -> Summaries:
    """The rows with every data set that another row of their table has, and in few-shot with every number of shots."""
    rows: Summaries = {}
    for method in summaries:
        others = [other for other in summaries if _beside(method, other, summaries)]
        names = {name for other in others for name in summaries[other]}
        shots = {other.shots for other in others} - {NOTHING} if method.protocol == "fewshot" else set()
        for one in {method, *(replace(method, shots=k) for k in shots if method.shots != NOTHING)}:
            rows[one] = {name: summaries.get(one, {}).get(name, Summary()) for name in names}
    return dict(sorted(rows.items()))


def _beside(method: Method, other: Method, summaries: Summaries, metric: str = "") -> bool:
    """Whether two rows stand in one table, and the other has the metric."""
    same = (method.protocol, method.transductive) == (other.protocol, other.transductive)
    sources = {method.source, other.source} - {""}
    return same and len(sources) < 2 and (not metric or any(one.by_seed(metric) for one in summaries[other].values()))


def _measurement(method: Method, dataset: str, summary: Summary, metric: str, lacks: Sequence[str]) -> dict[str, Any]:
    mean = summary.mean(metric)
    datasets = summary.datasets if isinstance(summary, Average) else [dataset]
    number = published.beside(method, summary, dataset, metric)
    seeds = sorted(summary.by_seed(metric)) if "/" in metric else summary.seeds
    return {
        "protocol": method.protocol, "transductive": method.transductive, "trainer": method.trainer,
        "backbone": method.backbone, "teacher": method.teacher, "shots": method.images, "selection": method.selection,
        "foreign": method.foreign or None,
        "learned_on": method.source or None, "settings": dict(method.variant),
        "dataset": dataset, "datasets": datasets, "metric": metric, "measured": summary.way(metric) or {},
        "mean": mean, "std": summary.std(metric), "seeds": seeds, "n_seeds": len(seeds), "lacks": list(lacks),
        "published": number.value if number else None,
        "difference": mean - number.value if number and mean is not None else None,
        "paper": number.paper if number else None, "verified": number.verified if number else None,
        "source": number.source if number else None,
    }  # fmt: skip


def json_text(summaries: Summaries, left_out: Sequence[str]) -> str:
    """The measurements, and the results.json files that were left out."""
    return json.dumps({"format": 1, "cells": measurements(summaries), "left_out": list(left_out)}, indent=1) + "\n"


def csv_text(summaries: Summaries) -> str:
    """The measurements as lines; lists are joined by spaces, settings and how it was measured are KEY=VALUE.

    A text that a spreadsheet would run, as one that begins with =, has an apostrophe in front; numbers stay numbers.
    """
    entries = measurements(summaries)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(entries[0]) if entries else ["protocol"], lineterminator="\n")
    writer.writeheader()
    for entry in entries:
        joined = {key: " ".join(map(str, entry[key])) for key in ("datasets", "seeds", "lacks")}
        joined |= {key: " ".join(f"{k}={v}" for k, v in entry[key].items()) for key in ("settings", "measured")}
        row = entry | joined
        shown = {key: texts.cell(texts.plain(value)) if isinstance(value, str) else value for key, value in row.items()}
        writer.writerow(shown)
    return text.getvalue()


def _plain(cell: TableCell, sign: str) -> str:
    """A cell as text; `sign` stands before a deviation."""
    if isinstance(cell, Difference):
        return f"{cell.value:+.2f}" + ("" if cell.verified else "?")
    if isinstance(cell, Percentage):
        text = f"{cell.mean:.2f}" + ("" if cell.std is None else f" {sign} {cell.std:.2f}")
        return f"{text} ({cell.note})" if cell.note else text
    return texts.plain(cell)


def _markdown(cell: TableCell) -> str:
    text = texts.markdown(_plain(cell, "±"))
    return f"**{text}**" if isinstance(cell, Percentage) and cell.best else text


def _latex_cell(cell: TableCell) -> str:
    if isinstance(cell, Percentage):
        mean = rf"\textbf{{{cell.mean:.2f}}}" if cell.best else f"{cell.mean:.2f}"
        spread = "" if cell.std is None else rf" $\pm$ {cell.std:.2f}"
        return mean + spread + (_escape(f" ({cell.note})") if cell.note else "")
    if isinstance(cell, Difference):
        return f"${cell.value:+.2f}$" + ("" if cell.verified else "?")
    return _escape(cell)


def _escape(text: str) -> str:
    """Characters that LaTeX reads as commands."""
    arrow = texts.plain(text).split("<-")
    return _LATEX["<-"].join("".join(_LATEX.get(character, character) for character in part) for part in arrow)
