"""One self-contained page of all results: tables that sort, charts, and each run in detail; it needs no network."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from promptkd import files
from promptkd.tables.attacked import attacked_tables
from promptkd.tables.build import build
from promptkd.tables.report.details import details
from promptkd.tables.report.figures import figures
from promptkd.tables.summaries import METRICS, Method, Summaries, Summary
from promptkd.tables.table import Difference, Percentage, Table, TableCell
from promptkd.texts import plain

HERE = Path(__file__).parent
FEW = 12  # runs that are not folded away
WIDE = 10  # columns, beyond which a table with a column for each data set is set smaller, and printed across the page
# Nothing but what the page holds may be loaded.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


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
        "<h2>Runs</h2>",
        _runs(summaries, gallery),
        f"<h2>Left out</h2><ul>{skipped}</ul>" if skipped else "",
        "</main>",
    ]
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    content = plain("".join(body), lines=True)  # names turn no text around, and hide none
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Results</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><link rel="icon" href="data:,"><style>{style}</style></head><body>'
        f"{content}<script>{script}</script></body></html>\n"
    )


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
            lines.append((words.lower(), [_cell(cell) for cell in row], [""] * len(row)))
    return lines


def _runs(summaries: Summaries, gallery: int) -> str:
    """Every run: folded by protocol, data set and method, open where they are few."""
    opened = _number_of_runs(summaries) <= FEW
    protocols: dict[str, dict[str, dict[Method, Summary]]] = {}
    for method, row in summaries.items():
        kind = f"{method.protocol}, {'transductive' if method.transductive else 'inductive'}"
        for dataset, summary in row.items():
            protocols.setdefault(kind, {}).setdefault(dataset, {})[method] = summary
    parts = []
    for protocol, datasets in protocols.items():
        inner = []
        for dataset, methods in sorted(datasets.items()):
            rows = [_method(method, summary, gallery, opened) for method, summary in methods.items()]
            number = sum(len(summary.runs) for summary in methods.values())
            inner.append(_fold(dataset, "".join(rows), number, opened))
        number = sum(len(summary.runs) for methods in datasets.values() for summary in methods.values())
        parts.append(_fold(protocol, "".join(inner), number, opened))
    return "".join(parts)


def _method(method: Method, summary: Summary, gallery: int, opened: bool) -> str:
    means = {name: summary.mean(name) for name in METRICS}
    values = ", ".join(f"{METRICS[name]} {mean:.2f}" for name, mean in means.items() if mean is not None)
    runs = sorted(summary.runs, key=lambda run: run.record.seed)
    content = "".join(details(method, run, gallery) for run in runs)
    return _fold(f"{method.described}: {values}", content, len(runs), opened)


def _fold(title: str, content: str, runs: int = 0, opened: bool = False) -> str:
    number = f" <span>{runs} {'run' if runs == 1 else 'runs'}</span>" if runs else ""
    state = " open" if opened else ""
    return f'<details class="fold"{state}><summary>{escape(title)}{number}</summary>{content}</details>'


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
