"""Summaries -> tables as the papers print them: one for each protocol, and one more for its transductive methods."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from promptkd.tables.summaries import (
    ALL,
    ELSEWHERE,
    METRICS,
    NOTHING,
    ON_PAGE,
    PROTOCOLS,
    Average,
    Method,
    Summaries,
    Summary,
)
from promptkd.tables.table import Papers, Percentage, Table, TableCell, missing

AVERAGE = "average"
TEXT_HEADERS = ("method", "data set", "shots", "measured", "learned", "group")  # the columns that say what a row is


def build(summaries: Summaries, compare: bool = True, overview: bool = False) -> list[Table]:
    """All tables, in the order of PROTOCOLS, inductive ones first.

    Args:
        summaries: what is shown.
        compare: whether published numbers stand beside ours where there are any.
        overview: for a page: tables with a row for each method come before one with a row for each method and data set,
            and HM and what is measured stand as far to the left as they can.
    """
    kinds = {(method.protocol, method.transductive, method.source) for method in summaries}
    # What learned nothing stands in the table of every source, and in one of its own only where there is no source.
    sources = {kind[:2] for kind in kinds if kind[2]}
    kinds = {kind for kind in kinds if kind[2] or kind[:2] not in sources}
    order = {name: i for i, name in enumerate(PROTOCOLS)}
    tables = []
    for protocol, transductive, source in sorted(kinds, key=lambda kind: (order.get(kind[0], len(order)), *kind)):
        rows = {
            method: row
            for method, row in summaries.items()
            if (method.protocol, method.transductive) == (protocol, transductive) and method.source in (source, "")
        }
        make = {"fewshot": _by_shots, "cross": _by_target, "dg": _by_target}.get(protocol, _by_metric)
        table = make(_title(protocol, transductive, source), rows, compare)
        if overview and make is _by_metric:
            table = _by_metric(table.title, rows, compare, ON_PAGE)
        several = overview and make is _by_metric and len(_datasets(rows)) > 1
        tables += _overview(table, rows, compare) if several else [table]
    return tables


def _overview(table: Table, summaries: Summaries, compare: bool) -> list[Table]:
    """The averages, and methods x data sets of the metric that sums up, before the whole table."""
    averages = [row for row in table.rows if str(row[1]).startswith(f"{AVERAGE} of ")]
    metrics = _metrics(summaries)
    metric = "hm" if "hm" in metrics else metrics[0]
    return [
        replace(table, title=f"{table.title}: averages", rows=averages),
        _by_target(f"{table.title}: {METRICS[metric]} of each data set", summaries, compare, metric),
        replace(table, folded=True),
    ]


def _title(protocol: str, transductive: bool, source: str) -> str:
    learned = "TRANSDUCTIVE: learned from unlabelled images of the tested classes" if transductive else "inductive"
    return f"{protocol}{f' from {source}' if source else ''}, {learned}"


def _by_metric(title: str, summaries: Summaries, compare: bool, order: Sequence[str] = ()) -> Table:
    """A row for each method and data set, a column for each metric; with an `order` of them, shots stand behind."""
    metrics, seeds, papers = _metrics(summaries), _seeds(summaries), Papers(compare)
    metrics = [name for name in order if name in metrics] or metrics
    lines = _lines_by_metric(summaries)
    columns: list[list[TableCell]] = [[] for _ in lines]
    headers = ["method", "data set"]
    for metric in metrics:
        best = _best((name, method, summary.mean(metric)) for method, name, summary in lines)
        values = [_percentage(method, summary, metric, best.get(name)) for method, name, summary in lines]
        published = [papers.find(method, summary, name, metric) for method, name, summary in lines]
        compared = any(published)
        headers += [METRICS[metric], *(["paper", "diff"] if compared else [])]
        for column, value, number in zip(columns, values, published, strict=True):
            column += [value, *(papers.beside(value, number) if compared else [])]
    at = len(headers) if order else 2  # where the shots stand
    headers.insert(at, "shots")
    rows: list[list[TableCell]] = []
    for (method, name, summary), column in zip(lines, columns, strict=True):
        row: list[TableCell] = [method.label, name, *column]
        row.insert(at, method.images)
        rows.append([*row, _count(method, summary, seeds)])
    return Table(title, [*headers, "seeds"], rows, papers.notes())


def _lines_by_metric(summaries: Summaries) -> list[tuple[Method, str, Summary]]:
    """(method, data set, its summary) of each row of `_by_metric`; after a method's data sets their average."""
    datasets = _datasets(summaries)
    lines: list[tuple[Method, str, Summary]] = []
    for method, row in summaries.items():
        lines += [(method, name, row.get(name, Summary())) for name in datasets]
        if len(datasets) > 1:
            lacking = [name for name in datasets if name not in row]
            name = f"{AVERAGE} of {len(row)}" + (f" (lacks {', '.join(lacking)})" if lacking else "")
            lines.append((method, name, Average(row)))
    return lines


