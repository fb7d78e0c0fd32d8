"""Classifies images with a finished run or an export.

    promptkd predict RUN_OR_EXPORT IMAGE ... [--top 5] [--classes A B] [--json]
    promptkd predict RUN_OR_EXPORT FOLDER shard.tar @LIST - --batch 64 --out answers.csv
    promptkd predict RUN --reject energy --against dtd
    promptkd predict RUN IMAGE ... --explain page.html

In a checkout that is `python tools/predict.py`. RUN_OR_EXPORT is the directory of a run, a folder of `promptkd export`,
or an .onnx file, which is opened without PyTorch.

A folder stands for all images in it and below it, a tar archive (a WebDataset shard) for those in it, @FILE for a list
with one on a line, - for such a list on standard input. Images are read as those of a user's data sets are. A byte of
a path that is not UTF-8 is written as \\xNN.

With --reject an image whose score is below a threshold is "none of these". The threshold is chosen on the validation
images of the run's data set once, and stored with the run, and in exports made after that.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from promptkd.deploy import answers
from promptkd.deploy.answers import Answer
from promptkd.deploy.opening import is_onnx, open_classifier
from promptkd.deploy.rejection import MEASURES
from promptkd.home import expanded
from promptkd.texts import one_line, plain

if TYPE_CHECKING:
    import numpy as np

    from promptkd.deploy.ranking import ImageClassifier
    from promptkd.deploy.rejection import Rejection

DEVICES = "cpu, cuda, cuda:N or mps"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 where the run, a list or an image cannot be read."""
    args = _parser().parse_args(argv)
    try:
        check_words(args)
        model = open_classifier(args.run, args.device)
        rejection = rejection_of(model, args)
        if args.classes:
            model.restrict(args.classes)
        if not args.images and not args.list:
            return 0
        if args.explain:
            return explain(model, args)
        return classify(model, rejection, args)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        _complain(error)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("run", help="directory of a finished run, an exported folder, or an .onnx file")
    add("images", nargs="*", help="images, folders, tar archives, @LIST, or - for standard input")
    add("--list", action="append", default=[], metavar="FILE", help="a list of images, as @FILE")
    add("--top", type=int, default=5, help="classes to show for each image")
    add("--classes", nargs="+", help="choose among these classes only")
    add("--device", default="cpu", help=DEVICES)
    add("--batch", type=int, default=64, help="images that are classified at a time (%(default)s)")
    add("--threads", type=int, default=0, help="threads that read images (one a core)")
    add("--explain", type=Path, metavar="PAGE", help="write a page: the answers, where it looked, and its teacher")
    add("--json", action="store_true", help="a JSON line per image")
    add("--out", type=Path, metavar="FILE", help="write the answers to a .csv, .json or .parquet file")
    add("--reject", nargs="?", const="", choices=("", *MEASURES), help="say where an image is none of the classes")
    add("--keep", type=float, metavar="PERCENT", help="choose the threshold that keeps so many validation images (95)")
    add("--against", nargs="+", default=[], metavar="DATA", help="data sets or folders of other things: prints AUROC")
    add("--data", default="", metavar="ROOT", help="the data sets' folder, where it is not that of the run")
    return parser


def check_words(args: argparse.Namespace) -> None:
    """Refuses words of the command line that no run and no image give a meaning to.

    Raises:
        ValueError: the message names the word and what it may be.
        FileExistsError, ImportError: see `answers.check_file`.
    """
    for name, least in (("top", 1), ("batch", 1), ("threads", 0)):
        if getattr(args, name) < least:
            raise ValueError(f"--{name} {getattr(args, name)}: give {least} or more")
    if double := [name for name in args.classes or () if args.classes.count(name) > 1]:
        raise ValueError(f"--classes names {double[0]!r} twice: name each class once")
    if args.keep is not None and not 0 < args.keep <= 100:
        raise ValueError(f"--keep {args.keep:g}: give a percentage above 0")
    if args.reject is None and (args.keep is not None or args.against):
        raise ValueError("--keep and --against choose the threshold of --reject: give that, too")
    if args.reject is None and not args.images and not args.list:
        raise ValueError("no images: give files, folders, archives, @LIST, or - for standard input")
    if args.explain and (args.out or args.json or args.reject is not None):
        raise ValueError("--explain writes a page alone: leave --out, --json and --reject out")
    if args.out is not None:
        args.out = Path(expanded(str(args.out)))
        answers.check_file(args.out)
    if not is_onnx(args.run):  # ONNX Runtime knows its devices
        check_device(args.device)


