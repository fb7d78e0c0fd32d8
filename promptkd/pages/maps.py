"""Where a model looked: a picture, and the same with attention and occlusion drawn over it as squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

SIDE = 160  # pixels of a picture
HELP = (
    "<p>Attention: where the class token of the last block looks. Occlusion: where covering a part of the picture "
    "makes the predicted class less likely (blue: more likely). Each map is scaled to its own largest value, which is "
    "below it.</p>"
)


def explained(title: str, picture: str, guesses: Sequence[Mapping[str, Any]]) -> str:
    """One picture with the guesses of one or more models.

    Args:
        title: its name, or its class.
        picture: a data URI; "" where it is not here.
        guesses: who, prediction, probability, attention, occlusion (rows of numbers; [] for none), and if known "top",
            (class, probability) pairs.
    """
    rows = "".join(_row(picture, one) for one in guesses)
    whole = _over(picture, [], "as it is", "")
    return f'<section class="explained"><h5>{escape(title)}</h5><div class="maps">{whole}</div>{rows}</section>'


def _row(picture: str, guess: Mapping[str, Any]) -> str:
    top = guess.get("top") or [(guess["prediction"], guess["probability"])]
    bars = "".join(
        f'<li><span>{escape(name)}</span><i><b style="width:{100 * min(max(p, 0), 1):.1f}%"></b></i>'
        f"<em>{100 * p:.1f}</em></li>"
        for name, p in top
    )
    maps = [_over(picture, guess[kind], kind, f"{guess['who']}, {kind}") for kind in ("attention", "occlusion")]
    return (
        f'<div class="answer"><div><small>{escape(guess["who"])}</small><ul class="classes">{bars}</ul></div>'
        f'<div class="maps">{"".join(maps)}</div></div>'
    )


def _over(picture: str, grid: Sequence[Sequence[float]], name: str, label: str) -> str:
    """A picture under squares, as dark as the map's numbers; the centre square of it is what a model sees."""
    shown = f'<img alt="" src="{picture}">' if picture else "<span>image not here</span>"
    if not grid:
        note, shown = (f"no {name} to show", "") if label else (name, shown)
        return f'<figure><div class="under">{shown}</div><figcaption>{escape(note)}</figcaption></figure>'
    most = max(abs(value) for row in grid for value in row) or 1.0
    cells = "".join(
        f'<rect x="{x}" y="{y}" width="1.02" height="1.02" class="{"hot" if value > 0 else "cold"}" '
        f'fill-opacity="{0.75 * abs(value) / most:.2f}"/>'
        for y, row in enumerate(grid)
        for x, value in enumerate(row)
    )
    box = f'viewBox="0 0 {len(grid[0])} {len(grid)}" preserveAspectRatio="none"'
    drawn = f'<svg {box} role="img" aria-label="{escape(label)}">{cells}</svg>'
    caption = f"{name}, up to {100 * most:.1f}\u00a0%"
    return f'<figure><div class="under">{shown}{drawn}</div><figcaption>{escape(caption)}</figcaption></figure>'
