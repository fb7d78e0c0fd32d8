"""Tables of accuracy under attack and on corrupted images, of the runs that measured it; and of calibration."""

from __future__ import annotations

import re
from collections.abc import Sequence

from promptkd.results.record import CONFIDENCE, CORRUPTED
from promptkd.tables.summaries import METRICS, Summaries, Summary
from promptkd.tables.table import Papers, Percentage, Table, TableCell

GROUPS = ("base", "new", "hm", "all")
NOTE = (
    "Percent, under attack on the same images as clean: l_inf in pixels, eps in 1/255; the attacker knows all. "
    "corrupted: the mean over kinds and severities, of images that uncorrupted ones stand beside. Rows compare where "
    "images, steps, kinds and severities are the same (results.json, robustness and corruptions)."
)
MIXED = "Transductive methods learned from unlabelled images of the tested classes: they compare among themselves."
ECE = "ECE, lower is better: of all test images. AUROC: of telling another data set's images, where it was measured."


def attacked_tables(summaries: Summaries, compare: bool = True) -> list[Table]:
    """A table for each protocol: a row for each method, data set and class group, transductive methods last.

    Args:
        summaries: what is shown.
        compare: whether published numbers stand below ours where there are any.
    """
    rows = {method: row for method, row in summaries.items() if any(attacks_of(one) for one in row.values())}
    protocols = dict.fromkeys(method.protocol for method in rows)
    return [_table(name, {m: row for m, row in rows.items() if m.protocol == name}, compare) for name in protocols]


def attacks_of(summary: Summary) -> list[str]:
    """Names of what was measured, "clean" first, then by radius."""
    names = {key.partition("/")[2] for run in summary.runs for key in run.record.under_attack}
    return sorted(names, key=_order)


def radius(name: str) -> float | None:
    """The radius of an attack in 1/255, from its name, as 4 of pgd10_eps4; None of "clean"."""
    match = re.fullmatch(r"\w+_eps(\d{1,3}(\.\d{1,6})?)", name)
    return float(match[1]) if match else None


def severities_of(summary: Summary) -> list[int]:
    """Severities of corruptions that its runs measured, sorted."""
    found = [run.record.corruptions or {} for run in summary.runs]
    return sorted({one for each in found if each.get("by_severity") for one in each.get("severities", ())})


def kinds_of(summary: Summary) -> list[str]:
    """Kinds of corruptions that its runs measured."""
    groups = [kinds for run in summary.runs for kinds in (run.record.corruptions or {}).get("by_severity", {}).values()]
    return list(dict.fromkeys(kind for kinds in groups for kind in kinds))


def _table(protocol: str, rows: Summaries, compare: bool) -> Table:
    rows = dict(sorted(rows.items(), key=lambda pair: pair[0].transductive))
    summaries = [summary for row in rows.values() for summary in row.values()]
    columns = _columns(summaries)
    mixed = any(method.transductive for method in rows)
    lines: list[list[TableCell]] = []
    papers = Papers(compare)
    for method, row in rows.items():
        kind = ["transductive" if method.transductive else "inductive"] if mixed else []
        for dataset, summary in row.items():
            for group in GROUPS:
                values = [_cell(summary, group, name) for name in columns]
                if any(_cell(summary, group, name) for name in columns if name not in CONFIDENCE):
                    head: list[TableCell] = [method.label, dataset, *kind, METRICS[group]]
                    lines.append([*head, *values, str(len(summary.seeds))])
                    numbers = [papers.find(method, summary, dataset, f"{group}/{name}") for name in columns]
                    lines += [[*line, ""] for line in papers.lines([""] * len(head), values, numbers)]
    headers = ["method", "data set", *(["learned"] if mixed else []), "group", *columns.values(), "seeds"]
    notes = [NOTE, *([MIXED] if mixed else []), *([ECE] if "ece" in columns else []), *papers.notes()]
    return Table(f"{protocol}: accuracy under attack and on corrupted images", headers, lines, notes)


def _columns(summaries: Sequence[Summary]) -> dict[str, str]:
    """Measure -> heading: attacks by radius, corruptions with the accuracy on their images as they are, confidence."""
    names = sorted({name for one in summaries for name in attacks_of(one)}, key=_order)
    columns = {name: name for name in names if name != CORRUPTED}
    if CORRUPTED in names:
        two = ("clean", f"{CORRUPTED}/0")
        pairs = [[one.mean(f"{group}/{name}") for name in two] for one in summaries for group in GROUPS]
        same = all(clean == uncorrupted for clean, uncorrupted in pairs)
        columns |= {} if same else {f"{CORRUPTED}/0": "uncorrupted"}
        columns[CORRUPTED] = CORRUPTED
    measured = [name for name in CONFIDENCE if any(_cell(one, group, name) for one in summaries for group in GROUPS)]
    return columns | {name: {"ece": "ECE"}.get(name, "AUROC") for name in measured}


def _order(name: str) -> tuple[bool, float, str]:
    return name != "clean", radius(name) or 0.0, name


def _cell(summary: Summary, group: str, name: str) -> TableCell:
    metric = f"{group}/{name}"
    mean = None if name in CONFIDENCE and group == "hm" else summary.mean(metric)  # errors have no harmonic mean
    return "" if mean is None else Percentage(mean, summary.std(metric))
