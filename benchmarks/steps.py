"""Times a training step and an evaluation, ours and as published, side by side in one process, and against the floor.

    python -m benchmarks.steps                                   # real sizes: ViT-L/14 teacher, ViT-B/16 student
    python -m benchmarks.steps --device cuda --precision fp16 --json steps.json
    python -m benchmarks.steps --sizes small --classes 10 --batch 8

The floor is the arithmetic that the exact method needs (the operations of our own step, with nothing computed twice)
over the rate of a matrix product. The two sides and that product take turns, so that a machine whose speed drifts does
not move the ratios. Weights are random; both sides share them and compute the same loss, which is checked. An
evaluation is that of 1,000 images in batches of `--batch`. `kept` is what a training step keeps for its backward pass,
`peak` what the device holds at most. A published step that would not fit --limit-gb is not run, and its row says so; of
a step whose first run takes longer than --limit-seconds that run counts.
"""

from __future__ import annotations

import argparse
import gc
import platform
import resource
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import open_clip
import torch
from tabulate import tabulate
from torch import Tensor, nn

from benchmarks.ours import METHODS, SIZES, Bench, Method
from benchmarks.timing import kept_bytes, operations, seconds_of, take_turns
from promptkd.files import write_json
from promptkd.model.allocation import keep_freed_memory
from promptkd.model.memory import free_memory
from promptkd.model.prompting import shape_of

KEPT_BY_PUBLISHED = 22  # numbers a channel that a block keeps of a token: a rough bound, to refuse what cannot fit
EVALUATED = 1000  # images