def check_device(name: str) -> None:
    """Raises ValueError for a device that PyTorch does not have here."""
    if name == "cpu":
        return
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"--device {name!r} is no device: give {DEVICES}") from None
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if device.type not in counts:
        raise ValueError(f"--device {name}: give {DEVICES}")
    if not counts[device.type]:
        raise ValueError(f"device {name}: PyTorch sees no GPU here; use cpu")
    if (device.index or 0) >= counts[device.type]:
        raise ValueError(f"--device {name}: PyTorch sees {counts[device.type]} here, counted from 0")


def rejection_of(model: ImageClassifier, args: argparse.Namespace) -> Rejection | None:
    """The threshold that --reject asks for: the stored one, else it is chosen now and stored with the run.

    Raises:
        OSError, ValueError: there is none, and no images to choose it on.
    """
    stored = model.rejection
    if args.reject is None:
        return None
    again = args.keep is not None or args.against or (args.reject and stored and stored.measure != args.reject)
    if stored is not None and not again:
        return stored
    from promptkd.deploy import choosing

    run = Path(expanded(args.run))
    inside, outside = choosing.images_for(run, args.data, args.against)
    measure = args.reject or (stored.measure if stored else MEASURES[0])
    chosen = choosing.choose(model, inside, measure, (args.keep or 95) / 100, outside, args.batch)
    file = chosen.write(run)
    others = "".join(f"; AUROC against {name} {value:.3f}" for name, value in chosen.auroc.items())
    print(
        f"{file}: {chosen.measure} of {chosen.threshold:.4g} or more is one of the classes, as for "
        f"{100 * chosen.kept:.1f} % of {chosen.images} validation images{others}",
        file=sys.stderr,
    )
    return chosen


def classify(model: ImageClassifier, rejection: Rejection | None, args: argparse.Namespace) -> int:
    """Answers for every image, to the screen or a file; returns 1 where one could not be read.

    Raises:
        OSError, ValueError: a list or an archive cannot be read, or the file cannot be written.
    """
    from promptkd.deploy.sources import pictures
    from promptkd.deploy.stream import classified

    top = min(args.top, len(model.classnames))
    failed = done = 0
    start = time.perf_counter()
    opened = answers.writing(args.out, top, rejection is not None) if args.out else nullcontext(None)
    with opened as writer, _progress(args.out is not None) as advance:
        for name, result in classified(model, pictures(args.images, args.list), args.batch, args.threads):
            advance()
            if isinstance(result, OSError):
                _complain(result)
                failed += 1
                continue
            done += 1
            answer = answer_of(name, result, model.classnames, top, rejection)
            if writer is not None:
                writer.add(answer)
            elif args.json:
                print(json.dumps(answer.to_dict()))
            else:
                print(answer.text())
    if args.out:
        rate = done / max(1e-9, time.perf_counter() - start)
        wrong = f", {failed:,} could not be read" if failed else ""
        print(f"{args.out}: {done:,} images, {rate:,.1f} a second{wrong}")
    return int(failed > 0)


def explain(model: ImageClassifier, args: argparse.Namespace) -> int:
    """Writes the page of --explain; returns 1 where an image could not be read. Raises what `explain_files` does."""
    from promptkd.deploy.explaining import LARGEST_PAGE, explain_files
    from promptkd.deploy.sources import pictures

    page = Path(expanded(str(args.explain)))
    chosen = list(islice(pictures(args.images, args.list), LARGEST_PAGE + 1))
    failed = explain_files(expanded(args.run), model, chosen, page, args.top)
    for line in failed:
        print(f"error: {line}", file=sys.stderr)
    print(page)
    return int(bool(failed))


def answer_of(
    name: str, logits: np.ndarray, classnames: Sequence[str], top: int, rejection: Rejection | None = None
) -> Answer:
    """What is to be said of an image with these logits, (C,)."""
    from promptkd.deploy.ranking import likeliest, softmax

    ranked = likeliest(softmax(logits[None])[0], classnames, top)
    if rejection is None:
        return Answer(name, ranked)
    score = float(rejection.scores(logits[None])[0])
    return Answer(name, ranked, score, score < rejection.threshold)


@contextmanager
def _progress(wanted: bool) -> Iterator[Callable[[], object]]:
    """A function to be called for each image, which moves a bar where there is a terminal to show it."""
    if not wanted or not sys.stderr.isatty():
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(unit=" images", smoothing=0.1) as bar:
        yield bar.update


def _complain(error: BaseException) -> None:
    print(f"error: {plain(one_line(error))}", file=sys.stderr)


command_line = main
