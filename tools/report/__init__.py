"""One self-contained page of all results: tables that sort, charts, and each run in detail; it needs no network."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

from tools import published, tables
from tools.cells import ALL, ELSEWHERE, METRICS, NOTHING, Average, Cell, Cells, Method
from tools.entries import Difference, Entry, Table, Value
from tools.report import charts
from tools.report.details import details

HERE = Path(__file__).parent
WIDE = 10  # columns, beyond which a table is printed smaller and across the page
# Nothing but what the page holds may be loaded.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write(path: str | Path, cells: Cells, left_out: Sequence[str], sources: Sequence[str], gallery: int = 12) -> None:
    """Writes the page.

    Args:
        path: the file.
        cells: what is reported.
        left_out: a line for each results.json that does not count.
        sources: the output folders, for the heading.
        gallery: how many errors each run shows with their images.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(page(cells, left_out, sources, gallery), encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def page(cells: Cells, left_out: Sequence[str], sources: Sequence[str], gallery: int = 12) -> str:
    """The page as text; see `write`."""
    runs = [(method, run) for method, row in cells.items() for cell in row.values() for run in cell.runs]
    now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")
    head = f"{len(runs)} runs under {', '.join(sources)}, {now}"
    skipped = "".join(f"<li>{escape(line)}</li>" for line in left_out)
    body = [
        f"<header><h1>Results</h1><p>{escape(head)}</p></header>"
        '<div class="filter"><label>Filter <input id="filter" type="search" placeholder="method, data set, seed ..." '
        'autocomplete="off">'
        '</label> <output id="found"></output></div><main>',
        "<p>Percent; mean ± standard deviation over seeds (n - 1). HM is the harmonic mean of the mean base and new "
        "accuracies. Transductive methods stand in tables of their own. A heading sorts its table; a "
        "tick across a bar is the published number.</p>",
        *(_table(table) for table in tables.build(cells)),
        _charts(cells),
        "<h2>Runs</h2>",
        *(details(method, run, gallery) for method, run in runs),
        f"<h2>Left out</h2><ul>{skipped}</ul>" if skipped else "",
        "</main>",
    ]
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Results</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><link rel="icon" href="data:,"><style>{style}</style></head><body>'
        f"{''.join(body)}<script>{script}</script></body></html>\n"
    )


