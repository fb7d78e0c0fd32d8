"""Writes a finished run in a form that is used without this repository, or by the published code.

    promptkd export RUN [PLACE] --format safetensors     # a folder that promptkd.load opens; --slim: no encoder
    promptkd export RUN [PLACE] --format onnx            # one file for ONNX Runtime; --fp16, --int8, --dynamic-size
    promptkd export RUN [PLACE] --format torch           # a program of torch.export; --fp16
    promptkd export RUN [PLACE] --format web             # one page that classifies dropped images in a browser
    promptkd export RUN [PLACE] --format published       # the checkpoint under the published key names

(in a checkout: `python tools/export.py`). PLACE is in RUN where it is not given: RUN/safetensors, RUN/model.onnx,
RUN/model.pt2, RUN/page.html, RUN/published. What is there is never overwritten. All but the last are checked against
the run before they get their name, on its test images and on pictures of other sizes and modes: where the answers
differ, nothing is written. docs/deploy.md shows how each is used, docs/web.md the page.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from promptkd.home import expanded
from promptkd.texts import clipped, one_line

if TYPE_CHECKING:
    from promptkd.deploy.exporting.forms import Form
    from promptkd.deploy.run_images import ImageList

FORMATS = ("safetensors", "onnx", "torch", "web", "published")
CHECKED_IMAGES = 1000
_ONLY_FOR = {  # option -> formats that it belongs to
    "slim": ("safetensors",), "fp16": ("onnx", "torch", "web"), "int8": ("onnx", "web"), "dynamic_size": ("onnx",),
    "opset": ("onnx", "web"), "calibration": ("onnx", "web"), "runtime": ("web",),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        _check_words(args)
        print(export(args))
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("run", metavar="RUN", help="directory of a finished run, or an exported folder")
    add("place", nargs="?", metavar="PLACE", help="file or folder to write")
    add("--format", choices=FORMATS, default="published", help="published where it is not given")
    add("--epoch", type=int, help="checkpoint; the best where it is not given, else the last")
    add("--slim", action="store_true", help="safetensors: names the frozen encoder and its hash in its place")
    add("--fp16", action="store_true", help="onnx, torch: encoder and prompts in half precision")
    add(
        "--int8", nargs="?", const="dynamic", choices=("dynamic", "static"),
        help="onnx: weights in 8 bits; dynamic (activations measured in each run), or static (once, on images)",
    )  # fmt: skip
    add(
        "--calibration", nargs="+", metavar="PATH", help="images or folders for --int8 static; else the training images"
    )
    add("--dynamic-size", action="store_true", help="onnx: resize and crop inside, for pixels of any size")
    add("--opset", type=int, help="onnx: version of its operators, 18 to 23 (18)")
    add("--data", default="", metavar="ROOT", help="the data sets' folder, where it is not that of the run")
    add("--images", nargs="+", metavar="PATH", help="images or folders to check on, in place of the test images")
    add("--check-images", type=int, default=CHECKED_IMAGES, metavar="N", help="at most so many (%(default)s), 0: all")
    add("--least-agreement", type=float, metavar="PERCENT", help="of the images (100; fp16 99, int8 95)")
    add("--runtime", metavar="FOLDER", help="web: of onnxruntime-web, where it is not in the usual place")
    return parser


def _check_words(args: argparse.Namespace) -> None:
    """Raises ValueError for words that mean nothing together."""
    if args.epoch is not None and args.epoch < 1:
        raise ValueError(f"--epoch {args.epoch}: epochs are counted from 1")
    for name, formats in _ONLY_FOR.items():
        if getattr(args, name) and args.format not in formats:
            raise ValueError(f"--{name.replace('_', '-')} is for --format {' or '.join(formats)}, not {args.format}")
    if args.fp16 and args.int8:
        raise ValueError("--fp16 and --int8: give one of them")
    if args.calibration and args.int8 != "static":
        raise ValueError("--calibration: only --int8 static measures on images")
    if args.opset is not None and not 18 <= args.opset <= 23:
        raise ValueError(f"--opset {args.opset}: PyTorch writes 18 to 23")
    if args.check_images < 0:
        raise ValueError(f"--check-images {args.check_images}: give a number, or 0 for all")
    if args.least_agreement is not None and not 0 <= args.least_agreement <= 100:
        raise ValueError(f"--least-agreement {args.least_agreement:g}: a percentage is wanted")


def export(args: argparse.Namespace) -> str:
    """Writes what the words ask for; returns what is to be shown: the check, and how it is used.

    Raises:
        OSError, ValueError: the run cannot be read, or the place cannot be written.
        ImportError: a package is missing; the message says what to install.
    """
    run = Path(expanded(args.run))
    if args.format == "published":
        from promptkd.deploy.exporting import published

        file = published.write(run, Path(expanded(args.place)) if args.place else run / "published", args.epoch)
        epoch = file.name.rpartition("-")[2]
        return f"{file}: load it with --model-dir {file.parent.parent} --load-epoch {epoch}"

    if args.format == "web":
        from promptkd.deploy.web import writer

        def write_onnx(path: Path) -> str:
            return export(argparse.Namespace(**vars(args) | {"format": "onnx", "place": str(path)}))

        folder = Path(expanded(args.runtime)) if args.runtime else None
        return writer.write(run, Path(expanded(args.place)) if args.place else None, folder, write_onnx)

    from promptkd.deploy.exporting import onnx_writer
    from promptkd.deploy.exporting.forms import Form, write
    from promptkd.deploy.exporting.origin import about_of
    from promptkd.deploy.opening import load

    if args.format == "onnx":
        onnx_writer.check_packages()
    form = Form(
        args.format, args.slim, args.fp16, args.int8 or "", args.dynamic_size, args.opset or 18, args.least_agreement
    )
    place = Path(expanded(args.place)) if args.place else run / form.file_name
    if place.exists():
        raise FileExistsError(f"{place} is there already: remove it, or give another place")
    classifier = load(run, epoch=args.epoch)
    about = about_of(classifier, run)
    calibration = _images(args, run, "train", args.calibration) if args.int8 == "static" else None
    try:
        images = _images(args, run, "test", args.images)
    except (OSError, ValueError) as error:
        if args.images or args.data:
            raise
        images = None
        advice = "--data ROOT, or --images PATH ..., checks on real images"
        print(f"note: checked on made-up pictures alone ({clipped(error, 200)}); {advice}", file=sys.stderr)
    checked = write(classifier, run, about, form, place, images, calibration)
    return f"{checked}\n{_usage(form, place)}"


def _images(args: argparse.Namespace, run: Path, part: str, paths: Sequence[str] | None) -> ImageList:
    """Images of the run's data set, or of given paths; raises OSError or ValueError where there are none."""
    from promptkd.deploy import run_images
    from promptkd.results.directory import read_configuration

    if paths:
        return run_images.of_folders(paths).spread(args.check_images)
    config = read_configuration(run)
    if config is None:
        raise ValueError(f"{run} is no run, it has no test images")
    return run_images.of_run(config, part, args.data).spread(args.check_images)


def _usage(form: Form, place: Path) -> str:
    if form.format == "safetensors":
        return f'{place}: load it with promptkd.load("{place}")'
    if form.format == "torch":
        return f'{place}: load it with torch.export.load("{place}").module()'
    return f"{place}: try it with promptkd predict {place} IMAGE"


command_line = main
