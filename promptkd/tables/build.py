"""Cells -> tables as the papers print them: one for each protocol, and transductive methods in tables of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from promptkd.tables.summaries import ALL, ELSEWHERE, METRICS, NOTHING, PROTOCOLS, Average, Cell, Cells, Method
from promptkd.tables.table import Entry, Papers, Table, Value, missing

AVERAGE = "average"
TEXT_HEADERS = ("method", "data set", "shots")  # the columns that say what a row is


def build(found: Cells, compare: bool = True, overview: bool = False) -> list[Table]:
    """All tables, in the order of PROTOCOLS, inductive ones first.

    Args:
        found: cells.
        compare: whether published numbers stand beside ours where there are any.
        overview: whether tables with a row for each method come before one with a row for each method and data set.
    """
    kinds = {(method.protocol, method.transductive, method.source) for method in found}
    # What learned nothing stands in the table of every source, and in one of its own only where there is no source.
    sources = {kind[:2] for kind in kinds if kind[2]}
    kinds = {kind for kind in kinds if kind[2] or kind[:2] not in sources}
    order = {name: i for i, name in enumerate(PROTOCOLS)}
    tables = []
    for protocol, transductive, source in sorted(kinds, key=lambda kind: (order.get(kind[0], len(order)), *kind)):
        own = {
            method: row
            for method, row in found.items()
            if (method.protocol, method.transductive) == (protocol, transductive) and method.source in (source, "")
        }
        make = {"fewshot": _by_shots, "cross": _by_target, "dg": _by_target}.get(protocol, _by_metric)
        made = make(_title(protocol, transductive, source), own, compare)
        several = overview and make is _by_metric and len(_datasets(own)) > 1
        tables += _overview(made, own, compare) if several else [made]
    return tables


def _overview(made: Table, own: Cells, compare: bool) -> list[Table]:
    """What a reader looks for first: averages, and methods x data sets of the metric that sums up; then all of it."""
    averages = [row for row in made.rows if str(row[1]).startswith(f"{AVERAGE} of ")]
    metrics = _metrics(own)
    metric = "hm" if "hm" in metrics else metrics[0]
    return [
        replace(made, title=f"{made.title}: averages", rows=averages),
        _by_target(f"{made.title}: {METRICS[metric]} of each data set", own, compare, metric),
        replace(made, folded=True),
    ]


def _title(protocol: str, transductive: bool, source: str) -> str:
    learned = "TRANSDUCTIVE: learned from unlabelled images of the tested classes" if transductive else "inductive"
    return f"{protocol}{f' from {source}' if source else ''}, {learned}"


def _by_metric(title: str, own: Cells, compare: bool) -> Table:
    """A row for each method and data set, a column for each metric."""
    metrics = _metrics(own)
    datasets = _datasets(own)
    seeds = _seeds(own)
    papers = Papers(compare)
    blocks: list[tuple[list[Entry], Method, str, Cell]] = []
    for method, row in own.items():
        for name in datasets:
            cell = row.get(name, Cell())
            blocks.append(([method.label, name, method.images], method, name, cell))
        if len(datasets) > 1:
            lacking = [name for name in datasets if name not in row]
            name = f"{AVERAGE} of {len(row)}" + (f" (lacks {', '.join(lacking)})" if lacking else "")
            blocks.append(([method.label, name, method.images], method, name, Average(row)))
    rows: list[list[Entry]] = []
    columns: list[list[Entry]] = [[] for _ in blocks]
    headers = ["method", "data set", "shots"]
    for metric in metrics:
        best = _best((name, method, cell.mean(metric)) for _, method, name, cell in blocks)
        values = [_value(method, cell, metric, best.get(name)) for _, method, name, cell in blocks]
        found = [papers.find(method, cell, name, metric) for _, method, name, cell in blocks]
        headers.append(METRICS[metric])
        beside = any(found)
        headers += ["paper", "diff"] if beside else []
        for column, value, number in zip(columns, values, found, strict=True):
            column.append(value)
            if beside:
                column += papers.beside(value, number)
    for (head, method, _, cell), column in zip(blocks, columns, strict=True):
        rows.append([*head, *column, _count(method, cell, seeds)])
    return Table(title, [*headers, "seeds"], rows, papers.notes())


def _by_shots(title: str, own: Cells, compare: bool) -> Table:
    """A row for each method and data set, a column for each number of images a class: the few-shot curves."""
    metric = _metrics(own)[0]
    datasets, seeds = _datasets(own), _seeds(own)
    papers = Papers(compare)
    shots = sorted({method.shots for method in own}, key=lambda k: (k == ALL, k))
    curves: dict[Method, dict[int, tuple[Method, dict[str, Cell]]]] = {}
    for method, row in own.items():
        curves.setdefault(replace(method, shots=ALL), {})[method.shots] = (method, row)
    rows: list[list[Entry]] = []
    lines: list[tuple[Method, str, list[tuple[Method, Cell]]]] = []
    for curve, points in curves.items():
        for name in [*datasets, *([AVERAGE] if len(datasets) > 1 else [])]:
            own_points = [points.get(k, (curve, {})) for k in shots]
            lines.append((curve, name, [(method, _cell(row, name, datasets)) for method, row in own_points]))
    best = [_best((name, line[i][0], line[i][1].mean(metric)) for _, name, line in lines) for i in range(len(shots))]
    for curve, name, line in lines:
        values: list[Entry] = []
        for i, (method, cell) in enumerate(line):
            # What learns nothing has no curve, and what learns nothing at 0 shots: neither is missing there.
            expected = (shots[i] == NOTHING) == (set(curves[curve]) == {NOTHING})
            shown = _value(method, cell, metric, best[i].get(name), seeds)
            values.append(shown if expected or cell.runs else "")
        rows.append([curve.label, name, *values])
        numbers = [papers.find(method, cell, name, metric) for method, cell in line]
        rows += papers.lines(["", ""], values, numbers)
    return Table(title, ["method", "data set", *(_shots_heading(k) for k in shots)], rows, papers.notes())


def _by_target(title: str, own: Cells, compare: bool, metric: str = "") -> Table:
    """A row for each method, a column for each data set it was tested on, and their average without the source."""
    metric = metric or _metrics(own)[0]
    elsewhere = next(iter(own)).protocol in ELSEWHERE
    source = next((method.source for method in own if method.source), "ImageNet") if elsewhere else ""
    datasets, seeds = sorted(_datasets(own), key=lambda name: (name != source, name)), _seeds(own)
    targets = [name for name in datasets if name != source]
    papers = Papers(compare)
    names = [*datasets, *([AVERAGE] if len(targets) > 1 else [])]
    table = [(method, [_cell(row, name, targets) for name in names]) for method, row in own.items()]
    best = [_best((name, method, line[i].mean(metric)) for method, line in table) for i, name in enumerate(names)]
    rows: list[list[Entry]] = []
    for method, line in table:
        values = [_value(method, cell, metric, best[i].get(names[i]), seeds) for i, cell in enumerate(line)]
        rows.append([method.label, method.images, *values])
        numbers = [papers.find(method, cell, name, metric) for name, cell in zip(names, line, strict=True)]
        rows += papers.lines(["", ""], values, numbers)
    return Table(title, ["method", "shots", *names], rows, papers.notes())


def _cell(row: Mapping[str, Cell], name: str, averaged: Sequence[str]) -> Cell:
    """A row's cell of a data set, or its average, for which it needs all of `averaged`."""
    if name == AVERAGE:
        own = {name: row[name] for name in averaged if name in row}
        return Average(own, [name for name in averaged if name not in row])
    return row.get(name, Cell())


