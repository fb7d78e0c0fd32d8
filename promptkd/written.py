"""Words as they are written: on a command line, in the environment, in a YAML file; and what a word stands for.

YAML 1.1 reads 010 as 8, 1:30 as 90, `on` as true and 2024_11 as 202411. Here a plain word of a YAML file stays a word
until it is known what its key wants: a text keeps it as it is, a number or a switch is read as on a command line.
"""

from __future__ import annotations

import argparse
import math
import re
from ast import literal_eval
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml

from promptkd import bounded
from promptkd.bounded import shown

LONGEST_LIST = 10_000  # characters of a list in one word
SWITCHES = {"true": True, "false": False}
_YES, _NO = ("yes", "on", "y"), ("no", "off", "n")
_EMPTY = ("", "~", "null")
_OCTAL = re.compile(r"[-+]?0[0-9][0-9_]*")
_SIXTIES = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


class Written(str):
    """A word of a YAML file that stands there without quotes."""


def number(word: str) -> int | float | None:
    """The number that a word stands for; None where it is none.

    Raises:
        ValueError: it reads as two different numbers (010, 1:30), or is not finite; the message says what to write.
    """
    text = word.strip()
    if _OCTAL.fullmatch(text):
        plain = re.sub("^([-+]?)0+(?=[0-9])", r"\1", text)
        raise ValueError(f"with a 0 in front it may be octal: write {plain}")
    if _SIXTIES.fullmatch(text):
        raise ValueError("with a colon it may be of base 60: write one number, without a colon")
    value: int | float
    try:
        value = int(text, 0)
    except ValueError:
        try:
            value = float(text)
        except ValueError:
            if text.lower() in (".nan", ".inf", "+.inf", "-.inf"):
                raise ValueError("give a finite number") from None
            return None
    if not math.isfinite(value):
        raise ValueError("give a finite number")
    return value


def whole_number(word: str) -> int:
    """The whole number that a word stands for; an error of argparse's where it is none."""
    try:
        value = number(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{shown(word)}: {error}") from error
    if not isinstance(value, int):
        raise argparse.ArgumentTypeError(f"{shown(word)} is no whole number")
    return value


def switch(word: str) -> bool | None:
    """True or False where a word says it; None where it says neither.

    Raises:
        ValueError: yes, no, on or off, which only some programs read as true and false.
    """
    text = word.strip().lower()
    if text in (*_YES, *_NO):
        raise ValueError(f"write {text in _YES}")
    return SWITCHES.get(text)


def is_empty(word: Written) -> bool:
    """Whether a plain word of a YAML file stands for no value: null, ~, or nothing at all."""
    return word.lower() in _EMPTY


def value_of(content: Any) -> Any:
    """What the content of a YAML file stands for where nobody says what is wanted; lists and mappings with all theirs.

    Raises:
        ValueError: a word that YAML 1.1 reads otherwise than people do; the message says what to write.
    """
    if isinstance(content, dict):
        return {str(key): value_of(value) for key, value in content.items()}
    if isinstance(content, list):
        return [value_of(value) for value in content]
    if not isinstance(content, Written):
        return content
    if is_empty(content):
        return None
    try:
        truth, count = switch(content), number(content)
    except ValueError as error:
        raise ValueError(f"{shown(content)}: {error}, or put it in quotes for a text") from error
    return str(content) if truth is None and count is None else count if truth is None else truth


def listed(word: str) -> list[Any] | None:
    """The values of a list in one word, as "(224, 224)" or "['a', 'b']"; None where it is none."""
    if len(word) > LONGEST_LIST:
        return None
    try:
        values = literal_eval(word.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return list(values) if isinstance(values, (list, tuple)) else None


def listed_texts(word: str) -> list[Any] | None:
    """The values of a list of texts in one word, which may go without quotes, as "[out/run, ViT-L/14]"; or None."""
    values, inside = listed(word), word.strip()
    if values is not None or len(inside) > LONGEST_LIST or inside[:1] + inside[-1:] not in ("[]", "()"):
        return values
    return [one.strip() for one in inside[1:-1].split(",")]


def read_yaml(path: str | Path) -> Any:
    """The content of a YAML file, whose plain words are `Written`. Raises what `bounded.read_yaml` does."""
    return bounded.read_yaml(path, loader=_Words)


class _Words(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the fast one, where it is there
    """PyYAML's safe loader, which keeps plain words as they are and refuses a key that is given twice."""

    def construct_word(self, node: yaml.ScalarNode) -> str:
        return Written(node.value) if not node.style else str(node.value)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is a word", key.start_mark)
            if key.value in seen:
                where = f"line {key.start_mark.line + 1}"
                raise ValueError(f"{where} gives {shown(key.value)} a second time: leave one of the two out")
            if key.tag != "tag:yaml.org,2002:merge":
                seen.add(key.value)
        return {str(key): value for key, value in super().construct_mapping(node, deep).items()}


for _kind in ("bool", "int", "float", "null", "timestamp", "str", "value"):
    _Words.add_constructor(f"tag:yaml.org,2002:{_kind}", _Words.construct_word)


def pairs_of(options: Sequence[str]) -> dict[str, str]:
    """The KEY VALUE pairs of a command line.

    Raises:
        ValueError: an odd number of words, or a key with two different values.
    """
    if len(options) % 2:
        raise ValueError(f"options come in pairs KEY VALUE, the last one stands alone: {options[-1]!r}")
    pairs: dict[str, str] = {}
    for key, text in zip(options[::2], options[1::2], strict=True):
        if pairs.setdefault(key, text) != text:
            raise ValueError(f"{key} is given twice, as {shown(pairs[key])} and as {shown(text)}: give it once")
    return pairs
