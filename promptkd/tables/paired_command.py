"""Whether one method is better than another, on the same test images and seeds.

    promptkd paired output/base2new/emoji/shots_all/PromptKD/mini output/base2new/emoji/shots_all/PromptKD/mini_plus
    promptkd paired output output --where trainer=PromptKD --and trainer=AdvPromptKD

Each folder holds the runs of one method (or --where and --and choose them). Runs are paired by data set and seed, and
their predictions image by image. The interval is a bootstrap over seeds and images: where 0 is outside it, the
difference is more than another seed or other test images of the same data set would make.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence

from promptkd.home import expanded
from promptkd.results import search
from promptkd.texts import one_line


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("first", type=expanded, help="folder with the runs of one method")
    p.add_argument("second", type=expanded, help="folder with the runs of the other")
    p.add_argument("--where", nargs="+", default=[], metavar="KEY=VALUE", help="only these runs of the first")
    p.add_argument("--and", nargs="+", default=[], metavar="KEY=VALUE", dest="other", help="and these of the second")
    p.add_argument("--samples", type=int, default=10_000, help="draws of the bootstrap")
    p.add_argument("--level", type=float, default=0.95, help="of the interval")
    return p


def command_line(argv: Sequence[str] | None = None) -> int:
    """Prints the differences as a table; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        print(_table(args))
    except (OSError, ValueError, csv.Error) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _table(args: argparse.Namespace) -> str:
    from tabulate import tabulate

    from promptkd.tables.paired import differences

    if not 100 <= args.samples <= 1_000_000:
        raise ValueError(f"--samples {args.samples}: give 100 to 1,000,000")
    if not 0 < args.level < 1:
        raise ValueError(f"--level {args.level:g}: give a share between 0 and 1, as 0.95")
    sides = []
    for folder, conditions in ((args.first, args.where), (args.second, args.other)):
        runs, left_out = search.find(folder)
        for one in left_out:
            print(f"left out: {one_line(one)}", file=sys.stderr)
        sides.append(search.where(runs, conditions))
    if any(one.record.transductive != other.record.transductive for one in sides[0] for other in sides[1]):
        print("One of the two is transductive: it learned from images of the classes under test.", file=sys.stderr)
    rows = [
        [one.dataset, one.group, one.first, one.second, one.value, f"{one.low:+.2f} .. {one.high:+.2f}"]
        + [one.seeds, one.images]
        for one in differences(sides[0], sides[1], args.samples, args.level)
    ]
    heads = [
        "data set",
        "group",
        "first",
        "second",
        "difference",
        f"{100 * args.level:g} % interval",
        "seeds",
        "images",
    ]
    return tabulate(rows, headers=heads, floatfmt=("", "", ".2f", ".2f", "+.2f"))
