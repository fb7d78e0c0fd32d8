"""Tables of accuracy under attack and on corrupted images, of the runs that measured it; and of calibration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from promptkd.results import kept
from promptkd.results.measured import FAMILIES, family_of
from promptkd.results.record import CONFIDENCE, CORRUPTED
from promptkd.tables.summaries import METRICS, Method, Summaries, Summary
from promptkd.tables.table import Papers, Percentage, Table, TableCell
from promptkd.tables.ways import Parts, differences, parts_of, shared

GROUPS = ("base", "new", "hm", "all")
NOTE = (
    "Percent, under attack on the same images as clean: l_inf in pixels, eps in 1/255; the attacker knows all. "
    "corrupted: the mean over kinds and severities, of images that uncorrupted ones stand beside. seeds: those that "
    "measured it, of all that there are."
)
DIFFERENT = (
    "measured: how, where rows differ in it. Runs that were measured differently share no mean, and do not compare."
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
    runs = [*summary.runs, *summary.again]
    names = {key.partition("/")[2] for run in runs for key in run.record.under_attack}
    return sorted(names, key=_order)


def radius(name: str) -> float | None:
    """The radius of an attack in 1/255, from its name, as 4 of pgd10_eps4; None of "clean"."""
    match = re.fullmatch(r"\w+_eps(\d{1,3}(\.\d{1,30})?)", name)
    return float(match[1]) if match else None


def severities_of(summary: Summary) -> list[int]:
    """Severities of corruptions that its runs measured, sorted."""
    found = [run.record.corruptions or {} for run in summary.runs]
    return sorted({one for each in found if each.get("by_severity") for one in each.get("severities", ())})


def kinds_of(summary: Summary) -> list[str]:
    """Kinds of corruptions that its runs measured."""
    groups = [kinds for run in summary.runs for kinds in (run.record.corruptions or {}).get("by_severity", {}).values()]
    return list(dict.fromkeys(kind for kinds in groups for kind in kinds))


@dataclass(frozen=True)
class _Line:
    """A class group of a row: runs that measured each family of numbers in one way, and "" for what all runs have."""

    method: Method
    dataset: str
    group: str
    families: Mapping[str, Summary]

    def summary(self, name: str) -> Summary:
        """The runs of a column; none where they measured it in another way than this line's."""
        return self.families.get(family_of(name), Summary())

    def mean(self, name: str) -> float | None:
        """Percent of a column, where the line has it."""
        if name in CONFIDENCE and self.group == "hm":
            return None  # errors have no harmonic mean
        return self.summary(name).mean(f"{self.group}/{name}")

    def seeds(self, name: str) -> int:
        """How many runs have it."""
        return len(self.summary(name).by_seed(f"{self.group}/{name}"))

    def count(self, columns: Iterable[str]) -> int:
        """How many runs have what was attacked or corrupted, or where nothing was, what else the line has."""
        shown = [name for name in columns if self.mean(name) is not None]
        changed = [name for name in shown if name not in CONFIDENCE]
        return max(map(self.seeds, changed or shown), default=0)

    def cell(self, name: str, count: int) -> TableCell:
        """The column's percentage, with a note where not `count` runs have it."""
        mean, seeds = self.mean(name), self.seeds(name)
        if mean is None:
            return ""
        note = "" if seeds == count else f"{seeds} {'seed' if seeds == 1 else 'seeds'}"
        return Percentage(mean, self.summary(name).std(f"{self.group}/{name}"), note)

    def parts(self, columns: Iterable[str]) -> Parts:
        """How its numbers were measured."""
        shown = [name for name in columns if self.mean(name) is not None]
        return parts_of((self.summary(name), f"{self.group}/{name}") for name in shown)

    def counts(self, columns: Iterable[str]) -> bool:
        """Whether it has a number of attacked or corrupted images, or as a further line of a row another one."""
        told = [name for name in columns if self.mean(name) is not None]
        return any(name not in CONFIDENCE or (name == kept.OTHER_DATA and "" not in self.families) for name in told)


def _lines(rows: Summaries) -> list[_Line]:
    """Lines in the order of the table; the runs of a row that measured in several ways are several lines."""
    lines = []
    for method, row in rows.items():
        for dataset, summary in row.items():
            ways = {family: summary.alike(family) for family in FAMILIES}
            for place in range(max(map(len, ways.values())) if attacks_of(summary) else 0):
                families = {family: found[place] for family, found in ways.items() if place < len(found)}
                families |= {"": summary} if place == 0 else {}
                lines += [_Line(method, dataset, group, families) for group in GROUPS]
    return lines


def _table(protocol: str, rows: Summaries, compare: bool) -> Table:
    rows = dict(sorted(rows.items(), key=lambda pair: pair[0].transductive))
    lines = _lines(rows)
    columns = _columns([summary for row in rows.values() for summary in row.values()], lines)
    lines = [line for line in lines if line.counts(columns)]
    ways = [line.parts(columns) for line in lines]
    told = differences([((line.dataset, line.group), parts) for line, parts in zip(lines, ways, strict=True)])
    mixed = any(method.transductive for method in rows)
    cells: list[list[TableCell]] = []
    papers = Papers(compare)
    for line, measured in zip(lines, told, strict=True):
        kind = ["transductive" if line.method.transductive else "inductive"] if mixed else []
        way = [measured] if any(told) else []
        head: list[TableCell] = [line.method.label, line.dataset, *way, *kind, METRICS[line.group]]
        count, total = line.count(columns), len(rows[line.method][line.dataset].seeds)
        values = [line.cell(name, count) for name in columns]
        cells.append([*head, *values, str(count) if count == total else f"{count} of {total}"])
        numbers = [
            papers.find(line.method, line.summary(name), line.dataset, f"{line.group}/{name}") for name in columns
        ]
        cells += [[*below, ""] for below in papers.lines([""] * len(head), values, numbers)]
    added = [*(["measured"] if any(told) else []), *(["learned"] if mixed else [])]
    headers = ["method", "data set", *added, "group", *columns.values(), "seeds"]
    common = shared(ways)
    notes = [NOTE, *([f"All rows: {common}."] if common else []), *([DIFFERENT] if any(told) else [])]
    notes += [*([MIXED] if mixed else []), *([ECE] if "ece" in columns else []), *papers.notes()]
    return Table(f"{protocol}: accuracy under attack and on corrupted images", headers, cells, notes)


def _columns(summaries: Sequence[Summary], lines: Sequence[_Line]) -> dict[str, str]:
    """Measure -> heading: attacks by radius, corruptions with the accuracy on their images as they are, confidence."""
    names = sorted({name for one in summaries for name in attacks_of(one)}, key=_order)
    columns = {name: name for name in names if name != CORRUPTED}
    if CORRUPTED in names:
        same = all(line.mean("clean") == line.mean(f"{CORRUPTED}/0") for line in lines)
        columns |= {} if same else {f"{CORRUPTED}/0": "uncorrupted"}
        columns[CORRUPTED] = CORRUPTED
    measured = [name for name in CONFIDENCE if any(line.mean(name) is not None for line in lines)]
    return columns | {name: {"ece": "ECE"}.get(name, "AUROC") for name in measured}


def _order(name: str) -> tuple[bool, float, str]:
    return name != "clean", radius(name) or 0.0, name
