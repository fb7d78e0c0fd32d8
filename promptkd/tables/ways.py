"""How numbers of robustness were measured, as words of a table or chart: what differs, and what is the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

from promptkd.results.measured import ATTACK, CORRUPTIONS, IMAGES, OTHER_DATA, family_of
from promptkd.tables.summaries import Summary

Parts = dict[tuple[str, str], str]  # (family, part of a way) -> its text
FEW = 4  # kinds of corruptions that are listed, not counted
_WORDS = {
    (ATTACK, "step"): "step {}",
    (ATTACK, "start"): "{} start",
    (ATTACK, IMAGES): "{} images attacked",
    (CORRUPTIONS, "kinds"): "corrupted by {}",
    (CORRUPTIONS, "severities"): "severities {}",
    (CORRUPTIONS, IMAGES): "{} images corrupted",
    (OTHER_DATA, "source"): "told from {}",
    (OTHER_DATA, IMAGES): "{} of those",
}


def parts_of(numbers: Iterable[tuple[Summary, str]]) -> Parts:
    """How some numbers, each a summary's metric, were measured; of a part that they do not share all texts."""
    texts: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for summary, metric in numbers:
        for key, text in (summary.way(metric) or {}).items():
            texts[family_of(metric.partition("/")[2]), key][text] = None
    return {key: "; ".join(found) for key, found in texts.items()}


def differences(lines: Sequence[tuple[Hashable, Parts]]) -> list[str]:
    """For each line the words of what tells it from others, "" where all were measured alike.

    Args:
        lines: the data set and class group, between which images may differ, and how it was measured.
    """
    known: dict[tuple[Hashable, ...], set[str]] = defaultdict(set)
    for place, parts in lines:
        for key, text in parts.items():
            known[_scope(place, key)].add(text)
    shown = _shown([parts for _, parts in lines])
    return [
        ", ".join(shown[key, parts[key]] for key in _sorted(parts) if len(known[_scope(place, key)]) > 1)
        for place, parts in lines
    ]


def shared(lines: Sequence[Parts]) -> str:
    """The words of what all the lines that say anything of it have in common, "" for nothing."""
    known: dict[tuple[str, str], set[str]] = defaultdict(set)
    for parts in lines:
        for key, text in parts.items():
            known[key].add(text)
    shown = _shown(lines)
    return ", ".join(shown[key, text] for key in _sorted(known) for text in known[key] if len(known[key]) == 1)


def _scope(place: Hashable, key: tuple[str, str]) -> tuple[Hashable, ...]:
    """Of what a part of a way is compared with: images of one data set and class group, all else of the table."""
    return (key, place) if key[1] == IMAGES and key[0] != OTHER_DATA else (key,)


def _shown(lines: Iterable[Parts]) -> dict[tuple[tuple[str, str], str], str]:
    """(part, text) -> its words; many kinds of corruptions are counted, where that tells them apart."""
    texts = dict.fromkeys(pair for parts in lines for pair in parts.items())
    counted = {(key, text): _counted(key, text) for key, text in texts}
    clear = len({(key, counted[key, text]) for key, text in texts}) == len(texts)
    return {(key, text): _WORDS[key].format(counted[key, text] if clear else text) for key, text in texts}


def _counted(key: tuple[str, str], text: str) -> str:
    number = text.count(",") + 1
    return f"{number} kinds" if key == (CORRUPTIONS, "kinds") and number > FEW else text


def _sorted(parts: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """In the order of _WORDS."""
    return sorted(parts, key=list(_WORDS).index)
