"""Texts that describe classes: a JSON file, class name -> list of texts (of a language model, for example)."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from promptkd.data.checks import clip_name
from promptkd.data.reading import read_json


def read_class_texts(path: Path, classnames: Sequence[str]) -> list[list[str]]:
    """The texts of each class, by its name without regard to case and underscores.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no map of names to lists of texts, or lacks a class.
    """
    path = path.expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no file of class texts {path}: give a JSON file, {{class name: [text, ...]}}")
    content = read_json(path)
    lists = isinstance(content, dict) and all(
        isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts) for texts in content.values()
    )
    if not lists:
        raise ValueError(f'{path} is not a map of class names to lists of texts, {{"cat": ["a small animal", ...]}}')
    known = {clip_name(name): texts for name, texts in content.items()}
    missing = [name for name in classnames if clip_name(name) not in known]
    if missing:
        close = get_close_matches(clip_name(missing[0]), known, n=1)
        hint = f"; closest: {close[0]!r}" if close else ""
        count = f"{len(missing)} of {len(classnames)} classes"
        raise ValueError(f"{path} has no texts of {count}, first {missing[0]!r}{hint}")
    return [list(known[clip_name(name)]) for name in classnames]