def _by_shots(title: str, summaries: Summaries, compare: bool) -> Table:
    """A row for each method and data set, a column for each number of images a class: the few-shot curves."""
    metric = _metrics(summaries)[0]
    datasets, seeds, papers = _datasets(summaries), _seeds(summaries), Papers(compare)
    shots = sorted({method.shots for method in summaries}, key=lambda k: (k == ALL, k))
    # a curve is a method, whatever its shots
    curves: dict[Method, dict[int, tuple[Method, dict[str, Summary]]]] = {}
    for method, row in summaries.items():
        curves.setdefault(replace(method, shots=ALL), {})[method.shots] = (method, row)
    lines: list[tuple[Method, str, list[tuple[Method, Summary]]]] = []  # curve, data set, (method, summary) by shots
    for curve, points in curves.items():
        by_shots = [points.get(k, (curve, {})) for k in shots]
        for name in [*datasets, *([AVERAGE] if len(datasets) > 1 else [])]:
            lines.append((curve, name, [(method, _summary(row, name, datasets)) for method, row in by_shots]))
    best = [_best((name, line[i][0], line[i][1].mean(metric)) for _, name, line in lines) for i in range(len(shots))]
    rows: list[list[TableCell]] = []
    for curve, name, line in lines:
        values: list[TableCell] = []
        for i, (method, summary) in enumerate(line):
            # What learns nothing has no curve, and what learns nothing at 0 shots: neither is missing there.
            expected = (shots[i] == NOTHING) == (set(curves[curve]) == {NOTHING})
            value = _percentage(method, summary, metric, best[i].get(name), seeds)
            values.append(value if expected or summary.runs else "")
        rows.append([curve.label, name, *values])
        rows += papers.lines(["", ""], values, [papers.find(method, one, name, metric) for method, one in line])
    return Table(title, ["method", "data set", *(_shots_heading(k) for k in shots)], rows, papers.notes())


def _by_target(title: str, summaries: Summaries, compare: bool, metric: str = "") -> Table:
    """A row for each method, a column for each data set it was tested on, and their average without the source."""
    metric = metric or _metrics(summaries)[0]
    elsewhere = next(iter(summaries)).protocol in ELSEWHERE
    source = next((method.source for method in summaries if method.source), "ImageNet") if elsewhere else ""
    datasets, seeds = sorted(_datasets(summaries), key=lambda name: (name != source, name)), _seeds(summaries)
    targets = [name for name in datasets if name != source]
    papers = Papers(compare)
    names = [*datasets, *([AVERAGE] if len(targets) > 1 else [])]
    lines = [(method, [_summary(row, name, targets) for name in names]) for method, row in summaries.items()]
    best = [_best((name, method, line[i].mean(metric)) for method, line in lines) for i, name in enumerate(names)]
    rows: list[list[TableCell]] = []
    for method, line in lines:
        values = [_percentage(method, one, metric, best[i].get(names[i]), seeds) for i, one in enumerate(line)]
        rows.append([method.label, method.images, *values])
        numbers = [papers.find(method, one, name, metric) for name, one in zip(names, line, strict=True)]
        rows += papers.lines(["", ""], values, numbers)
    return Table(title, ["method", "shots", *names], rows, papers.notes())


def _summary(row: Mapping[str, Summary], name: str, averaged: Sequence[str]) -> Summary:
    """A row's summary of a data set, or its average, for which it needs all of `averaged`."""
    if name == AVERAGE:
        parts = {name: row[name] for name in averaged if name in row}
        return Average(parts, [name for name in averaged if name not in row])
    return row.get(name, Summary())


def _metrics(summaries: Summaries) -> list[str]:
    """The metrics that any run has, in the order of METRICS."""
    runs = [run for row in summaries.values() for summary in row.values() for run in summary.runs]
    present = {name for run in runs for name in run.record.accuracies}
    return [name for name in METRICS if name in present]


def _datasets(summaries: Summaries) -> list[str]:
    return sorted({name for row in summaries.values() for name in row})


def _seeds(summaries: Summaries) -> set[int]:
    """The seeds that a complete row has: all that any method has, if possible of those that need more than one.

    What learns nothing needs one seed, and so does a teacher of students of all seeds.
    """
    present = {method: {seed for one in row.values() for seed in one.seeds} for method, row in summaries.items()}
    several = [seeds for method, seeds in present.items() if not _one_seed(method)]
    return set().union(*(several or present.values()))


def _one_seed(method: Method) -> bool:
    """Whether one seed of it is all there can be."""
    return method.shots == NOTHING or method.teaches


def _best(values: Iterable[tuple[str, Method, float | None]]) -> dict[str, float]:
    """Data set -> highest mean, where more than one row has one; a teacher is no rival of its students' rivals."""
    known: dict[str, list[float]] = {}
    for name, method, mean in values:
        if mean is not None and not method.teaches:
            known.setdefault(name, []).append(mean)
    return {name: max(means) for name, means in known.items() if len(means) > 1}


def _percentage(
    method: Method, summary: Summary, metric: str, best: float | None, seeds: Collection[int] = ()
) -> TableCell:
    """A percentage, with the count of seeds where some of `seeds` are missing; or a text where there is none."""
    mean, expected = summary.mean(metric), min(len(seeds), 1) if _one_seed(method) else len(seeds)
    if mean is None:  # an average names what it lacks, unless it lacks everything
        lacking = summary.lacking if isinstance(summary, Average) and summary.runs else []
        return missing(lacking, 0 if summary.runs else expected)
    note = f"{len(summary.seeds)} of {expected} seeds" if len(summary.seeds) < expected else ""
    return Percentage(mean, summary.std(metric), note, best is not None and mean >= best and not method.teaches)


def _count(method: Method, summary: Summary, seeds: set[int]) -> str:
    """How many seeds, and which of those of other rows are missing."""
    lacking = sorted(seeds - set(summary.seeds))
    if method.teaches:
        return f"{len(summary.seeds)} (teacher)"
    if not lacking or (method.shots == NOTHING and summary.seeds):
        return str(len(summary.seeds))
    return f"{len(summary.seeds)} (lacks {', '.join(map(str, lacking))})"


def _shots_heading(shots: int) -> str:
    return {ALL: "all images", NOTHING: "0 shots", 1: "1 shot"}.get(shots, f"{shots} shots")