def _metrics(own: Cells) -> list[str]:
    """The metrics that any cell has, in the order of METRICS."""
    present = {name for row in own.values() for cell in row.values() for run in cell.runs for name in run.values}
    return [name for name in METRICS if name in present]


def _datasets(own: Cells) -> list[str]:
    return sorted({name for row in own.values() for name in row})


def _seeds(own: Cells) -> set[int]:
    """The seeds that methods were asked for: what learns nothing has one, and so has the teacher of all seeds."""
    asked = {method: {seed for cell in row.values() for seed in cell.seeds} for method, row in own.items()}
    several = [seeds for method, seeds in asked.items() if not _one_seed(method)]
    return set().union(*(several or asked.values()))


def _one_seed(method: Method) -> bool:
    return method.shots == NOTHING or method.teaches


def _best(values: Iterable[tuple[str, Method, float | None]]) -> dict[str, float]:
    """Data set -> highest mean, where more than one row has one; a teacher is no rival of its students' rivals."""
    known: dict[str, list[float]] = {}
    for name, method, mean in values:
        if mean is not None and not method.teaches:
            known.setdefault(name, []).append(mean)
    return {name: max(means) for name, means in known.items() if len(means) > 1}


def _value(method: Method, cell: Cell, metric: str, best: float | None, seeds: Collection[int] = ()) -> Entry:
    """A percentage, with the count of seeds where some of `seeds` are not there."""
    mean, expected = cell.mean(metric), min(len(seeds), 1) if _one_seed(method) else len(seeds)
    if mean is None:  # an average says what it lacks, unless nothing is there at all
        lacking = cell.lacking if isinstance(cell, Average) and cell.runs else []
        return missing(lacking, 0 if cell.runs else expected)
    note = f"{len(cell.seeds)} of {expected} seeds" if len(cell.seeds) < expected else ""
    return Value(mean, cell.std(metric), note, best is not None and mean >= best and not method.teaches)


def _count(method: Method, cell: Cell, seeds: set[int]) -> str:
    """How many seeds, and which are not there though another row has them."""
    lacking = sorted(seeds - set(cell.seeds))
    if method.teaches:
        return f"{len(cell.seeds)} (teacher)"
    if not lacking or (method.shots == NOTHING and cell.seeds):
        return str(len(cell.seeds))
    return f"{len(cell.seeds)} (lacks {', '.join(map(str, lacking))})"


def _shots_heading(shots: int) -> str:
    return {ALL: "all images", NOTHING: "0 shots", 1: "1 shot"}.get(shots, f"{shots} shots")
