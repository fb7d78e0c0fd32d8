"""Damage to files, from a fixed seed: bytes flipped and cut, fields of a document removed, retyped, nested and huge."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

STRANGE: list[Any] = [
    None, True, -1, 0, 2**63, 10**400, float("nan"), float("inf"), "", "\x1b[2J", "a\nb", "../../x", "x" * 100_000, [],
    {}, [[]], {"": None}, ["\u202e"], "=1+1", -0.5,
]  # fmt: skip


def of_bytes(content: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """(what was done, damaged content), `count` of them."""
    rng = random.Random(seed)
    fixed = [("empty", b""), ("zeros", bytes(len(content))), ("doubled", content * 2), ("text", b"<!doctype html>\n")]
    yield from fixed[:count]
    for number in range(max(0, count - len(fixed))):
        kind = number % 4
        if kind == 0:
            end = rng.randrange(len(content))
            yield f"cut at {end}", content[:end]
        elif kind == 1:
            changed = bytearray(content)
            places = [rng.randrange(len(content)) for _ in range(rng.choice((1, 8, 64)))]
            for place in places:
                changed[place] ^= 1 << rng.randrange(8)
            yield f"{len(places)} bits from {places[0]}", bytes(changed)
        elif kind == 2:
            start = rng.randrange(len(content))
            size = rng.choice((1, 8, 512))
            yield f"{size} bytes of 255 at {start}", content[:start] + b"\xff" * size + content[start + size :]
        else:
            start, size = rng.randrange(len(content)), rng.choice((4, 100))
            yield f"without {size} bytes at {start}", content[:start] + content[start + size :]


def of_document(value: Any, count: int, seed: int) -> Iterator[tuple[str, Any]]:
    """(what was done, damaged value) of nested dictionaries and lists, `count` of them."""
    rng, paths = random.Random(seed), list(_paths(value))
    for _ in range(count):
        changed = copy.deepcopy(value)
        path = rng.choice(paths)
        parent = changed
        for key in path[:-1]:
            parent = parent[key]
        where = ".".join(map(str, path))
        if rng.random() < 0.25:
            del parent[path[-1]]
            yield f"without {where}", changed
            continue
        strange = rng.choice([*STRANGE, "nested"])
        parent[path[-1]] = _nested(200) if strange == "nested" else copy.deepcopy(strange)
        yield f"{where} is {json.dumps(strange)[:40]}", changed


def _paths(value: Any, before: tuple = ()) -> Iterator[tuple]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in pairs:
        yield (*before, key)
        yield from _paths(part, (*before, key))


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value