def training_step(loss: Callable[[Tensor, Tensor], Tensor], prompts: nn.Module, images: Tensor, labels: Tensor) -> Any:
    """One step of SGD as a call without arguments; the learned tensors stay where they are (a learning rate of 0)."""
    optimizer = torch.optim.SGD(prompts.parameters(), lr=0.0, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(images, labels).backward()
        optimizer.step()

    return step


def evaluation(classify: Callable[[Tensor], Tensor], images: Tensor) -> Any:
    """A test batch as a call without arguments."""

    @torch.no_grad()
    def batch() -> None:
        classify(images)

    return batch


def cannot_fit(bench: Bench, name: str, count: int, batch: int, limit: float) -> str:
    """Why the published step is not run, "" where it may be."""
    if name.startswith("PromptKD"):
        return ""
    shape = shape_of(bench.clip)
    texts = count * (batch if name == "CoCoOp" else 1)
    size = 4 if bench.precision.compute is None else 2
    need = texts * 77 * shape.text_width * shape.text_layers * KEPT_BY_PUBLISHED * size / 2**30
    return f"does not fit: keeps about {need:.0f} GiB" if need > limit else ""


def measure(bench: Bench, name: str, count: int, batch: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of one method, class count and batch size: training and evaluation."""
    device, size = bench.device, bench.image_size
    images = torch.randn(batch, 3, size, size, device=device)
    labels = torch.randint(count, (batch,), device=device)
    method = bench.method(name, count, images)
    known = nn.ModuleList([bench.clip, *([bench.teacher_clip] if name.startswith("PromptKD") else [])])
    common = {"method": name, "classes": count, "batch": batch, "device": args.device, "precision": args.precision}
    why, rows = "not timed" if args.ours_only else cannot_fit(bench, name, count, batch, args.limit_gb), []
    if "train" in args.parts:
        fits = name.startswith("PromptKD") or whole_fits(bench, name, count, (images, labels), args.limit_gb)
        found = compare(method, known, (images, labels), why, args, bench.compute, fits)
        rows.append(common | {"part": "train"} | found)
    if "eval" in args.parts and name != "PromptKD cached":
        rows.append(common | {"part": "eval of 1,000"} | compare_evaluation(method, images, args, bench.compute))
    return rows


def compare(
    method: Method,
    known: nn.Module,
    batch: tuple[Tensor, Tensor],
    why: str,
    args: argparse.Namespace,
    dtype: torch.dtype,
    whole_fits: bool,
) -> dict[str, Any]:
    """Seconds, bytes and ratios of a training step; the floor only where its whole text fits."""
    sides = {"ours": method.ours[0]} | ({} if why else {"published": method.published[0]})
    works = {side: training_step(loss, method.prompts, *batch) for side, loss in sides.items()}
    device = batch[0].device
    times = take_turns(works, device, args.repeats, args.limit_seconds, dtype)
    row: dict[str, Any] = {"published": why, "rate": times.rate} | times.seconds
    values: dict[str, float] = {}

    def noted(side: str) -> Tensor:
        loss = sides[side](*batch)
        values[side] = loss.item()
        return loss

    for side in sides:
        gc.collect()
        row[f"{side}_repeats"] = times.repeats[side]
        row[f"{side}_kept"] = kept_bytes(partial(noted, side), known)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            works[side]()
            row[f"{side}_peak"] = torch.cuda.max_memory_allocated(device)
    bound = 0.02 if dtype is torch.float32 else 0.1  # of half precision on both sides, of random weights
    if "published" in values and not abs(values["ours"] - values["published"]) <= bound * abs(values["published"]):
        raise RuntimeError(f"the two sides compute different losses: {values}")
    if whole_fits:
        method.prompts.text_chunk, kept = -1, method.prompts.text_chunk  # the floor computes nothing twice
        row["floor"] = operations(works["ours"]) / times.rate
        method.prompts.text_chunk = kept
    return row


def whole_fits(bench: Bench, name: str, count: int, batch: tuple[Tensor, Tensor], limit: float) -> bool:
    """Whether a step that encodes all texts at once, which the floor counts, keeps less than `limit` GiB.

    What the text keeps grows with the classes: measured with a tenth of them.
    """
    few = max(1, count // 10)
    method = bench.method(name, few, batch[0])
    method.prompts.text_chunk = -1
    known = nn.ModuleList([bench.clip])
    kept = kept_bytes(lambda: method.ours[0](batch[0], batch[1] % few), known)
    return kept * count / few < limit * 2**30


def compare_evaluation(method: Method, images: Tensor, args: argparse.Namespace, dtype: torch.dtype) -> dict[str, Any]:
    """Seconds of 1,000 images: class vectors are made once, the rest for each batch."""
    count, device = EVALUATED / len(images), images.device
    works = {"ours": evaluation(method.ours[1], images)}
    first = seconds_of(works["ours"], device)  # makes the class vectors
    if not args.ours_only:
        works["published"] = evaluation(method.published[1], images)
    times = take_turns(works, device, args.repeats, args.limit_seconds, dtype)
    row: dict[str, Any] = {"published": "not timed", "rate": times.rate}
    row |= {side: count * seconds for side, seconds in times.seconds.items()}
    row |= {f"{side}_repeats": number for side, number in times.repeats.items()}
    row["ours"] += max(first - times.seconds["ours"], 0.0)
    return row | {"floor": count * operations(works["ours"]) / times.rate}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows for people: seconds, ratios, and memory in MiB."""

    def ratio(row: dict[str, Any], above: str, below: str) -> str:
        numbers = isinstance(row.get(above), float) and isinstance(row.get(below), float)
        return f"{row[above] / row[below]:.2f}" if numbers else ""

    def seconds(value: Any) -> Any:
        return f"{value:.3f}" if isinstance(value, float) else value

    shown = []
    for row in rows:
        memory = [f"{row[key] / 2**20:.0f}" if key in row else "" for key in ("published_kept", "ours_kept")]
        peak = [f"{row[key] / 2**20:.0f}" if key in row else "" for key in ("published_peak", "ours_peak")]
        times = [seconds(row.get(key, "")) for key in ("published", "ours", "floor")]
        ratios = [ratio(row, "published", "ours"), ratio(row, "ours", "floor")]
        who = [row[key] for key in ("method", "part", "classes", "batch")]
        speed = [f"{row['rate'] / 1e9:.0f}"]
        shown.append(who + times + ratios + speed + memory + (peak if any(peak) else []))
    heads = ["method", "part", "classes", "batch", "published s", "ours s", "floor s", "published/ours", "ours/floor"]
    heads += ["GFLOP/s", "published kept MiB", "ours kept MiB", "published peak MiB", "ours peak MiB"]
    return tabulate(shown, headers=heads[: max(len(row) for row in shown)], disable_numparse=True)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cpu")
    p.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16", "amp"])
    p.add_argument("--sizes", default="real", choices=sorted(SIZES))
    p.add_argument("--backbone", default="", help="open_clip's name of another student, as ViT-L-14")
    p.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS, metavar="METHOD")
    p.add_argument("--parts", nargs="+", default=["train", "eval"], choices=["train", "eval"])
    p.add_argument("--classes", nargs="+", type=int, default=[10, 100, 1000])
    p.add_argument("--batch", nargs="+", type=int, default=[8, 64])
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--limit-seconds", type=float, default=60.0, help="a warm-up that takes longer is the only run")
    p.add_argument("--limit-gb", type=float, default=0.0, help="GiB for the published step; 0: 0.7 of what is free")
    p.add_argument("--ours-only", action="store_true", help="leave the published side out")
    p.add_argument("--json", default="", help="a file for the rows, too")
    return p.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit code."""
    args = parse(argv)
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("error: --device cuda, but PyTorch sees no GPU here; leave it out", file=sys.stderr)
        return 1
    args.limit_gb = args.limit_gb or 0.7 * (free_memory(device) or 2**34) / 2**30
    if device.type == "cpu":
        keep_freed_memory()  # as a run does; the published side gains by it, too
    bench = Bench(args.sizes, device, args.precision, args.backbone)
    model = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    where = {"device": model, "threads": torch.get_num_threads(), "torch": torch.__version__}
    where |= {"open_clip": open_clip.__version__, "teacher": bench.teacher_name, "student": bench.name}
    print(", ".join(f"{key} {value}" for key, value in where.items()))
    rows: list[dict[str, Any]] = []
    for name in args.methods:
        for count in args.classes:
            for batch in args.batch:
                rows += measure(bench, name, count, batch, args)
                print(f"done: {name}, {count} classes, batch {batch}", file=sys.stderr, flush=True)
    print(table(rows))
    if device.type == "cpu":  # kilobytes on Linux
        print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
    if args.json:
        content = where | {"command": sys.argv[1:], "rows": rows}
        write_json(args.json, content, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
