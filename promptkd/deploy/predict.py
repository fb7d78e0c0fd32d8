"""Classifies images with a finished run.

    promptkd predict RUN IMAGE ... [--top 5] [--classes A B] [--json]

In a checkout that is `python tools/predict.py`.

A folder stands for all images in it and below it. Images are read as those of a user's data sets are. A byte of a path
that is not UTF-8 is written as \\xNN.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from promptkd.deploy.opening import is_onnx, open_classifier
from promptkd.deploy.ranking import ImageClassifier
from promptkd.home import expanded
from promptkd.texts import path_text, plain

DEVICES = "cpu, cuda, cuda:N or mps"


def predict(model: ImageClassifier, path: Path, top: int) -> dict[str, Any]:
    """One image, read as those of a user's data sets are -> its path, and the `top` classes, the likeliest first.

    Raises:
        OSError: the file is no image that can be read; the message names it.
    """
    from promptkd.data.images import read_upright

    likeliest = model.predict(read_upright(str(path)), top)
    answer = [{"class": name, "probability": value} for name, value in likeliest]
    return {"path": path_text(path), "top": answer}


def images_of(paths: Sequence[Path]) -> Iterator[Path]:
    """The paths, and in the place of a folder the images in it and below it (itself, where there are none)."""
    from promptkd.data.folders import walk_images

    for path in paths:
        inside = [path / file for file in walk_images(path)] if path.is_dir() else []
        yield from inside or [path]


def check_words(args: argparse.Namespace) -> None:
    """Refuses words of the command line that no run and no image give a meaning to.

    Raises:
        ValueError: the message names the word and what it may be.
    """
    if args.top < 1:
        raise ValueError(f"--top {args.top}: give 1 or more")
    if double := [name for name in args.classes or () if args.classes.count(name) > 1]:
        raise ValueError(f"--classes names {double[0]!r} twice: name each class once")
    if is_onnx(args.run):
        return  # ONNX Runtime knows its devices
    import torch

    try:
        device = torch.device(args.device)
    except RuntimeError:
        raise ValueError(f"--device {args.device!r} is no device: give {DEVICES}") from None
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if device.type not in counts:
        raise ValueError(f"--device {args.device}: give {DEVICES}")
    if not counts[device.type]:
        raise ValueError(f"device {args.device}: PyTorch sees no GPU here; use cpu")
    if (device.index or 0) >= counts[device.type]:
        raise ValueError(f"--device {args.device}: PyTorch sees {counts[device.type]} here, counted from 0")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 where the run or an image cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="directory of a finished run")
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--top", type=int, default=5, help="classes to show for each image")
    parser.add_argument("--classes", nargs="+", help="choose among these classes only")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="a JSON line per image")
    args = parser.parse_args(argv)
    from tabulate import tabulate

    try:
        check_words(args)
        paths = [Path(expanded(str(path))) for path in args.images]
        model = open_classifier(args.run, args.device)
        if args.classes:
            model.restrict(args.classes)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        print(f"error: {plain(' '.join(str(error).split()))}", file=sys.stderr)
        return 1
    failed = 0
    for path in images_of(paths):
        try:
            answer = predict(model, path, args.top)
        except OSError as error:
            print(f"error: {plain(' '.join(str(error).split()))}", file=sys.stderr)
            failed = 1
            continue
        if args.json:
            print(json.dumps(answer))
        else:
            rows = [[entry["class"], 100 * entry["probability"]] for entry in answer["top"]]
            print(f"{answer['path']}\n{tabulate(rows, headers=['class', 'probability %'], floatfmt='.1f')}\n")
    return failed


command_line = main
