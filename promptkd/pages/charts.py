"""Charts as inline SVG: bars of percentages, and lines; colours are classes (s0, s1, ...) of the page's style."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = 8  # classes s0 ... s7, l0 ... l7
DASHES = 3  # none, and the classes dash1 and dash2: what tells a ninth line from the first


@dataclass(frozen=True)
class Bar:
    """One bar: a percentage, its deviation, and a paper's number."""

    name: str
    mean: float
    std: float | None = None
    paper: float | None = None


@dataclass(frozen=True)
class Line:
    """A named line through points (x, y), each with a deviation or None, and points (x, y) of a paper."""

    name: str
    points: Sequence[tuple[float, float, float | None]]
    paper: Sequence[tuple[float, float]] = ()


WIDTH = 360  # of every chart: its letters are of their size on a phone
_LEFT, _RIGHT, _ROW = 56, 36, 14  # of a bar chart: margins for names and numbers, height of a bar with its gap
_SCALE = (WIDTH - _LEFT - _RIGHT) / 100  # length of one percentage point


def bars(groups: Sequence[tuple[str, Sequence[Bar]]], label: str) -> str:
    """Horizontal bars from 0 to 100 %, in named groups, each a chart; they stand side by side where there is room.

    Args:
        groups: (heading, bars); bars of one name have one colour in every group. A tick marks a published number.
        label: what the chart shows, for those who cannot see it.
    """
    names = list(dict.fromkeys(bar.name for _, members in groups for bar in members))
    parts = []
    for heading, members in groups:
        drawn = "".join(
            _bar(heading, bar, 2 + _ROW * row, names.index(bar.name) % COLOURS) for row, bar in enumerate(members)
        )
        y = 2 + _ROW * len(members)
        chart = _svg(WIDTH, y + 15, f"{label}, {heading}", _grid(y) + drawn)
        parts.append(f"<div><h5>{escape(heading)}</h5>{chart}</div>")
    return f'<div class="groups">{"".join(parts)}</div>'


def _grid(y: float) -> str:
    """Vertical lines at 0, 25, ... 100 % down to a height, and their numbers below it."""
    return "".join(
        f'<line x1="{_LEFT + tick * _SCALE:.1f}" x2="{_LEFT + tick * _SCALE:.1f}" y1="0" y2="{y}" class="grid"/>'
        f'<text x="{_LEFT + tick * _SCALE:.1f}" y="{y + 11}" text-anchor="middle">{tick}</text>'
        for tick in (0, 25, 50, 75, 100)
    )


def _bar(heading: str, bar: Bar, y: int, colour: int) -> str:
    """A bar whose row begins at the height y, with its name, number, deviation and published number."""
    size = bar.mean * _SCALE
    spread = "" if bar.std is None else f" ± {bar.std:.2f}"
    paper = tick = ""
    if bar.paper is not None:
        paper, x = f"; paper {bar.paper:.2f}", _LEFT + bar.paper * _SCALE
        tick = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 1}" y2="{y + _ROW - 1}" class="paper"/>'
    return (
        f"<g><title>{escape(f'{heading}, {bar.name}: {bar.mean:.2f}{spread}{paper}')}</title>"
        f'<text x="{_LEFT - 4}" y="{y + 10}" text-anchor="end">{escape(bar.name)}</text>'
        f'<rect x="{_LEFT}" y="{y + 1}" width="{size:.1f}" height="{_ROW - 3}" rx="1.5" class="s{colour}"/>'
        + _whisker(_LEFT + size, y + _ROW / 2 - 0.5, (bar.std or 0) * _SCALE, _LEFT + 100 * _SCALE)
        + f'{tick}<text x="{WIDTH}" y="{y + 10}" text-anchor="end" class="num">{bar.mean:.1f}</text></g>'
    )


