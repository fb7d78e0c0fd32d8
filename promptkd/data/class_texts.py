"""Texts that describe classes: a JSON file, class name -> list of texts (of a language model, for example)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from promptkd.bounded import named, shown, texts
from promptkd.data.checks import clip_name
from promptkd.data.reading import read_json
from promptkd.texts import closest

LONGEST_TEXT = 1000  # characters


def read_class_texts(path: Path, classnames: Sequence[str]) -> list[list[str]]:
    """The texts of each class, by its name without regard to case and underscores.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no map of names to lists of texts, names a class twice, or lacks one.
    """
    path = path.expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no file of class texts {named(path)}: give a JSON file, {{class name: [text, ...]}}")
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(
            f'{named(path)} is not a map of class names to lists of texts, {{"cat": ["a small animal", ...]}}'
        )
    known: dict[str, tuple[str, ...]] = {}
    for name, lines in content.items():
        described = texts(lines, f"{named(path)}: {shown(name)}", LONGEST_TEXT)
        if not described or not all(map(str.strip, described)):
            raise ValueError(f"{named(path)}: {shown(name)} has no text, or an empty one")
        if clip_name(name) in known:
            raise ValueError(f"{named(path)} has {shown(name)} twice, as CLIP reads names: leave one")
        known[clip_name(name)] = described
    missing = [name for name in classnames if clip_name(name) not in known]
    if missing:
        close = closest(clip_name(missing[0]), known)
        hint = f"; closest: {shown(close)}" if close else ""
        count = f"{len(missing)} of {len(classnames)} classes"
        raise ValueError(f"{named(path)} has no texts of {count}, first {shown(missing[0])}{hint}")
    return [list(known[clip_name(name)]) for name in classnames]
