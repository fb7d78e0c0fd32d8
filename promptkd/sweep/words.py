"""Values of options as words: of a command line, of a folder's name."""

from __future__ import annotations

import hashlib
from typing import Any

from promptkd.bounded import shown
from promptkd.written import Written, number, value_of

_LONGEST = 80  # characters of a value in a folder's name


def as_word(value: Any) -> str:
    """An option's value as a word of a command line: as it is written in a plan's file or on a command line.

    Raises:
        ValueError: an entry of a list that reads as two different values.
    """
    return str(value_of(value) if isinstance(value, list) else value)


def shots_of(value: Any) -> int:
    """The images a class that DATASET.NUM_SHOTS stands for. Raises ValueError for what is no whole number."""
    shots = number(value) if isinstance(value, str) else value
    if not isinstance(shots, int):
        raise ValueError(f"DATASET.NUM_SHOTS is {shown(value)}: give a whole number")
    return shots


def folder_word(value: Any) -> str:
    """A value as part of a folder's name: a number as Python writes it, a word without what a name cannot hold.

    A long one, as a list of teachers, is cut, and a hash of it tells it from others.
    """
    if isinstance(value, Written):
        value = value_of(value)
    word = "".join(character if character.isalnum() or character in ".-+" else "_" for character in str(value))
    if len(word) <= _LONGEST:
        return word
    return f"{word[:40]}-{hashlib.sha256(str(value).encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
