"""A value as it is written -> the kind of value that its key has: a text, a number, a switch or a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dassl.engine import TRAINER_REGISTRY
from promptkd.bounded import shown
from promptkd.engine.keys import KEYS
from promptkd.engine.limits import Limits
from promptkd.engine.options import kinds_of, limits_in
from promptkd.home import expanded
from promptkd.written import Written, is_empty, listed, listed_texts, number, switch


def limits_of_key(key: str) -> Limits:
    """The limits of a dotted key: a run's, Dassl's, a data set's or a registered method's; none of any other."""
    if key in KEYS:
        return KEYS[key].limits
    for name in TRAINER_REGISTRY.registered_names():
        trainer = TRAINER_REGISTRY.get(name)
        kinds = kinds_of(trainer, name) if hasattr(trainer, "Options") else {}
        for section, kind in kinds.items():
            if key.startswith(f"TRAINER.{section}."):
                return limits_in(kind, section).get(key, Limits())
    return Limits()


def as_default(value: Any, default: Any, key: str, source: str) -> Any:
    """A value in the kind of its key's default: words are read as that kind, whole numbers count as numbers.

    Args:
        value: a word of a command line or a file, or Python's value.
        default: of the key.
        key: its dotted name.
        source: the value's origin, for the message.

    Raises:
        ValueError: it is of another kind, or reads as two different ones; the message says what to write.
    """
    where, limits = f"{source}: {key}", limits_of_key(key)
    fitting: Any
    try:
        if isinstance(default, str):
            return _text(value, limits.path)
        if isinstance(default, bool):
            fitting = switch(value) if isinstance(value, str) else value if isinstance(value, bool) else None
        elif isinstance(default, float) or limits.fraction:
            fitting = _number(value, whole=False)
            fitting = float(fitting) if isinstance(default, float) and fitting is not None else fitting
        elif isinstance(default, int):
            fitting = _number(value, whole=True)
        elif isinstance(default, (tuple, list)):
            fitting = _entries(value, limits.entry, limits.path)
            fitting = None if fitting is None else type(default)(fitting)
        else:
            return value
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{where} is {shown(value)}: {error}") from error
    if fitting is None:
        example = default or (("a", "b") if limits.entry is str else (0.5, 0.5))
        raise ValueError(f"{where} is {shown(value)}, but wants {type(default).__name__} like {example!r}")
    return fitting


def _text(value: Any, path: bool) -> str:
    """A text as it is typed; of a path with ~ the whole path."""
    if isinstance(value, Written) and is_empty(value) and not (path and value == "~"):
        raise ValueError('it has no value, write "" for none, or put the word in quotes')
    if not isinstance(value, str):
        raise ValueError("it is no text: put it in quotes")
    if "\0" in value or any(ord(character) < 32 for character in value):
        raise ValueError("it has control characters")
    return expanded_name(value) if path else str(value)


def expanded_name(text: str) -> str:
    """A path, or a name that ends in one (architecture:FILE, timm:NAME:FILE), with ~ as the home folder.

    Raises:
        ValueError: there is no such home folder.
    """
    front, colon, file = text.partition(":~")
    file = f"~{file}" if colon else ""
    if colon and file.startswith("~"):
        return f"{front}:{expanded(file)}"
    return str(expanded(text))


def _number(value: Any, whole: bool) -> int | float | None:
    """A number, or the one that a word stands for; None where it is none."""
    if isinstance(value, str):
        value = number(value)
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("give a finite number")
    if whole:
        return int(value) if value == int(value) else None
    return value


def _entries(value: Any, kind: type | None, path: bool = False) -> list[Any] | None:
    """The entries of a list, or of the one in a word; None where it is none, or where an entry is of another kind.

    A list of paths has no empty one.
    """
    if isinstance(value, str):
        value = listed_texts(value) if kind is str else listed(value)
    if isinstance(value, (str, Mapping)) or not hasattr(value, "__iter__"):
        return None
    entries = [_entry(one, kind) for one in value]
    if path and all(isinstance(one, str) for one in entries):
        entries = [_text(one, path=True) or None for one in entries]
    return None if None in entries else entries


def _entry(value: Any, kind: type | None) -> Any:
    """An entry of a list in its kind; None where it is of another kind."""
    if kind is str:
        return str(value) if isinstance(value, str) else None
    if kind is not None:
        return _number(value, whole=kind is int)  # a whole number among others stays one, as hashes know it
    return str(value) if isinstance(value, Written) else value
