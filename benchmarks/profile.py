"""Where the time of a training step and of a training epoch goes, as published and ours.

    python -m benchmarks.profile step --method PromptKD --classes 100 --batch 8       # real sizes, random weights
    python -m benchmarks.profile epoch                                                # Emoji, the bundled models

Each stage is timed where its function is called, without what it calls that is a stage itself. An epoch is one of
PromptKD's, after a first one: with the published step in the place of ours, with ours, and with ours once a teacher
cache (TEACHER_CACHE views, one view) holds what the teacher says.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor
from torch.optim import SGD

import train
from benchmarks import published
from benchmarks.ours import METHODS, SIZES, Bench
from benchmarks.published import Published
from benchmarks.steps import training_step
from dassl.utils import set_random_seed
from promptkd.data.loading import user_images, views
from promptkd.home import ROOT
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompts import StudentPrompts
from promptkd.results.directory import take_directory
from promptkd.teacher.cache import StoredFeatures
from trainers.promptkd import PromptKD

Label = str | Callable[[Any], str]  # of a stage; or of the object whose method it is
OTHER = "everything else"


class Stages:
    """Seconds by stage: each moment counts for the innermost stage that is running, once."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds, self._running = device, {OTHER: 0.0}, [OTHER]
        self._since = 0.0

    def _charge(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = perf_counter()
        stage = self._running[-1]
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now

    def _timed(self, function: Callable[..., Any], label: Label) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._charge()
            self._running.append(label if isinstance(label, str) else label(args[0]))
            try:
                return function(*args, **kwargs)
            finally:
                self._charge()
                self._running.pop()

        return call

    @contextmanager
    def watching(self, places: Sequence[tuple[Any, str, Label]]) -> Iterator[Stages]:
        """Times the functions that are found under these names of classes and modules."""
        before = [(owner, name, vars(owner)[name]) for owner, name, _ in places]
        for (owner, name, label), (_, _, function) in zip(places, before, strict=True):
            setattr(owner, name, self._timed(function, label))
        self._since = perf_counter()
        try:
            yield self
        finally:
            self._charge()
            for owner, name, function in before:
                setattr(owner, name, function)


def stages_of(teacher: Any) -> list[tuple[Any, str, Label]]:
    """What is timed; `teacher` is the CLIP of a teacher, None where there is none."""

    def role(side: Published | PromptedClip) -> str:
        return "teacher" if side.clip is teacher else "student" if teacher is not None else "learner"

    return [
        (Published, "text", lambda side: f"{role(side)} text, forward"),
        (Published, "image", lambda side: f"{role(side)} images, forward"),
        (PromptedClip, "image_features", lambda model: f"{role(model)} images, forward"),
        (PromptedClip, "text_features", lambda model: f"{role(model)} text, forward"),
        (PromptedClip, "text_features_for", lambda model: f"{role(model)} text, forward"),
        (PromptedClip, "frozen_image_features", "frozen images, forward"),
        (Tensor, "backward", "backward"),
        (SGD, "step", "optimizer"),
    ]


def profile_step(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Seconds of a step by stage, of both sides: means over --repeats after a warm-up."""
    device = torch.device(args.device)
    bench = Bench(args.sizes, device, args.precision)
    images = torch.randn(args.batch, 3, bench.image_size, bench.image_size, device=device)
    labels = torch.randint(args.classes, (args.batch,), device=device)
    method, found = bench.method(args.method, args.classes, images), {}
    places = stages_of(bench.teacher_clip if args.method.startswith("PromptKD") else None)
    for side, loss in (("published", method.published[0]), ("ours", method.ours[0])):
        with Stages(device).watching(places):  # a warm-up; SGD looks at its own step when it is first made
            training_step(loss, method.prompts, images, labels)()
        with Stages(device).watching(places) as stages:
            step = training_step(loss, method.prompts, images, labels)
            for _ in range(args.repeats):
                step()
        found[side] = {name: seconds / args.repeats for name, seconds in stages.seconds.items()}
    return found


class ProfiledKD(PromptKD):
    """PromptKD whose second epoch is timed by stage; with `published_step`, by the published step."""

    published_step = False
    seconds: dict[str, float]

    def run_epoch(self) -> None:
        assert self.teaching is not None and self.teaching.teacher is not None
        teacher, prompts = self.teaching.teacher, self.model.prompts
        if self.published_step:
            assert isinstance(prompts, StudentPrompts)
            names, weight = self.task.all_classnames, self.options.kd_weight
            loss, _ = published.promptkd(self.model.clip, prompts, names, teacher, weight)
            self.training.step.losses = lambda model, batch: {"loss_kd": loss(batch.images, batch.index)}  # no labels
        places = [
            *stages_of(teacher.clip),
            (user_images.PublishedImages, "read", "files, decode"),
            (views.SeededViews, "__getitem__", "files, crop, flip and normalise"),
            (StoredFeatures, "features", "teacher cache, read"),
        ]
        with Stages(self.device).watching(places) as stages:
            super().run_epoch()
        self.seconds = stages.seconds


def profile_epoch(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Seconds of PromptKD's second epoch on Emoji by stage: the published step, ours, ours with a filled cache."""
    found = {}
    with tempfile.TemporaryDirectory() as work:
        cached = ["TRAINER.PROMPTKD.TEACHER_CACHE", "views", "TRAINER.PROMPTKD.CACHE_VIEWS", "1"]
        cached += ["TRAINER.PROMPTKD.CACHE_DIR", f"{work}/cache"]
        for side, words in (("published", []), ("ours", []), ("ours, cached", cached)):
            recipe = ROOT / "configs" / "trainers" / "PromptKD" / "mini.yaml"
            own = ["--root", args.root, "--seed", "1", "--trainer", "PromptKD", "--output-dir", f"{work}/{side}"]
            own += ["--dataset-config-file", f"{ROOT}/configs/datasets/emoji.yaml", "--config-file", str(recipe)]
            own += ["TRAINER.PROMPTKD.TEACHER", "mini-teacher", "TRAINER.PROMPTKD.EVALUATE_TEACHER", "False"]
            own += ["OPTIM.MAX_EPOCH", "2", "TEST.NO_TEST", "True", "VERBOSE", "False", *words]
            own += ["USE_CUDA", str(args.device != "cpu"), *args.opts]
            cfg = train.configure(train.parser().parse_args(own))
            take_directory(cfg.OUTPUT_DIR, cfg)
            set_random_seed(cfg.SEED)
            trainer = ProfiledKD(cfg)
            trainer.published_step = side == "published"
            trainer.train()
            found[side] = trainer.seconds
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    """Stages by rows, sides by columns: milliseconds and shares; the longest of the first side first."""
    stages = {name: None for side in found.values() for name in sorted(side, key=side.__getitem__, reverse=True)}

    def cells(side: dict[str, float], name: str) -> list[str]:
        share = side.get(name, 0.0) / sum(side.values())
        return [f"{1000 * side[name]:,.0f}", f"{100 * share:.0f} %"] if name in side else ["", ""]

    rows = [[name, *(text for side in found.values() for text in cells(side, name))] for name in stages]
    rows.append(["all", *(text for side in found.values() for text in (f"{1000 * sum(side.values()):,.0f}", ""))])
    heads = ["stage", *(text for side in found for text in (f"{side} ms", ""))]
    return tabulate(rows, headers=heads, disable_numparse=True, colalign=("left", *["right"] * (len(heads) - 1)))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["step", "epoch"])
    p.add_argument("--device", default="cpu")
    p.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16", "amp"])
    p.add_argument("--sizes", default="real", choices=sorted(SIZES))
    p.add_argument("--method", default="PromptKD", choices=METHODS)
    p.add_argument("--classes", type=int, default=100)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--repeats", type=int, default=2)
    p.add_argument("--root", default="data", help="folder of the data sets; Emoji unpacks itself")
    p.add_argument("opts", nargs="*", help="KEY VALUE pairs of train.py, for an epoch")
    args = p.parse_intermixed_args(argv)
    if args.what == "step" and args.opts:
        p.error(f"a step takes no KEY VALUE pairs: {' '.join(args.opts)}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit code."""
    args = parse(argv)
    if torch.device(args.device).type == "cuda" and not torch.cuda.is_available():
        print(f"error: --device {args.device}, but PyTorch sees no GPU here; leave it out", file=sys.stderr)
        return 1
    found = profile_step(args) if args.what == "step" else profile_epoch(args)
    print(f"torch {torch.__version__}, {args.device}, {torch.get_num_threads()} threads")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
