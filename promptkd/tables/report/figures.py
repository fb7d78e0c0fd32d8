"""Cells -> the charts of a protocol: bars of each data set, or curves over shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

from promptkd.tables import published
from promptkd.tables.report import charts
from promptkd.tables.summaries import ALL, METRICS, NOTHING, Average, Cell, Cells, Method

SHOWN = 4  # data sets up to which all charts of a protocol are seen at once


def figures(cells: Cells) -> str:
    """A section for each protocol: the average first; the charts of many data sets are folded."""
    parts = []
    for protocol, transductive in sorted({(m.protocol, m.transductive) for m in cells}):
        own = {m: row for m, row in cells.items() if (m.protocol, m.transductive) == (protocol, transductive)}
        names = sorted({name for row in own.values() for name in row})
        kind = f"{protocol}, {'transductive' if transductive else 'inductive'}"
        targets = {m: list(filter(m.averages, names)) for m in own}
        averages = {m: _average(row, targets[m]) for m, row in own.items()} if len(names) > 1 else {}
        first = _figure(kind, "average", averages)
        drawn = "".join(_figure(kind, name, {m: row.get(name) for m, row in own.items()}) for name in names)
        drawn = f'<div class="charts">{drawn}</div>'
        if len(names) > SHOWN:
            drawn = f'<details class="fold"><summary>Each of {len(names)} data sets</summary>{drawn}</details>'
        first = f'<div class="charts">{first}</div>' if first else ""
        parts.append(f'<section class="block"><h2>Charts: {escape(kind)}</h2>{first}{drawn}</section>')
    return "".join(parts)


def _figure(kind: str, name: str, cells: Mapping[Method, Cell | None]) -> str:
    """One chart; "" where no method has a cell."""
    there = {method: cell for method, cell in cells.items() if cell is not None}
    if not there:
        return ""
    draw = _curves if next(iter(there)).protocol == "fewshot" else _bars
    words = " ".join([kind, name, *(method.label for method in there)]).lower()
    drawn = draw(there, name, f"{kind}: {name}")
    return f'<figure data-f="{escape(words)}"><figcaption>{escape(name)}</figcaption>{drawn}</figure>'


def _average(row: dict[str, Cell], names: Sequence[str]) -> Cell | None:
    return Average({name: row[name] for name in names}) if set(names) <= row.keys() else None


def _bars(there: dict[Method, Cell], name: str, label: str) -> str:
    groups = []
    for method, cell in there.items():
        own = []
        for metric, heading in METRICS.items():
            mean = cell.mean(metric)
            if mean is not None:
                number = _published(method, cell, name, metric)
                own.append(charts.Bar(heading, mean, cell.std(metric), number))
        groups.append((method.described, own))
    return charts.bars(groups, label)


def _published(method: Method, cell: Cell, name: str, metric: str) -> float | None:
    number = published.find(method, cell.datasets if isinstance(cell, Average) else [name], metric)
    return number.value if number else None


def _curves(there: dict[Method, Cell], name: str, label: str) -> str:
    """One line for each method over its shots; what learns nothing stands at 0, what learns from all images last."""
    shots = sorted({method.shots for method in there}, key=lambda k: (k == ALL, k))
    place = {k: float(i) for i, k in enumerate(shots)}
    told = {ALL: "all", NOTHING: "0"}
    series: dict[Method, list[tuple[float, float, float | None]]] = {}
    papers: dict[Method, list[tuple[float, float]]] = {}
    for method, cell in sorted(there.items(), key=lambda pair: place[pair[0].shots]):
        mean, curve = cell.mean("all"), replace(method, shots=ALL)
        if mean is not None:
            series.setdefault(curve, []).append((place[method.shots], mean, cell.std("all")))
            number = _published(method, cell, name, "all")
            papers.setdefault(curve, []).extend([] if number is None else [(place[method.shots], number)])
    lines = [charts.Line(method.label, points, papers[method]) for method, points in series.items()]
    drawn = charts.lines(lines, label, {place[k]: told.get(k, str(k)) for k in shots}, percent=True)
    return drawn + charts.legend([method.label for method in series])
