"""One case of the campaign, run in a process of its own with limits, and what counts of its end."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

KINDS_OF_END = ("one line", "handled", "traceback", "hang", "accepted", "wrong")
ADDRESS_SPACE = 12 * 2**30  # bytes; what asks for more than this fails


@dataclass(frozen=True)
class Case:
    """An action with its files in place.

    Attributes:
        name: what was done to what.
        action: run in a process of its own; returns an exit code, and prints what a command prints.
        refused: whether exit code 0 is a fault ("accepted"); else it is "handled".
        check: after the end: a sentence on what is wrong, "" for nothing.
        seconds: after which it counts as a hang.
        interrupt: seconds after which the process gets a SIGINT; 0 for none.
        lines: whether its end is one line; False for a command that shows the end of another one's output, too.
    """

    name: str
    action: Callable[[], int]
    refused: bool = True
    check: Callable[[str, str], str] = lambda out, err: ""
    seconds: float = 60.0
    interrupt: float = 0.0
    lines: bool = True


@dataclass
class Tally:
    """How the cases of a kind ended."""

    ends: Counter[str] = field(default_factory=Counter)
    memory: float = 0.0  # MiB above that of a process in which everything is loaded
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)

    def add(self, name: str, end: str, detail: str = "", memory: float = 0.0, seconds: float = 0.0) -> None:
        """Counts one end; what is not as it must be is kept with its detail."""
        self.ends[end] += 1
        self.memory, self.slowest = max(self.memory, memory), max(self.slowest, seconds)
        if end not in KINDS_OF_END[:2]:
            self.faults.append(f"{name}: {end}: {' '.join(detail.split())[-600:]}")


def run_case(case: Case, tally: Tally, scratch: Path) -> None:
    """Runs a case in a forked process and counts its end."""
    outputs = [scratch / "out", scratch / "err"]
    start, resident = time.monotonic(), scratch / "resident"
    pid = os.fork()
    if pid == 0:
        resident.write_text(str(_resident()))  # a forked process begins with fewer pages than the one it came from
        _child(case, outputs)
    status, most = _wait(pid, case, start)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # what it left running
    out, err = (path.read_text(errors="replace") for path in outputs)
    end, detail = _judge(case, status, out, err)
    before = float(resident.read_text())
    tally.add(case.name, end, detail, max(0.0, most - before), time.monotonic() - start)


def _child(case: Case, outputs: list[Path]) -> None:
    os.setsid()
    for number, path in zip((1, 2), outputs, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 99
    try:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        code = case.action()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def _wait(pid: int, case: Case, start: float) -> tuple[int | None, float]:
    """Exit code, None for a hang, and the highest memory in MiB."""
    interrupted = False
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024
        spent = time.monotonic() - start
        if case.interrupt and spent > case.interrupt and not interrupted:
            with contextlib.suppress(ProcessLookupError):  # it has only just begun
                os.killpg(pid, signal.SIGINT)
                interrupted = True
        if spent > case.seconds:
            os.killpg(pid, signal.SIGKILL)
            _, _, usage = os.wait4(pid, 0)
            return None, usage.ru_maxrss / 1024
        time.sleep(0.005)


def _judge(case: Case, code: int | None, out: str, err: str) -> tuple[str, str]:
    """(end, detail) of a case."""
    if code is None:
        return "hang", err or out
    if "Traceback (most recent call last)" in out + err:
        return "traceback", err or out
    if wrong := case.check(out, err):
        return "wrong", wrong
    if code == 0:
        return ("accepted", out) if case.refused else ("handled", "")
    lines = [line for line in err.splitlines() if line.strip() and not line.startswith("left out: ")]
    if code == 130 and case.interrupt:
        return ("one line", "") if len(lines) == 1 else ("wrong", f"{len(lines)} lines: {err}")
    if case.lines and len(lines) != 1:
        return "wrong", f"exit code {code}, {len(lines)} lines: {err}"
    return "one line", ""


def _resident() -> float:
    """Memory of this process, MiB."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024
