"""Checked reads of text, JSON and YAML from elsewhere: bounded in size, depth and number of values, one line per fault.

What a file claims is compared with a limit before it costs memory or time. Numbers are finite and fit into 64 bits, no
mapping has a key twice. Weight files and checkpoints are read by promptkd.tensors.
"""

from __future__ import annotations

import json
import math
import reprlib
import stat
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from promptkd.texts import clipped, plain

SMALL = 2**20  # bytes of a configuration, a recipe, a plan, a spec
RECORD = 2**24  # bytes of a run's record, with its measures of each class
LIST = 2**28  # bytes of a list of images: a million lines
LIST_VALUES = 8_000_000
DEPTH = 40  # lists and mappings inside each other
VALUES = 200_000  # of a file, where nothing else is said
SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the fast one, where it is there
_DIGITS = 400  # of a number; YAML's numbers of base 60 take time that grows with the square of their length


def named(path: str | Path) -> str:
    """A path for a message: whole, on one line."""
    return plain(path)


def shown(value: object) -> str:
    """A value for a message: its beginning, on one line, whatever its size."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 60
    try:
        text = short.repr(value)
        return text if isinstance(value, str) else clipped(text, 80)  # of a word, each space counts: 'a b', 'a  b'
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return f"a {type(value).__name__} with a number of thousands of digits"


def read_bytes(path: str | Path, most: int = SMALL) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError: it is no regular file (a pipe, a device, a folder), or has more than `most` bytes.
    """
    path = Path(path)
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{named(path)} is no regular file")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{named(path)} has more than {most:,} bytes, too many for what it is to be")
    return content


def read_text(path: str | Path, most: int = SMALL) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises:
        OSError, ValueError: what `read_bytes` raises, or it is not UTF-8; the message names the byte.
    """
    content = read_bytes(path, most)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fault = f"{error.reason} at byte {error.start}"
        raise ValueError(f"{named(path)} is not UTF-8 text ({fault}); store it as UTF-8") from None


def read_json(path: str | Path, most: int = SMALL, values: int = VALUES) -> Any:
    """The value in a JSON file of at most `most` bytes and `values` values.

    Raises:
        OSError, ValueError: what `read_text` and `parse_json` raise.
    """
    return parse_json(read_text(path, most), named(path), values)


def parse_json(text: str, source: str, values: int = VALUES) -> Any:
    """The value of a JSON text.

    Args:
        text: JSON.
        source: its file or field, for messages.
        values: at most so many.

    Raises:
        ValueError: no JSON, too many values, nested too deep, a key twice in an object, or a number that is not finite
            or does not fit into 64 bits.
    """
    # Before anything is built: a value has a comma, a colon and a bracket at most, and names have some commas, too.
    if sum(map(text.count, ",:[{")) > 4 * values:
        raise ValueError(f"{source} has more than {values:,} values")
    try:
        content = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_finite,
            parse_float=_finite,
            parse_int=lambda digits: _finite(digits, int),
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"{source} is not JSON ({clipped(error)})") from error
    except RecursionError as error:
        raise ValueError(f"{source} is nested deeper than {DEPTH}") from error
    except ValueError as error:
        raise ValueError(f"{source} {clipped(error)}") from error
    level = [content]
    for _ in range(DEPTH + 1):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, (dict, list))
        ]
    if level:
        raise ValueError(f"{source} is nested deeper than {DEPTH}")
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"has {shown(key)} twice in one object; leave one")
        content[key] = value
    return content


def _finite(digits: str, kind: type[int] | type[float] = float) -> int | float:
    if len(digits) > _DIGITS:
        raise ValueError(f"has a number of {len(digits):,} digits")
    if digits in ("NaN", "Infinity", "-Infinity"):
        raise ValueError(f"has the number {digits}, which is not finite")
    number = kind(digits)
    if not (abs(number) < 2**64 if kind is int else math.isfinite(number)):
        raise ValueError(f"has the number {clipped(digits, 60)}, which is too large")
    return number


def read_yaml(path: str | Path, loader: type[Any] | None = None, most: int = SMALL) -> Any:
    """The content of a YAML file of at most `most` bytes: plain values, no objects.

    Args:
        path: of the file.
        loader: a safe loader of PyYAML; None for its own, which refuses a key that is given twice.
        most: bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: no YAML, or what `parse_json` raises for its values; an alias counts as what it stands for.
    """
    text, source = read_text(path, most), named(path)
    try:
        _check_events(text)
        content = yaml.load(text, Loader=loader or _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{source} is not YAML: {clipped(error, 400)}") from error
    except (ValueError, RecursionError, OverflowError, TypeError, AttributeError) as error:  # !!int x, !!timestamp x
        raise ValueError(f"{source} is not YAML: {clipped(error, 400)}") from error
    _check(content, source)
    return content


def _check_events(text: str) -> None:
    """Raises ValueError where YAML is too deep or too large once its aliases are written out; builds nothing."""
    anchors: dict[str, tuple[int, int]] = {}  # name -> values in it, depth below it
    going: list[list[Any]] = [[None, 0, 0]]  # anchor, values, depth of what is open
    for event in yaml.parse(text, Loader=_Loader):
        values, depth = 1, 0
        if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            going.append([event.anchor, 1, 0])
            if len(going) > DEPTH + 1:
                raise ValueError(f"it is nested deeper than {DEPTH}")
            continue
        if isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            anchor, values, depth = going.pop()
            if anchor is not None:
                anchors[anchor] = values, depth
            depth += 1
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise ValueError(f"the alias *{event.anchor} stands for nothing that is whole")
            values, depth = anchors[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            if event.anchor is not None:
                anchors[event.anchor] = 1, 0
            _check_number(event)
        else:
            continue
        going[-1][1] += values
        going[-1][2] = max(going[-1][2], depth)
        if going[-1][1] > VALUES or len(going) + depth > DEPTH + 1:
            raise ValueError(f"it has more than {VALUES:,} values, or is nested deeper than {DEPTH}")


def _check_number(event: yaml.ScalarEvent) -> None:
    looks = event.value[:1] in "+-.0123456789" and (event.implicit[0] or event.tag is not None)
    if looks and len(event.value) > _DIGITS:
        raise ValueError(f"it has a number of {len(event.value):,} digits")


class _Loader(SafeLoader):  # type: ignore[misc, valid-type]
    """PyYAML's safe loader, which refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    line = key.start_mark.line + 1
                    raise ValueError(f"line {line} gives {shown(key.value)} a second time: leave one out")
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return]


