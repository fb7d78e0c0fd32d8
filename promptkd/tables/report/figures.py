"""Summaries -> the charts of a protocol: bars of each data set, or curves over shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

from promptkd.pages import charts
from promptkd.tables import published
from promptkd.tables.summaries import ALL, METRICS, NOTHING, ON_PAGE, Average, Method, Summaries, Summary

SHOWN = 4  # data sets up to which all charts of a protocol are seen at once


def figures(summaries: Summaries) -> str:
    """A section for each protocol: the average first; the charts of many data sets are folded."""
    parts = []
    for protocol, transductive in sorted({(m.protocol, m.transductive) for m in summaries}):
        rows = {m: row for m, row in summaries.items() if (m.protocol, m.transductive) == (protocol, transductive)}
        names = sorted({name for row in rows.values() for name in row})
        kind = f"{protocol}, {'transductive' if transductive else 'inductive'}"
        averages = {m: _average(row, list(filter(m.averages, names))) for m, row in rows.items()}
        average = _figure(kind, "average", averages) if len(names) > 1 else ""
        average = f'<div class="charts">{average}</div>' if average else ""
        drawn = "".join(_figure(kind, name, {m: row.get(name) for m, row in rows.items()}) for name in names)
        drawn = f'<div class="charts">{drawn}</div>'
        if len(names) > SHOWN:
            drawn = f'<details class="fold"><summary>Each of {len(names)} data sets</summary>{drawn}</details>'
        parts.append(f'<section class="block"><h2>Charts: {escape(kind)}</h2>{average}{drawn}</section>')
    return "".join(parts)


def _figure(kind: str, name: str, summaries: Mapping[Method, Summary | None]) -> str:
    """One chart; "" where no method has a summary."""
    known = {method: summary for method, summary in summaries.items() if summary is not None}
    if not known:
        return ""
    draw = _curves if next(iter(known)).protocol == "fewshot" else _bars
    words = " ".join([kind, name, *(method.label for method in known)]).lower()
    drawn = draw(known, name, f"{kind}: {name}")
    return f'<figure data-f="{escape(words)}"><figcaption>{escape(name)}</figcaption>{drawn}</figure>'


def _average(row: dict[str, Summary], names: Sequence[str]) -> Summary | None:
    return Average({name: row[name] for name in names}) if set(names) <= row.keys() else None


def _bars(summaries: Mapping[Method, Summary], name: str, label: str) -> str:
    groups = []
    for method, summary in summaries.items():
        bars = []
        for metric in ON_PAGE:
            heading, mean = METRICS[metric], summary.mean(metric)
            if mean is not None:
                bars.append(charts.Bar(heading, mean, summary.std(metric), _published(method, summary, name, metric)))
        groups.append((method.described, bars))
    return charts.bars(groups, label)


def _published(method: Method, summary: Summary, name: str, metric: str) -> float | None:
    number = published.beside(method, summary, name, metric)
    return number.value if number else None


def _curves(summaries: Mapping[Method, Summary], name: str, label: str) -> str:
    """One line for each method over its shots; what learns nothing stands at 0, what learns from all images last."""
    shots = sorted({method.shots for method in summaries}, key=lambda k: (k == ALL, k))
    place = {k: float(i) for i, k in enumerate(shots)}
    names = {ALL: "all", NOTHING: "0"}
    series: dict[Method, list[tuple[float, float, float | None]]] = {}
    papers: dict[Method, list[tuple[float, float]]] = {}
    for method, summary in sorted(summaries.items(), key=lambda pair: place[pair[0].shots]):
        mean, curve = summary.mean("all"), replace(method, shots=ALL)
        if mean is not None:
            series.setdefault(curve, []).append((place[method.shots], mean, summary.std("all")))
            number = _published(method, summary, name, "all")
            papers.setdefault(curve, []).extend([] if number is None else [(place[method.shots], number)])
    lines = [charts.Line(method.label, points, papers[method]) for method, points in series.items()]
    drawn = charts.lines(lines, label, {place[k]: names.get(k, str(k)) for k in shots}, percent=True)
    return drawn + charts.legend([method.label for method in series])
