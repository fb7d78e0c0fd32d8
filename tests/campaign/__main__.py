"""Tries damaged files, wrong numbers, full disks, Ctrl-C and kill -9 on this project, and counts what happens.

    python -m tests.campaign                    # all kinds, about 10 minutes on two cores; writes docs/reliability.md
    python -m tests.campaign --quick            # a case or two of each kind, without torchrun and sweeps; half a minute
    python -m tests.campaign --kinds "Ctrl-C" "kill -9: PromptSRC" --no-page

Each case runs in a process of its own (forked from one in which everything is loaded), with limits of time and memory.
The exit code is 1 where a case ended otherwise than it must; each such case is printed with its detail.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from campaign.bench import Bench  # noqa: E402
from campaign.cases import KINDS_OF_END, Tally, run_case  # noqa: E402
from campaign.kills import KILLS  # noqa: E402
from campaign.kinds import KINDS  # noqa: E402
from campaign.reads import through_readers  # noqa: E402

from promptkd.home import ROOT  # noqa: E402

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- campaign -->", "<!-- end of campaign -->"
READERS = "all formats, through their readers"
SLOW = ("kill -9: a sweep", "kill -9: torchrun with two processes")


def run(bench: Bench, names: Sequence[str], kills: int) -> dict[str, Tally]:
    """Runs kinds of case; name -> how they ended."""
    import torch

    torch.set_num_threads(1)
    tallies = {}
    for name in names:
        tally, start = tallies.setdefault(name, Tally()), time.monotonic()
        if name == READERS:
            through_readers(bench, tally)
        elif name in KILLS:
            KILLS[name](bench, tally, kills)
        else:
            for case in KINDS[name](bench):
                run_case(case, tally, bench.folder)
        print(f"{name}: {sum(tally.ends.values())} cases in {time.monotonic() - start:.0f} s", flush=True)
        print(table({name: tally}).splitlines()[-1], flush=True)  # what a campaign that is stopped has shown
        for fault in tally.faults:
            print(f"  {fault}", flush=True)
    return tallies


def table(tallies: dict[str, Tally]) -> str:
    """The counts as a table in Markdown."""
    heads = ["kind", "cases", *KINDS_OF_END, "highest memory, MiB", "slowest, s"]
    rows = []
    for name, tally in tallies.items():
        counts = [str(tally.ends[end]) for end in KINDS_OF_END]
        rows.append([name, str(sum(tally.ends.values())), *counts, f"{tally.memory:.0f}", f"{tally.slowest:.1f}"])
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_page(text: str) -> None:
    """Puts the table into docs/reliability.md, between its marks."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few cases, and no page")
    parser.add_argument("--kinds", nargs="+", default=[], choices=[READERS, *KINDS, *KILLS], metavar="KIND")
    parser.add_argument("--kills", type=int, default=20, help="of each kind of kill -9")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-page", action="store_true", help="print the table alone")
    args = parser.parse_args(argv)
    names = args.kinds or [name for name in (READERS, *KINDS, *KILLS) if not (args.quick and name in SLOW)]
    folder, start = Path(tempfile.mkdtemp(prefix="campaign-")), time.monotonic()
    try:
        bench = Bench(folder, 0.01 if args.quick else 1.0, args.seed)
        tallies = run(bench, names, 1 if args.quick else args.kills)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = table(tallies)
    print(f"\n{text}\n\n{time.monotonic() - start:.0f} s")
    if not (args.quick or args.no_page or args.kinds):
        write_page(text)
    return int(any(tally.faults for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
