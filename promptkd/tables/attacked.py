"""Tables of accuracy under attack, of the runs that measured it: clean and attacked accuracies on the same images."""

from __future__ import annotations

import re

from promptkd.tables.summaries import METRICS, Summaries, Summary
from promptkd.tables.table import Papers, Percentage, Table, TableCell

GROUPS = ("base", "new", "hm", "all")


def attacked_tables(summaries: Summaries, compare: bool = True) -> list[Table]:
    """A table for each protocol and way to learn: a row for each method, data set and class group.

    Args:
        summaries: what is shown.
        compare: whether published numbers stand below ours where there are any.
    """
    tables = []
    rows = {method: row for method, row in summaries.items() if any(attacks_of(one) for one in row.values())}
    for kind in sorted({(method.protocol, method.transductive) for method in rows}):
        some = {method: row for method, row in rows.items() if (method.protocol, method.transductive) == kind}
        tables.append(_table(kind, some, compare))
    return tables


def attacks_of(summary: Summary) -> list[str]:
    """Names of what was measured, "clean" first, then by radius."""
    names = {key.partition("/")[2] for run in summary.runs for key in run.record.under_attack}
    return sorted(names, key=lambda name: (name != "clean", radius(name) or 0.0, name))


def radius(name: str) -> float | None:
    """The radius of an attack in 1/255, from its name, as 4 of pgd10_eps4; None of "clean"."""
    match = re.fullmatch(r"\w+_eps(\d{1,3}(\.\d{1,6})?)", name)
    return float(match[1]) if match else None


def severities_of(summary: Summary) -> list[int]:
    """Severities of corruptions that its runs measured, sorted."""
    found = [run.record.corruptions or {} for run in summary.runs]
    return sorted({one for each in found if each.get("by_severity") for one in each["severities"]})


def kinds_of(summary: Summary) -> list[str]:
    """Kinds of corruptions that its runs measured."""
    groups = [kinds for run in summary.runs for kinds in (run.record.corruptions or {}).get("by_severity", {}).values()]
    return list(dict.fromkeys(kind for kinds in groups for kind in kinds))


def _table(kind: tuple[str, bool], rows: Summaries, compare: bool) -> Table:
    protocol, transductive = kind
    learned = "TRANSDUCTIVE: learned from unlabelled images of the tested classes" if transductive else "inductive"
    names: list[str] = []
    for row in rows.values():
        for summary in row.values():
            names += [name for name in attacks_of(summary) if name not in names]
    names.sort(key=lambda name: (name != "clean", radius(name) or 0.0, name))
    lines: list[list[TableCell]] = []
    papers = Papers(compare)
    for method, row in rows.items():
        for dataset, summary in row.items():
            for group in GROUPS:
                values = [_cell(summary, f"{group}/{name}") for name in names]
                if any(values):
                    lines.append([method.label, dataset, METRICS[group], *values, str(len(summary.seeds))])
                    numbers = [papers.find(method, summary, dataset, f"{group}/{name}") for name in names]
                    lines += papers.lines(["", "", ""], values, numbers)
    note = (
        "Percent, under attack on the same images as clean: l_inf in pixels, eps in 1/255; the attacker knows all. "
        "Rows compare where images and steps are the same (results.json, robustness)."
    )
    headers = ["method", "data set", "group", *names, "seeds"]
    return Table(f"{protocol}, {learned}: accuracy under attack", headers, lines, [note, *papers.notes()])


def _cell(summary: Summary, metric: str) -> TableCell:
    mean = summary.mean(metric)
    return "" if mean is None else Percentage(mean, summary.std(metric))
