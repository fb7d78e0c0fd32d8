"""CPU seconds and peak memory of each command's `--help`, and whether it loads PyTorch.

    python -m benchmarks.startup --repeats 5 --json startup.json
    python -m benchmarks.startup --checkout ../before train.py "-m tools.predict"     # of another version

Each is a fresh process, started as a person starts it; the median of several, after one that fills the system's cache.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from promptkd.files import write_json
from promptkd.home import ROOT

LIMIT = 1.0  # CPU seconds that a `--help` may take
MEMORY = 1 if sys.platform == "darwin" else 1024  # bytes of a unit of ru_maxrss


def commands(checkout: Path) -> list[str]:
    """What is started with --help, as words after `python`: train.py, the tools, and every command of the package."""
    found = ["train.py", *(f"tools/{path.name}" for path in sorted((checkout / "tools").glob("*.py")))]
    if checkout == ROOT:
        from promptkd.__main__ import COMMANDS

        found += ["-m promptkd", *(f"-m promptkd {name}" for name in COMMANDS)]
    return found


def measure(words: Sequence[str], checkout: Path) -> tuple[float, int]:
    """CPU seconds (user and system) and peak memory (bytes) of a process that ends well.

    Raises:
        RuntimeError: it does not; with what it wrote.
    """
    process = subprocess.Popen(words, cwd=checkout, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{shlex.join(words)} ends with {process.returncode}: {errors.strip()[-500:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * MEMORY


def loads_torch(words: Sequence[str], checkout: Path) -> bool:
    """Whether PyTorch is imported on the way."""
    timed = [words[0], "-X", "importtime", *words[1:]]
    done = subprocess.run(timed, cwd=checkout, capture_output=True, text=True, check=True)
    return any(line.rpartition("|")[2].strip() == "torch" for line in done.stderr.splitlines())


def row_of(command: str, checkout: Path, repeats: int) -> dict[str, Any]:
    """The medians of a command's `--help`."""
    words = [sys.executable, *shlex.split(command), "--help"]
    torch = loads_torch(words, checkout)  # also the warm-up
    measured = [measure(words, checkout) for _ in range(repeats)]
    seconds, memory = (statistics.median(column) for column in zip(*measured, strict=True))
    return {"command": f"{command} --help", "cpu_seconds": seconds, "peak_bytes": memory, "loads_torch": torch}


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit code: 1 where a command takes a second or more, or loads PyTorch."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("commands", nargs="*", help='what follows python, as "-m promptkd predict"; default: all')
    p.add_argument("--checkout", type=Path, default=ROOT, help="where they are started")
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--json", default="", help="a file for the rows, too")
    args = p.parse_args(argv)
    checkout = args.checkout.resolve()
    where = {"python": platform.python_version(), "machine": platform.machine(), "cpus": os.cpu_count()}
    print(", ".join(f"{key} {value}" for key, value in where.items()))
    try:
        rows = [row_of(command, checkout, args.repeats) for command in args.commands or commands(checkout)]
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    shown = [
        [
            row["command"],
            f"{row['cpu_seconds']:.2f}",
            f"{row['peak_bytes'] / 2**20:.0f}",
            "yes" if row["loads_torch"] else "no",
        ]
        for row in rows
    ]
    print(tabulate(shown, headers=["command", "CPU s", "peak MiB", "loads torch"], disable_numparse=True))
    if args.json:
        write_json(args.json, where | {"argv": sys.argv[1:], "rows": rows}, indent=2)
    return int(any(row["loads_torch"] or row["cpu_seconds"] >= LIMIT for row in rows))


if __name__ == "__main__":
    sys.exit(main())
