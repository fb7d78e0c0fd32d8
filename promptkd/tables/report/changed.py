"""Charts of accuracy on attacked and corrupted images, over methods; and one run's numbers and pictures of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from html import escape
from typing import Any

from promptkd.pages import charts
from promptkd.pages.pictures import thumbnail
from promptkd.results.measured import ATTACK, CORRUPTIONS
from promptkd.results.record import CORRUPTED
from promptkd.results.search import Run
from promptkd.tables.attacked import attacks_of, kinds_of, radius, severities_of
from promptkd.tables.summaries import METRICS, Method, Summaries, Summary
from promptkd.tables.ways import differences, parts_of

GROUPS = ("hm", "base", "new", "all")
PICTURE_SIDE = 480  # pixels of the longer side of a picture: three images in a row
SHARP = 90  # quality of a picture, in which single pixels count


def changed_figures(summaries: Summaries) -> str:
    """For each protocol that was measured so: accuracy over the radius, over severities, and by kind of corruption."""
    parts = []
    for protocol, transductive in sorted({(m.protocol, m.transductive) for m in summaries}):
        rows = {m: row for m, row in summaries.items() if (m.protocol, m.transductive) == (protocol, transductive)}
        kind = f"{protocol}, {'transductive' if transductive else 'inductive'}"
        for dataset in sorted({name for row in rows.values() for name in row}):
            known = {method: row[dataset] for method, row in rows.items() if dataset in row}
            parts += [_over_radius(known, f"{kind}: {dataset}"), _over_severity(known, f"{kind}: {dataset}")]
    return "".join(parts)


def _over_radius(summaries: Mapping[Method, Summary], title: str) -> str:
    """A chart for each class group: a line for each method and attack, from its accuracy without attack on."""
    drawn = [
        (method.described, attack, _with(part, radii.values()), {0.0: "clean"} | radii)
        for method, summary in summaries.items()
        for part in summary.alike(ATTACK)
        for attack, radii in _attacks(part).items()
    ]
    several = len({attack for _, attack, *_ in drawn}) > 1
    told = _told_apart([(part, at.values()) for *_, part, at in drawn])
    curves = [
        (_joined(method, attack if several else "", words), part, at)
        for (method, attack, part, at), words in zip(drawn, told, strict=True)
    ]

    def lines(group: str) -> list[charts.Line]:
        found = [_line(name, part, {eps: f"{group}/{one}" for eps, one in at.items()}) for name, part, at in curves]
        return [line for some in found for line in some]

    note = "Accuracy (%) over eps in 1/255; at 0: the same images without attack"
    return _section(f"Under attack: {title}", note, lines)


def _attacks(summary: Summary) -> dict[str, dict[float, str]]:
    """Attack, as pgd10 -> radius -> its name in results."""
    found: dict[str, dict[float, str]] = {}
    for name in attacks_of(summary):
        if (eps := radius(name)) is not None:
            found.setdefault(name.rpartition("_")[0], {})[eps] = name
    return found


def _with(summary: Summary, names: Collection[str]) -> Summary:
    """The runs that have any of some measures."""
    wanted = set(names)
    return Summary([run for run in summary.runs if wanted & {one.partition("/")[2] for one in run.record.under_attack}])


def _joined(*words: str) -> str:
    return ", ".join(filter(None, words))


def _told_apart(measured: Sequence[tuple[Summary, Collection[str]]]) -> list[str]:
    """For each summary, of the measures that are named, the words of how they were measured, where others were not."""
    ways = []
    for summary, names in measured:
        each = [[(summary, f"{group}/{name}") for name in names] for group in GROUPS]
        ways.append(next((parts for parts in map(parts_of, each) if parts), {}))
    return differences([("", parts) for parts in ways])


def _over_severity(summaries: Mapping[Method, Summary], title: str) -> str:
    """A chart for each class group: means over the kinds of corruptions, and by kind a table of all methods."""
    parts = [(method, part) for method, one in summaries.items() for part in one.alike(CORRUPTIONS)]
    parts = [(method, part) for method, part in parts if severities_of(part)]
    told = _told_apart([(part, [CORRUPTED]) for _, part in parts])
    measured = {_joined(method.described, words): part for (method, part), words in zip(parts, told, strict=True)}

    def lines(group: str) -> list[charts.Line]:
        drawn = []
        for name, summary in measured.items():
            at = {float(one): f"{group}/{CORRUPTED}/{one}" for one in (0, *severities_of(summary))}
            drawn += _line(name, summary, at)
        return drawn

    note = "Accuracy (%) over the severity, mean of the kinds; at 0: the same images as they are"
    charted = _section(f"Corrupted images: {title}", note, lines)
    return charted + (_by_kind(measured, title) if charted else "")


def _by_kind(measured: Mapping[str, Summary], title: str) -> str:
    """A row for each method, a column for each kind; of the harmonic mean, or of what else sums up."""
    kinds = list(dict.fromkeys(kind for summary in measured.values() for kind in kinds_of(summary)))
    tables = {
        group: {name: [one.mean(f"{group}/{CORRUPTED}/{kind}") for kind in kinds] for name, one in measured.items()}
        for group in GROUPS
    }
    known = [one for one, rows in tables.items() if any(value is not None for row in rows.values() for value in row)]
    if not known:
        return ""
    group = known[0]
    drawn = heat(kinds, tables[group], upright=True)
    words = escape(f"{title} {' '.join(measured)}".lower())
    caption = f"{METRICS[group]} (%) by kind, mean of the severities and seeds"
    return f'<figure data-f="{words}"><figcaption>{escape(caption)}</figcaption>{drawn}</figure>'


def _line(name: str, summary: Summary, at: Mapping[float, str]) -> list[charts.Line]:
    """The line through the means of x -> measure, where there are any."""
    values = [(x, summary.mean(metric), summary.std(metric)) for x, metric in sorted(at.items())]
    points = [(x, mean, std) for x, mean, std in values if mean is not None]
    return [charts.Line(name, points)] if points else []


def _section(title: str, note: str, lines: Callable[[str], list[charts.Line]]) -> str:
    """A chart for each class group of which there is a line, and the names of the lines once; "" without any."""
    figures: list[str] = []
    names: list[str] = []
    for group in GROUPS:
        if drawn := lines(group):
            names = names or [line.name for line in drawn]
            words = escape(f"{title} {' '.join(line.name for line in drawn)}".lower())
            chart = charts.lines(drawn, f"{title}: {METRICS[group]}", percent=True)
            figures.append(f'<figure data-f="{words}"><figcaption>{METRICS[group]}</figcaption>{chart}</figure>')
    if not figures:
        return ""
    head = f"<h2>{escape(title)}</h2><p>{escape(note)}.</p>"
    return f'<section class="block">{head}<div class="charts">{"".join(figures)}</div>{charts.legend(names)}</section>'


def heat(columns: Sequence[str], rows: Mapping[str, Sequence[float | None]], upright: bool = False) -> str:
    """A small table of percentages, the larger the darker.

    Args:
        columns: headings.
        rows: heading -> a percentage or None for each column.
        upright: whether the headings of columns stand upright, for they are long.
    """
    cells = [
        f'<th class="up"><span>{escape(one)}</span></th>' if upright else f"<th>{escape(one)}</th>" for one in columns
    ]
    lines = [f"<tr><td></td>{''.join(cells)}</tr>"]
    for name, values in rows.items():
        drawn = "".join(
            "<td></td>" if value is None else f'<td class="right" style="--p:{value:.0f}%">{value:.1f}</td>'
            for value in values
        )
        lines.append(f"<tr><th>{escape(name)}</th>{drawn}</tr>")
    return f'<div class="scroll"><table class="matrix">{"".join(lines)}</table></div>'


def changed(run: Run, gallery: int) -> str:
    """A run's accuracies under attack, pictures of attacked images, and corruptions by kind and severity; "" for none.

    Args:
        run: a run that counts.
        gallery: how many pictures are shown.
    """
    parts, tables = [], []
    attacked, corrupted = run.record.robustness or {}, run.record.corruptions or {}
    if groups := attacked.get("groups"):
        columns = [name for name in next(iter(groups.values())) if name != "images"]
        rows = {
            f"{group} ({values['images']} images)" if "images" in values else group: [
                values.get(one) for one in columns
            ]
            for group, values in [*groups.items(), *([("hm", attacked["hm"])] if attacked.get("hm") else [])]
        }
        doubts = "".join(f"<li>{escape(str(one))}</li>" for one in attacked.get("doubts") or ())
        parts.append(f"<h4>Under attack (%)</h4>{heat(columns, rows)}{f'<ul>{doubts}</ul>' if doubts else ''}")
        parts.append(_pictures(run, attacked.get("examples", [])[:gallery]))
    for group, kinds in corrupted.get("by_severity", {}).items():
        columns = ["clean", *(f"severity {one}" for one in corrupted.get("severities", ()))]
        clean = corrupted["groups"].get(group, {}).get("clean")
        drawn = heat(columns, {kind: [clean, *values] for kind, values in kinds.items()})
        tables.append(f"<div><h5>{escape(group)}</h5>{drawn}</div>")
    if tables:
        parts.append(f'<h4>Corrupted images (%)</h4><div class="columns">{"".join(tables)}</div>')
    return "".join(parts)


def _pictures(run: Run, examples: Sequence[Mapping[str, Any]]) -> str:
    figures = []
    for one in examples:
        picture = thumbnail(str(run.directory), one["picture"], PICTURE_SIDE, SHARP)
        shown = f'<img alt="{escape(one["label"])}" src="{picture}">' if picture else "<span>picture not here</span>"
        kind = "hit" if one["prediction"] == one["label"] else "miss"
        caption = (
            f"{escape(one['label'])} {one['before']:.1f} % → "
            f'<b class="{kind}">{escape(one["prediction"])}</b> {one["after"]:.1f} %'
        )
        figures.append(
            f'<figure title="{escape(one["path"])}">{shown}<figcaption>{caption} <small>{escape(one["group"])}, '
            f"{escape(one['attack'])}</small></figcaption></figure>"
        )
    if not figures:
        return ""
    note = "image, perturbation times 10 around grey, attacked image; class and prediction → prediction under attack"
    return f'<h4>Attacked images <small>({note})</small></h4><div class="groups attacked">{"".join(figures)}</div>'