def lines(series: Sequence[Line], label: str, x_names: dict[float, str] | None = None, percent: bool = False) -> str:
    """Lines over x, with the deviation as whiskers and a paper's numbers as ticks; y spans the values.

    Args:
        series: at least one point in all.
        label: what the chart shows.
        x_names: ticks of x and their texts; None: round numbers.
        percent: y is in percent, and does not leave 0 to 100.
    """
    points = [point for line in series for point in line.points if math.isfinite(point[1])]
    if not points:
        return ""
    height, left, bottom, top, right = 220, 50, 24, 8, 14
    x_low, x_high = min(x for x, _, _ in points), max(x for x, _, _ in points)
    y_ticks = _y_ticks(series, points, percent)
    low, high = y_ticks[0], y_ticks[-1]

    def px(x: float) -> float:
        share = (x - x_low) / (x_high - x_low) if x_high > x_low else 0.5
        # a named tick is a point: neither it nor the lines beside it shall lie on the axis
        inset = 6 + 1.5 * len(series) if x_names else 0
        return left + inset + (WIDTH - left - 2 * inset - right) * share

    def py(y: float) -> float:
        return top + (height - top - bottom) * (1 - (min(max(y, low), high) - low) / (high - low))

    sign = " %" if percent else ""
    ticks = x_names or {tick: f"{tick:g}" for tick in _ticks(x_low, x_high, 5)}
    parts = [
        f'<line x1="{left}" x2="{WIDTH - right}" y1="{py(y):.1f}" y2="{py(y):.1f}" class="grid"/>' for y in y_ticks
    ]
    parts += [f'<text x="{left - 4}" y="{py(y) + 3:.1f}" text-anchor="end">{y:g}{sign}</text>' for y in y_ticks]
    for x, text in ticks.items():
        if x_low <= x <= x_high:
            parts.append(f'<text x="{px(x):.1f}" y="{height - 6}" text-anchor="middle">{escape(text)}</text>')
    for number, line in enumerate(series):
        aside = 3 * (number - (len(series) - 1) / 2) if x_names else 0  # so that whiskers do not hide each other
        parts.append(_line(line, number, aside, px, py, x_names or {}))
    return _svg(WIDTH, height, label, "".join(parts))


def _y_ticks(series: Sequence[Line], points: Sequence[tuple[float, float, float | None]], percent: bool) -> list[float]:
    """Round numbers that span the points with their deviations, and the papers' numbers."""
    spread = [y + sign * (std or 0) for _, y, std in points for sign in (-1, 1)]
    spread += [y for line in series for _, y in line.paper]
    ticks = _ticks(min(spread), max(spread), 5)
    return [tick for tick in ticks if 0 <= tick <= 100] if percent else ticks


def _line(
    line: Line,
    number: int,
    aside: float,
    to_x: Callable[[float], float],
    py: Callable[[float], float],
    x_names: Mapping[float, str],
) -> str:
    """The line of this number in a chart whose places `to_x` and `py` give, moved `aside` to the right."""

    def px(x: float) -> float:
        return to_x(x) + aside

    kept = [point for point in line.points if math.isfinite(point[1])]
    path = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y, _ in kept)
    parts = [f'<polyline points="{path}" class="line {_style(number)}"><title>{escape(line.name)}</title></polyline>']
    for x, y, std in kept if len(kept) <= 12 else []:
        tip = f"{line.name}, {x_names.get(x, f'{x:g}')}: {y:.2f}" + ("" if std is None else f" ± {std:.2f}")
        if std:
            ends = f'y1="{py(y - std):.1f}" y2="{py(y + std):.1f}"'
            parts.append(f'<line x1="{px(x):.1f}" x2="{px(x):.1f}" {ends} class="whisker"/>')
        parts.append(_dot(px(x), py(y), number, f"<title>{escape(tip)}</title>"))
    for x, y in line.paper:
        tip = f"{line.name}, {x_names.get(x, f'{x:g}')}: paper {y:.2f}"
        at = f'x1="{px(x) - 5:.1f}" x2="{px(x) + 5:.1f}" y1="{py(y):.1f}" y2="{py(y):.1f}"'
        parts.append(f'<g><title>{escape(tip)}</title><line {at} class="paper {_style(number, dashed=False)}"/></g>')
    return "".join(parts)


def _style(number: int, dashed: bool = True) -> str:
    dash = number // COLOURS % DASHES if dashed else 0
    return f"l{number % COLOURS}" + (f" dash{dash}" if dash else "")


def _dot(x: float, y: float, number: int, content: str = "") -> str:
    kind = f"s{number % COLOURS}" if number < COLOURS else f"hollow {_style(number, dashed=False)}"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="{kind}">{content}</circle>'


def legend(names: Sequence[str]) -> str:
    """The colours and dashes of `lines`, by name."""
    items = "".join(
        f'<li><svg class="key" viewBox="0 0 30 10" aria-hidden="true"><line x1="0" x2="30" y1="5" y2="5" '
        f'class="line {_style(i)}"/>{_dot(15, 5, i)}</svg>{escape(name)}</li>'
        for i, name in enumerate(names)
    )
    return f'<ul class="legend">{items}</ul>'


