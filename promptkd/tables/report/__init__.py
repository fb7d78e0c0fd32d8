"""One self-contained page of all results: tables that sort, charts, and each run in detail; it needs no network."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from promptkd import files, pages
from promptkd.tables.attacked import attacked_tables
from promptkd.tables.build import build
from promptkd.tables.report.changed import changed_figures
from promptkd.tables.report.details import details, values_of
from promptkd.tables.report.figures import figures
from promptkd.tables.summaries import METRICS, Method, Summaries, Summary
from promptkd.tables.table import Difference, Percentage, Table, TableCell

SCRIPT = Path(__file__).with_name("page.js")
FEW = 12  # runs that are not folded away
WIDE = 10  # columns, beyond which a table with a column for each data set is set smaller, and printed across the page


def write(
    path: str | Path, summaries: Summaries, left_out: Sequence[str], sources: Sequence[str], gallery: int = 12
) -> None:
    """Writes the page.

    Args:
        path: the file.
        summaries: what is reported.
        left_out: a line for each results.json that does not count.
        sources: the output folders, for the heading.
        gallery: how many errors each run shows with their images.

    Raises:
        OSError: it cannot be written.
    """
    files.write_text(path, page(summaries, left_out, sources, gallery))


def page(summaries: Summaries, left_out: Sequence[str], sources: Sequence[str], gallery: int = 12) -> str:
    """The page as text; see `write`."""
    number = _number_of_runs(summaries)
    now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")
    head = f"{number} runs under {', '.join(sources)}, {now}"
    skipped = "".join(f"<li>{escape(line)}</li>" for line in left_out)
    body = [
        f"<header><h1>Results</h1><p>{escape(head)}</p></header>"
        '<div class="filter"><label>Filter <input id="filter" type="search" placeholder="method, data set, seed ..." '
        'autocomplete="off">'
        '</label> <output id="found"></output></div><main>',
        "<p>Percent; mean ± standard deviation over seeds (n - 1). HM is the harmonic mean of the mean base and new "
        "accuracies. Transductive methods stand in tables of their own. A heading sorts its table; a "
        "tick across a bar, or beside a point, is the published number.</p>",
        *(_table(table) for table in build(summaries, overview=True)),
        *(_table(table) for table in attacked_tables(summaries)),
        figures(summaries),
        changed_figures(summaries),
        "<h2>Runs</h2>",
        _runs(summaries, gallery),
        f"<h2>Left out</h2><ul>{skipped}</ul>" if skipped else "",
        "</main>",
    ]
    return pages.document("Results", "".join(body), SCRIPT.read_text(encoding="utf-8"))


def _table(table: Table) -> str:
    head = "".join(f'<th aria-sort="none"><button>{_breakable(header)}</button></th>' for header in table.headers)
    lines = _lines(table)
    about = f"{table.title} {' '.join(table.headers)}".lower()  # where a column is a data set, its name is no row's
    body = "".join(
        f'<tr data-f="{escape(f"{words} {about}")}">'
        + "".join(cell.replace("</td>", f"{more}</td>") for cell, more in zip(cells, added, strict=True))
        + "</tr>"
        for words, cells, added in lines
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    notes = f"<ul class=notes>{notes}</ul>" if notes else ""
    drawn = f'<div class="scroll"><table class="sort"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    if table.folded:
        drawn = _fold(f"Each metric of each data set, {len(lines)} rows", drawn + notes)
    wide = " wide" * (len(table.headers) > WIDE and "data set" not in table.headers)
    heading = "" if table.folded else f"<h2>{escape(table.title)}</h2>"
    return f'<section class="block{wide}">{heading}{drawn}{"" if table.folded else notes}</section>'


def _lines(table: Table) -> list[tuple[str, list[str], list[str]]]:
    """(text to filter by, cells, additions to the cells) of each line.

    Rows of published numbers, indented in the other formats, are added to the cells of the row above: they sort as one.
    """
    lines: list[tuple[str, list[str], list[str]]] = []
    for row in table.rows:
        if isinstance(row[0], str) and row[0].startswith("  ") and lines:
            for i, cell in enumerate(row):
                if i and cell != "":
                    lines[-1][2][i] += f"<small>{escape(str(row[0]).strip())} {_text(cell)}</small>"
        else:
            words = " ".join(cell for cell in row if isinstance(cell, str))
            taught = [_taught(str(row[0])), *map(_cell, row[1:])]
            lines.append((words.lower(), taught, [""] * len(row)))
    return lines


def _taught(method: str) -> str:
    """The cell of a method; its teacher stands below it."""
    student, arrow, teacher = method.partition(" <- ")
    below = f'<small class="teacher">← {escape(teacher)}</small>' if arrow else ""
    return f"<td>{escape(student)}{below}</td>"


def _runs(summaries: Summaries, gallery: int) -> str:
    """Every run: folded by protocol, data set and method, open where they are few; a name stands on one level only."""
    opened = _number_of_runs(summaries) <= FEW
    protocols: dict[str, dict[str, dict[Method, Summary]]] = {}
    for method, row in summaries.items():
        kind = f"{method.protocol}, {'transductive' if method.transductive else 'inductive'}"
        for dataset, summary in row.items():
            protocols.setdefault(kind, {}).setdefault(dataset, {})[method] = summary
    parts = []
    for protocol, datasets in protocols.items():
        inner, numbers = {}, {}
        for dataset, methods in sorted(datasets.items()):
            inner[dataset] = "".join(_method(method, summary, gallery, opened) for method, summary in methods.items())
            numbers[dataset] = sum(len(summary.runs) for summary in methods.values())
        if len(inner) == 1:
            (dataset,) = inner
            parts.append(_fold(f"{protocol}, {dataset}", inner[dataset], numbers[dataset], opened))
        else:
            folds = "".join(_fold(dataset, text, numbers[dataset], opened) for dataset, text in inner.items())
            parts.append(_fold(protocol, folds, sum(numbers.values()), opened))
    return "".join(parts)


def _method(method: Method, summary: Summary, gallery: int, opened: bool) -> str:
    """The runs of a method on a data set: one is shown by itself, several below their mean."""
    runs = sorted(summary.runs, key=lambda run: run.record.seed)
    if len(runs) == 1:
        return details(method, runs[0], gallery, alone=True)
    values = values_of({name: summary.mean(name) for name in METRICS})
    content = "".join(details(method, run, gallery) for run in runs)
    return _fold(f"{method.described}: {values}", content, len(runs), opened)


def _fold(title: str, content: str, runs: int = 0, opened: bool = False) -> str:
    return pages.fold(title, content, f"{runs} {'run' if runs == 1 else 'runs'}" if runs else "", opened)


def _number_of_runs(summaries: Summaries) -> int:
    return sum(len(summary.runs) for row in summaries.values() for summary in row.values())


def _breakable(name: str) -> str:
    """DescribableTextures and FGVCAircraft may be set in two lines where there is no room."""
    return re.sub("(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "<wbr>", escape(name))


def _cell(cell: TableCell) -> str:
    number = cell.mean if isinstance(cell, Percentage) else cell.value if isinstance(cell, Difference) else None
    if number is None:
        kind = ' class="gone"' if str(cell).startswith("missing") else ""
        return f"<td{kind}>{_text(cell)}</td>"
    best = " best" if isinstance(cell, Percentage) and cell.best else ""
    return f'<td class="n{best}" data-v="{number:.6f}">{_text(cell)}</td>'


def _text(cell: TableCell) -> str:
    if isinstance(cell, Difference):
        return f"{cell.value:+.2f}" + ("" if cell.verified else "?")
    if isinstance(cell, Percentage):
        spread = "" if cell.std is None else f" <span>± {cell.std:.2f}</span>"
        return f"{cell.mean:.2f}{spread}" + (f" <small>{escape(cell.note)}</small>" if cell.note else "")
    return escape(cell)
