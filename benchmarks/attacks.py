"""Times a training step on attacked images against the arithmetic that it needs.

    python -m benchmarks.attacks                                  # real sizes: AdvIVLP on ViT-B/16
    python -m benchmarks.attacks --sizes small --steps 1 3 10

A step with k attack steps needs k passes of the images forward and back to the pixels, whose texts are encoded once,
and one step of IVLP. The floor is that over the rate of a matrix product, which takes turns with the steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor
from torch.nn import functional as F

from benchmarks.ours import SIZES, Bench, names_of
from benchmarks.steps import training_step
from benchmarks.timing import CLOCKS, operations, take_turns
from promptkd.engine.batch import Batch
from promptkd.model.allocation import keep_freed_memory
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompting import shape_of
from promptkd.model.spec import PromptSpec
from promptkd.trainers.advivlp import AdvIVLP, AdvIVLPOptions


def steps(
    model: PromptedClip, names: Sequence[str], counts: Sequence[int]
) -> dict[int, Callable[[Tensor, Tensor], Tensor]]:
    """Number of attack steps -> AdvIVLP's loss of a batch; 0: IVLP's, without attack."""

    def attacked(count: int) -> Callable[[Tensor, Tensor], Tensor]:
        self: Any = SimpleNamespace(options=AdvIVLPOptions(steps=count), task=SimpleNamespace(classnames=names))
        return lambda images, labels: AdvIVLP.losses(self, model, Batch(images, labels, labels))["loss_adv"]

    def plain(images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(model.logits(images, model.text_features(names)), labels)

    return {0: plain} | {count: attacked(count) for count in counts}


def needed(model: PromptedClip, images: Tensor, labels: Tensor, names: Sequence[str]) -> int:
    """Operations of one attack step: the images forward, and back to the pixels, of fixed texts."""
    with torch.no_grad():
        text = model.text_features(names)

    def once() -> None:
        pixels = images.clone().requires_grad_(True)
        F.cross_entropy(model.logits(pixels, text), labels).backward()

    model.prompts.requires_grad_(False)
    try:
        return operations(once)
    finally:
        model.prompts.requires_grad_(True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sizes", choices=list(SIZES), default="real")
    p.add_argument("--classes", type=int, default=10)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--steps", type=int, nargs="+", default=[2, 3])
    p.add_argument("--device", default="cpu")
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--clock", default="wall", choices=CLOCKS, help="cpu: seconds of the processor, in one thread")
    args = p.parse_args(argv)
    if args.clock == "cpu":
        torch.set_num_threads(1)  # threads that wait for each other spend the processor's time, too
    keep_freed_memory()  # as a run does
    device = torch.device(args.device)
    bench, names = Bench(args.sizes, device), names_of(args.classes)
    shape = shape_of(bench.clip)
    depth = min(9, shape.text_layers, shape.vision_layers)
    spec = PromptSpec(n_text=2, depth_text=depth, n_vision=2, depth_vision=depth, phrase="a photo of a")
    model = PromptedClip(bench.clip, spec, bench.precision)
    images = torch.randn(args.batch, 3, bench.image_size, bench.image_size, device=device)
    labels = torch.arange(args.batch, device=device) % args.classes
    losses = steps(model, names, args.steps)
    works = {str(count): training_step(loss, model.prompts, images, labels) for count, loss in losses.items()}
    times = take_turns(works, device, args.repeats, 120, torch.float32, clock=CLOCKS[args.clock])
    base, each = operations(works["0"]), needed(model, images, labels, names)
    rows = []
    for count in losses:
        floor, seconds = (base + count * each) / times.rate, times.seconds[str(count)]
        rows.append([count, seconds, floor, seconds / floor])
    print(tabulate(rows, headers=["attack steps", "step s", "floor s", "ratio"], floatfmt=".3f"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