def _table(table: Table) -> str:
    head = "".join(f'<th aria-sort="none"><button>{_breakable(header)}</button></th>' for header in table.headers)
    lines: list[tuple[str, list[str], list[str]]] = []  # text to filter by, first cells, their additions
    for row in table.rows:
        if isinstance(row[0], str) and row[0].startswith("  ") and lines:  # of the row above: they sort as one
            for i, entry in enumerate(row):
                if i and entry != "":
                    lines[-1][2][i] += f"<small>{escape(str(row[0]).strip())} {_text(entry)}</small>"
        else:
            words = " ".join(entry for entry in row if isinstance(entry, str))
            lines.append((words.lower(), [_cell(entry) for entry in row], [""] * len(row)))
    body = "".join(
        f'<tr data-f="{escape(words + " " + table.title.lower())}">'
        + "".join(cell.replace("</td>", f"{more}</td>") for cell, more in zip(own, added, strict=True))
        + "</tr>"
        for words, own, added in lines
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    wide = " wide" * (len(table.headers) > WIDE)
    return (
        f'<section class="block{wide}"><h2>{escape(table.title)}</h2><div class="scroll"><table class="sort">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        + (f"<ul class=notes>{notes}</ul>" if notes else "")
        + "</section>"
    )


def _breakable(name: str) -> str:
    """DescribableTextures may be set in two lines where there is no room."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "<wbr>", escape(name))


def _cell(entry: Entry) -> str:
    number = entry.mean if isinstance(entry, Value) else entry.value if isinstance(entry, Difference) else None
    if number is None:
        kind = ' class="gone"' if entry == "missing" else ""
        return f"<td{kind}>{_text(entry)}</td>"
    best = " best" if isinstance(entry, Value) and entry.best else ""
    return f'<td class="n{best}" data-v="{number:.6f}">{_text(entry)}</td>'


def _text(entry: Entry) -> str:
    if isinstance(entry, Difference):
        return f"{entry.value:+.2f}" + ("" if entry.verified else "?")
    if isinstance(entry, Value):
        spread = "" if entry.std is None else f" <span>± {entry.std:.2f}</span>"
        return f"{entry.mean:.2f}{spread}" + (f" <small>{escape(entry.note)}</small>" if entry.note else "")
    return escape(entry)


def _charts(cells: Cells) -> str:
    """A chart for each protocol and data set: bars, or curves over shots."""
    parts = []
    for protocol, transductive in sorted({(m.protocol, m.transductive) for m in cells}):
        own = {m: row for m, row in cells.items() if (m.protocol, m.transductive) == (protocol, transductive)}
        names = sorted({name for row in own.values() for name in row})
        kind = f"{protocol}, {'transductive' if transductive else 'inductive'}"
        targets = {m: [name for name in names if not _is_source(m, name)] for m in own}
        figures = []
        for name in [*names, *(["average"] if len(names) > 1 else [])]:
            picked = {m: _average(row, targets[m]) if name == "average" else row.get(name) for m, row in own.items()}
            there = {m: cell for m, cell in picked.items() if cell is not None}
            if there:
                draw = _curves if protocol == "fewshot" else _bars
                words = " ".join([kind, name, *(m.label for m in there)]).lower()
                drawn = draw(there, name, f"{kind}: {name}")
                figures.append(
                    f'<figure data-f="{escape(words)}"><figcaption>{escape(name)}</figcaption>{drawn}</figure>'
                )
        drawn = f'<div class="charts">{"".join(figures)}</div>'
        parts.append(f'<section class="block"><h2>Charts: {escape(kind)}</h2>{drawn}</section>')
    return "".join(parts)


def _is_source(method: Method, dataset: str) -> bool:
    """Whether a cross or dg row learned on the data set: that does not belong to its average."""
    return method.protocol in ELSEWHERE and dataset == (method.source or "ImageNet")


def _average(row: dict[str, Cell], names: Sequence[str]) -> Cell | None:
    return Average({name: row[name] for name in names}) if set(names) <= row.keys() else None


def _bars(there: dict[Method, Cell], name: str, label: str) -> str:
    groups = []
    for method, cell in there.items():
        own = []
        for metric, heading in METRICS.items():
            mean = cell.mean(metric)
            if mean is not None:
                number = published.find(method, cell.datasets if isinstance(cell, Average) else [name], metric)
                own.append(charts.Bar(heading, mean, cell.std(metric), number.value if number else None))
        learned = (f", {method.images} shots" if method.shots > 0 else "") + (
            f", {method.source}" * bool(method.source)
        )
        groups.append((method.label + learned, own))
    return charts.bars(groups, label)


def _curves(there: dict[Method, Cell], name: str, label: str) -> str:
    """One line for each method over its shots; what learns nothing stands at 0, what learns from all images last."""
    shots = sorted({method.shots for method in there}, key=lambda k: (k == ALL, k))
    place = {k: float(i) for i, k in enumerate(shots)}
    told = {ALL: "all", NOTHING: "0"}
    series: dict[Method, list[tuple[float, float, float | None]]] = {}
    for method, cell in sorted(there.items(), key=lambda pair: place[pair[0].shots]):
        mean = cell.mean("all")
        if mean is not None:
            series.setdefault(replace(method, shots=ALL), []).append((place[method.shots], mean, cell.std("all")))
    drawn = charts.lines(
        [charts.Line(method.label, points) for method, points in series.items()],
        label,
        {place[k]: told.get(k, str(k)) for k in shots},
        " %",
    )
    return drawn + charts.legend([method.label for method in series])
