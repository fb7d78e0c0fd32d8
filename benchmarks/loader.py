"""Images per second that the training loader gives, by number of workers: to compare with what a step takes.

    python -m benchmarks.loader --root DATA --dataset imagenet --workers 0 4 8 INPUT.DRAFT 1

The loader is that of a run (order, views, transforms, options of INPUT and DATALOADER); no model is built. The first
pass may read from the disk, the others from the system's cache: both are printed. A trainer says by itself when its GPU
waits for the loader.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice

import PIL
import torch
import torchvision
from torch.utils.data import DataLoader

import train
from dassl.utils import set_random_seed
from promptkd.data.loading import decoding, device_crops, views
from promptkd.engine.task import loaders
from promptkd.errors import describe
from promptkd.home import ROOT


@dataclass(frozen=True)
class Measure:
    """Rates of one number of workers, images/s."""

    workers: int
    images: int  # of a pass
    first: float
    later: float  # median of the other passes


def measure(loader: DataLoader, seed: int, batches: int, passes: int) -> Measure:
    """Times passes over the first batches of an epoch each, from the first request to the last batch.

    Args:
        loader: a seeded one.
        seed: of the order and the views.
        batches: of a pass, at most.
        passes: 2 or more.
    """
    rates, count = [], 0
    for epoch in range(passes):
        views.set_epoch(loader, seed, epoch)
        start = time.perf_counter()
        count = sum(len(batch["img"]) for batch in islice(loader, batches))
        rates.append(count / (time.perf_counter() - start))
    return Measure(loader.num_workers, count, rates[0], statistics.median(rates[1:]))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--root", required=True, help="folder that holds the data sets")
    p.add_argument("--dataset", required=True, help="a file of configs/datasets, as eurosat")
    p.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4])
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--images", type=int, default=4096, help="images of a pass, at most")
    p.add_argument("--passes", type=int, default=3)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--json", action="store_true")
    p.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs of train.py")
    return p


def main(argv: Sequence[str] | None = None) -> list[Measure]:
    """Measures and prints.

    Raises:
        OSError, ValueError: no such data set or option.
    """
    args = parser().parse_args(argv)
    if args.passes < 2:
        raise ValueError(f"--passes {args.passes}: the first may read from the disk, give 2 or more")
    file = ROOT / "configs" / "datasets" / f"{args.dataset}.yaml"
    words = ["--root", args.root, "--seed", str(args.seed), "--dataset-config-file", str(file), *args.opts]
    found = []
    for workers in args.workers:
        own = ["VERBOSE", "False", "DATALOADER.TRAIN_X.BATCH_SIZE", str(args.batch)]
        own += ["DATALOADER.NUM_WORKERS", str(workers)]
        cfg = train.configure(train.parser().parse_args(words + own))
        decoding.check_options(cfg)
        device_crops.check_options(cfg)
        set_random_seed(cfg.SEED)
        _, loader = loaders(cfg)
        found.append(measure(loader, cfg.SEED, max(1, args.images // args.batch), args.passes))
    versions = {"python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__}
    versions["pillow"] = PIL.__version__
    if args.json:
        rows = [asdict(one) for one in found]
        print(json.dumps({"dataset": args.dataset, "batch": args.batch, "loader": rows, "versions": versions}))
        return found
    print(", ".join(f"{name} {version}" for name, version in versions.items()), f"batch {args.batch}", sep=", ")
    for one in found:
        print(f"{one.workers} workers: {one.first:.0f} images/s in the first pass, {one.later:.0f} in later ones")
    return found


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        print(f"error: {describe(error)}", file=sys.stderr)
        sys.exit(1)
