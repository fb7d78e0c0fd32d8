"""Files changed at random from a fixed seed, and what reading each of them costs."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
import signal
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

ODD_VALUES = [
    None, True, False, 0, -1, 3, 2**31, 2**63, 10**30, 1.5, -0.0, 1e308, "", "x", "../../up", "\x1b[31m\u202e",
    "9" * 500, [], [[]], {}, {"x": 1}, ["a"] * 500, "long " * 20_000, float("inf"), float("nan"), [0] * 2000,
]  # fmt: skip


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """A copy with bytes flipped, cut, doubled, filled with 255 or 0, or inserted."""
    content = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        start = rng.randrange(len(content) or 1)
        length = rng.choice([1, 1, 4, 8, 100])
        kind = rng.randrange(6)
        if kind == 0 and content:
            content[start] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del content[start:]
        elif kind == 2:
            content[start : start + length] = rng.choice([b"\xff", b"\x00", b"\x7f"]) * length
        elif kind == 3:
            content[start:start] = content[start : start + length]
        elif kind == 4:
            content[start:start] = rng.randbytes(length)
        else:
            del content[start : start + length]
    return bytes(content)


def changed_value(value: Any, rng: random.Random) -> Any:
    """A copy of nested lists and mappings with one or more entries removed, retyped, renamed, nested or huge."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 1, 3])):
        places = list(_places(value))
        if not places:
            return copy.deepcopy(rng.choice(ODD_VALUES))
        holder, key = rng.choice(places)
        kind = rng.randrange(6)
        if kind == 0:
            del holder[key]
        elif kind <= 2:
            holder[key] = copy.deepcopy(rng.choice(ODD_VALUES))
        elif kind == 3:
            for _ in range(rng.choice([1, 30, 300])):
                holder[key] = [holder[key]]
        elif kind == 4 and isinstance(holder, dict):
            holder[rng.choice(["other", "", "x" * 3000, str(key).lower()])] = holder.pop(key)
        elif isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
            holder[key] = holder[key] * rng.choice([-1, 10**9, 10**18, 0.5])
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


def json_of(value: Any) -> bytes:
    return json.dumps(value).encode()


def yaml_of(value: Any) -> bytes:
    try:
        return yaml.safe_dump(value).encode()
    except RecursionError:  # PyYAML's writer is no match for its reader; JSON is YAML, too
        return json_of(value)


def changed_safetensors(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file whose header is changed, and stays JSON of the length that it claims; or any bytes."""
    if rng.random() < 0.4:
        return changed_bytes(data, rng)
    (length,) = struct.unpack("<Q", data[:8])
    header = json_of(changed_value(json.loads(data[8 : 8 + length]), rng))
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def changed_archive(data: bytes, rng: random.Random) -> bytes:
    """A zip archive with a file that is changed, and whose checksums are good; or any bytes."""
    if rng.random() < 0.3:
        return changed_bytes(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    pickles = [name for name in files if name.endswith("data.pkl")]
    name = rng.choice([*pickles * 8, *files])
    kind = rng.randrange(8)
    if kind == 0:
        del files[name]
    elif kind == 1:
        files[name] = rng.choice([b"", b"\0" * 10_000_000, files[name] * 3])
    else:
        files[name] = changed_bytes(files[name], rng)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def _memory(field: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most since `_forget_most`."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith(field)))


def _forget_most() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _stop(*_: Any) -> None:
    raise AssertionError("it took 10 s")


def cost(read: Callable[[], Any]) -> tuple[Exception | None, float, int]:
    """What reading a file raised, its seconds, and the bytes by which memory grew at most meanwhile."""
    before = _memory("VmRSS")
    _forget_most()
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(10)
    start, raised = time.perf_counter(), None
    try:
        read()
    except Exception as error:
        raised = error
    finally:
        signal.alarm(0)
    return raised, time.perf_counter() - start, _memory("VmHWM") - before
