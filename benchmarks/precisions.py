"""Times a training step in each of several precisions and as published, in turns in one process, on the CPU.

    python -m benchmarks.precisions                             # real sizes: ViT-L/14 teacher, ViT-B/16 student
    python -m benchmarks.precisions --sizes small --repeats 1

The published step is in float32 alone: its half precision is for GPUs. Each of ours is compared with its own floor, the
same arithmetic at the rate of a matrix product in its own type. All have the same random weights, and losses that agree
to rounding, which is checked. On a machine that other programs use, `--clock cpu` counts the processor's seconds.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
from collections.abc import Sequence
from typing import Any

import torch
from tabulate import tabulate

from benchmarks.ours import METHODS, SIZES, Bench
from benchmarks.steps import training_step
from benchmarks.timing import CLOCKS, operations, take_turns
from promptkd.files import write_json
from promptkd.model.allocation import keep_freed_memory
from promptkd.model.native_bf16 import bf16_gain

CPU = torch.device("cpu")


def measure(benches: dict[str, Bench], name: str, args: argparse.Namespace) -> dict[str, Any]:
    """One row: seconds as published, and in each precision seconds and floor."""
    size = next(iter(benches.values())).image_size
    images, labels = torch.randn(args.batch, 3, size, size), torch.randint(args.classes, (args.batch,))
    works, values, wholes = {}, {}, {}
    for precision, bench in benches.items():
        torch.manual_seed(1)  # the same prompts, and the same teacher
        method = bench.method(name, args.classes, images)
        sides = {precision: method.ours[0]} | ({"published": method.published[0]} if precision == "fp32" else {})
        for side, loss in sides.items():
            values[side] = loss(images, labels).item()
            works[side] = training_step(loss, method.prompts, images, labels)
        wholes[precision] = works[precision]
    if max(values.values()) - min(values.values()) > 0.1 * abs(values["published"]):
        raise RuntimeError(f"different losses are computed: {values}")
    gc.collect()
    types = [bench.compute for bench in benches.values()]
    times = take_turns(works, CPU, args.repeats, args.limit_seconds, *types, clock=CLOCKS[args.clock])
    row: dict[str, Any] = {"method": name, "classes": args.classes, "batch": args.batch} | times.seconds
    row |= {f"{side}_repeats": number for side, number in times.repeats.items()}
    for precision, step in wholes.items():
        rate = times.rates[benches[precision].compute]
        row |= {f"{precision}_rate": rate, f"{precision}_floor": operations(step) / rate}
    return row


def table(rows: Sequence[dict[str, Any]], precisions: Sequence[str]) -> str:
    """A row for each method and precision: seconds and ratios."""
    shown = []
    for row in rows:
        for name in precisions:
            seconds, floor = row[name], row[f"{name}_floor"]
            numbers = [f"{value:.2f}" for value in (row["published"], seconds, floor)]
            ratios = [f"{row['published'] / seconds:.2f}", f"{seconds / floor:.2f}", f"{row[f'{name}_rate'] / 1e9:.0f}"]
            shown.append([row["method"], name, *numbers, *ratios])
    heads = ["method", "ours in", "published s", "ours s", "floor s", "published/ours", "ours/floor", "GFLOP/s"]
    return tabulate(shown, headers=heads, disable_numparse=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit code."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16", "amp"])
    p.add_argument("--sizes", default="real", choices=sorted(SIZES))
    p.add_argument("--methods", nargs="+", default=list(METHODS[:2]), choices=METHODS, metavar="METHOD")
    p.add_argument("--classes", type=int, default=10)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--limit-seconds", type=float, default=60.0, help="a warm-up that takes longer is the only run")
    p.add_argument("--clock", default="wall", choices=CLOCKS, help="cpu: seconds of the processor, in one thread")
    p.add_argument("--json", default="", help="a file for the rows, too")
    args = p.parse_args(argv)
    names = list(dict.fromkeys(["fp32", *args.precisions]))  # the published step has the weights of float32
    if args.clock == "cpu":
        torch.set_num_threads(1)  # threads that wait for each other spend the processor's time, too
    keep_freed_memory()  # as a run does; the published side gains by it, too
    benches = {name: Bench(args.sizes, CPU, name) for name in names}
    where: dict[str, Any] = {
        "clock": args.clock,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "gain": round(bf16_gain(), 2),
    }
    where["capability"] = torch.backends.cpu.get_cpu_capability()
    print(", ".join(f"{key} {value}" for key, value in where.items()), flush=True)
    rows = [measure(benches, name, args) for name in args.methods]
    print(table(rows, names))
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
    if args.json:
        write_json(args.json, where | {"command": sys.argv[1:], "rows": rows}, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