def scatter(points: Sequence[tuple[float, float, int]], marks: Sequence[tuple[float, float]], names: Sequence[str],
            label: str) -> str:  # fmt: skip
    """Images as dots and classes as crosses in a plane without units.

    Args:
        points: (x, y, number of the class).
        marks: (x, y) of each class.
        names: of the C classes.
        label: what the chart shows.
    """
    every = [(x, y) for x, y, *_ in [*points, *marks]]
    if not every:
        return ""
    low, high = ([one(axis) for axis in zip(*every, strict=True)] for one in (min, max))
    spans = [max(h - b, 1e-9) for b, h in zip(low, high, strict=True)]
    height = 300

    def place(x: float, y: float) -> tuple[float, float]:
        return 10 + (WIDTH - 20) * (x - low[0]) / spans[0], 10 + (height - 20) * (1 - (y - low[1]) / spans[1])

    parts: list[str] = []
    for x, y, number in points:
        px, py = place(x, y)
        tip = f"<title>{escape(names[number])}</title>"
        dot = f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.6" class="dot s{number % COLOURS}"/>'
        parts.append(f"<g>{tip}{dot}</g>")
    for number, (x, y) in enumerate(marks):
        px, py = place(x, y)
        cross = f"M{px - 4:.1f} {py - 4:.1f}l8 8m0 -8l-8 8"
        parts.append(f'<g><title>{escape(names[number])}</title><path d="{cross}" class="cross"/></g>')
        if len(marks) <= 2 * COLOURS + 4:
            side = ("end", -6) if px + 6 + 4.5 * len(names[number]) > WIDTH else ("start", 6)
            parts.append(
                f'<text x="{px + side[1]:.1f}" y="{py + 3:.1f}" text-anchor="{side[0]}">{escape(names[number])}</text>'
            )
    return _svg(WIDTH, height, label, "".join(parts))


def reliability(diagram: Sequence[tuple[float, float, int, float, float]], label: str) -> str:
    """Accuracy over confidence in bins, with the diagonal of a calibrated model; bars of more images are stronger.

    Args:
        diagram: (low, high, count, confidence, accuracy) of each bin, from 0 to 1.
        label: what the chart shows.
    """
    left, side = 34, 240
    most = max((count for _, _, count, _, _ in diagram), default=0) or 1

    def px(x: float) -> float:
        return left + side * x

    def py(y: float) -> float:
        return 6 + side * (1 - y)

    parts = [f'<line x1="{px(0)}" y1="{py(0)}" x2="{px(1)}" y2="{py(1)}" class="diagonal"/>']
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line x1="{px(0)}" x2="{px(1)}" y1="{py(tick):.1f}" y2="{py(tick):.1f}" class="grid"/>')
        parts.append(f'<text x="{px(tick):.1f}" y="{side + 20}" text-anchor="middle">{100 * tick:g}</text>')
        parts.append(f'<text x="{left - 4}" y="{py(tick) + 3:.1f}" text-anchor="end">{100 * tick:g}</text>')
    for low, high, count, confidence, accuracy in diagram:
        if count:
            tip = f"confidence {100 * confidence:.1f} %, right {100 * accuracy:.1f} % of {count}"
            sizes = f'width="{side * (high - low) - 1:.1f}" height="{side * accuracy:.1f}"'
            strength = f'fill-opacity="{0.25 + 0.75 * count / most:.2f}"'
            bar = f'<rect x="{px(low) + 0.5:.1f}" y="{py(accuracy):.1f}" {sizes} class="s0" {strength}/>'
            parts.append(f"<g><title>{escape(tip)}</title>{bar}</g>")
    parts.append(f'<text x="{px(0.5)}" y="{side + 34}" text-anchor="middle">confidence %</text>')
    return _svg(left + side + 10, side + 38, label, "".join(parts))


def _whisker(x: float, y: float, spread: float, end: float) -> str:
    if not spread:
        return ""
    return f'<line x1="{x - spread:.1f}" x2="{min(x + spread, end):.1f}" y1="{y:.1f}" y2="{y:.1f}" class="whisker"/>'


def _svg(width: float, height: float, label: str, content: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{content}</svg>'


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers that span a range."""
    if high <= low:
        high = low + (abs(low) * 0.1 or 1)
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 10) for number in range(first, last + 1)]
