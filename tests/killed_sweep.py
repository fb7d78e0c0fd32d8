"""The proof that a sweep survives being killed: real runs on Emoji; its launcher is killed, then one of its runs.

    python tests/killed_sweep.py /tmp/killed                             # two to four minutes on two cores
    python tests/killed_sweep.py /tmp/killed --engine ray --workers 2    # needs Ray

Starts tools/sweep.py with --datasets emoji --trainers ZeroshotCLIP CoOp MaPLe PromptSRC PromptKD --seeds 1 2 3 and runs
of one epoch and one image a class, kills it (SIGKILL) once a run is done and others run, starts it again, kills a run
of that one, and checks at the end that every run is done, by as few starts as can be, and that the tables came.
tests/sweep/test_sweep.py does the same with a smaller plan. Linux: it looks for the runs in /proc.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from promptkd.results import search

ROOT = Path(__file__).resolve().parents[1]
PLAN = ["--datasets", "emoji", "--trainers", "ZeroshotCLIP", "CoOp", "MaPLe", "PromptSRC", "PromptKD"]
PLAN += ["--seeds", "1", "2", "3"]
SHORT = ["--shots", "1", "--set", "OPTIM.MAX_EPOCH", "1", "TEACHER.OPTIM.MAX_EPOCH", "1"]


def workers(output: Path) -> dict[int, Path]:
    """Process -> directory of every run of train.py under a folder."""
    running = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has just ended
            continue
        if str(ROOT / "train.py") in words[:3] and "--output-dir" in words:
            directory = Path(words[words.index("--output-dir") + 1])
            if directory.is_relative_to(output):
                running[int(path.parent.name)] = directory
    return running


def starts(directory: Path) -> int:
    """How often a run was started, from its log."""
    return len(re.findall(r"^---- .* attempt \d+: ", (directory / "run.log").read_text(), re.MULTILINE))


def prove(output: Path, words: list[str]) -> str:
    """Runs the sweep with both deaths; returns what the last launcher printed.

    Raises:
        AssertionError: what it must show does not hold.
    """
    output = output.absolute()
    command = [sys.executable, str(ROOT / "tools/sweep.py"), *words, "--output", str(output)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as launcher:
        while not (workers(output) and any(output.rglob("results.json"))):
            assert launcher.poll() is None, "the sweep ended before it could be killed"
            time.sleep(0.05)
        launcher.kill()
    ray = "ray" in words
    while ray and workers(output):  # they die with it, if not at once
        time.sleep(2.0)
    orphans = set(workers(output).values())
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as launcher:
        # One that has loaded everything and begun; what the first launcher left running is not this one's.
        new = {}
        while not new:
            assert launcher.poll() is None, "the sweep ended before a run of it could be killed"
            time.sleep(0.05)
            running = workers(output).items()
            new = {pid: place for pid, place in running if place not in orphans and (place / "config.yaml").exists()}
        pid, killed = max(new.items())
        os.kill(pid, signal.SIGKILL)
        printed, _ = launcher.communicate()
    print(printed)
    assert launcher.returncode == 0, f"exit code {launcher.returncode}"
    planned = re.search(r"^(\d+) runs: ", printed, re.MULTILINE)
    runs, left_out = search.find(output)
    assert planned and len(runs) == int(planned[1]) and not left_out, f"{len(runs)} results, {left_out}"
    assert f"{planned[1]} runs: {planned[1]} done" in printed
    assert re.search(f"started again: {re.escape(str(killed.relative_to(output)))}, .*SIGKILL", printed)
    for run in runs:
        place = run.path.parent
        # What Ray ran dies with the first launcher, run by run: its worker may start one again before it dies too.
        allowed = 1 + (place == killed) + 2 * ray
        assert starts(place) <= allowed, f"{place} was started {starts(place)} times"
    assert printed.rindex("base2new, inductive") > printed.rindex("started again:"), "the tables come last"
    return printed


def main() -> None:
    """The command line; what it does not know is for the sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="a new folder")
    args, words = parser.parse_known_args()
    if args.output.exists():
        parser.error(f"{args.output} exists: name a new folder")
    prove(args.output, [*PLAN, *SHORT, *(words or ["--workers", "2"])])
    print("\nevery run is done, once")


if __name__ == "__main__":
    main()