def _check(content: Any, source: str) -> None:
    """Raises ValueError where plain values are nested too deep, or a number is not finite or too large."""
    for field, value, depth in _walk(content):
        if depth > DEPTH:
            raise ValueError(f"{source} is nested deeper than {DEPTH}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{source}: {clipped(field, 60)} is {value}, which is not finite")
        if isinstance(value, int) and value.bit_length() > 64:
            raise ValueError(f"{source}: {clipped(field, 60)} is a number of more than 64 bits")


def _walk(content: Any) -> Iterator[tuple[object, Any, int]]:
    """Each value with its key or position, and its depth."""
    waiting: list[tuple[object, Any, int]] = [("the value", content, 0)]
    while waiting:
        field, value, depth = waiting.pop()
        yield field, value, depth
        if depth <= DEPTH:
            if isinstance(value, dict):
                waiting += [(key, one, depth + 1) for key, one in value.items()]
            elif isinstance(value, (list, tuple, set)):
                waiting += [(f"{clipped(field, 40)}[{number}]", one, depth + 1) for number, one in enumerate(value)]


def whole_number(value: Any, field: str, least: int, most: int) -> int:
    """The value, where it is a whole number from `least` to `most`; else raises ValueError that names the field."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{field} is {shown(value)}: it has to be a whole number from {least} to {most}")
    return value


def texts(value: Any, field: str, most: int = 10_000) -> tuple[str, ...]:
    """The value, where it is a list of texts of at most `most` characters each; else raises ValueError."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{field} is {shown(value)}: it has to be a list of texts")
    for number, one in enumerate(value):
        if not isinstance(one, str) or len(one) > most:
            raise ValueError(f"{field}[{number}] is {shown(one)}: it has to be a text of at most {most:,} characters")
    return tuple(value)
