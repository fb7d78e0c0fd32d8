"""Writes a finished run in a form that is used without this repository, or by the published code.

    promptkd export RUN [PLACE] --format safetensors     # a folder that promptkd.load opens
    promptkd export RUN [PLACE] --format onnx            # one file for ONNX Runtime
    promptkd export RUN [PLACE] --format published       # the checkpoint under the published key names

(in a checkout: `python tools/export.py`). PLACE is in RUN where it is not given: RUN/safetensors, RUN/model.onnx,
RUN/published. What is there is never overwritten.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from promptkd.home import expanded

FORMATS = ("safetensors", "onnx", "published")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="directory of a finished run, or an exported folder")
    parser.add_argument("place", nargs="?", metavar="PLACE", help="file or folder to write")
    parser.add_argument("--format", choices=FORMATS, default="published", help="published where it is not given")
    parser.add_argument("--epoch", type=int, help="checkpoint; the best where it is not given, else the last")
    parser.add_argument("--slim", action="store_true", help="safetensors: names the frozen encoder by its hash")
    args = parser.parse_args(argv)
    try:
        if args.epoch is not None and args.epoch < 1:
            raise ValueError(f"--epoch {args.epoch}: epochs are counted from 1")
        print(export(args))
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def export(args: argparse.Namespace) -> str:
    """Writes what the words ask for; returns the line that says how it is used.

    Raises:
        OSError, ValueError: the run cannot be read, or the place cannot be written.
        ImportError: a package is missing; the message says what to install.
    """
    run = Path(expanded(args.run))
    if args.format == "published":
        from promptkd.deploy.exporting import published

        file = published.write(run, _place(args, run, "published"), args.epoch)
        epoch = file.name.rpartition("-")[2]
        return f"{file}: load it with --model-dir {file.parent.parent} --load-epoch {epoch}"

    from promptkd.deploy import card, export_folder
    from promptkd.deploy.exporting import onnx_writer
    from promptkd.deploy.exporting.origin import about_of
    from promptkd.deploy.onnx_file import OnnxDescription
    from promptkd.deploy.opening import load

    if args.format == "onnx":
        onnx_writer.check_packages()
    place = _place(args, run, "model.onnx" if args.format == "onnx" else "safetensors")
    if place.exists():
        raise FileExistsError(f"{place} is there already: remove it, or give another place")
    classifier = load(run, epoch=args.epoch)
    about = about_of(classifier, run)
    if args.format == "safetensors":
        folder = export_folder.write(classifier, place, about, args.slim)
        card.accompany(folder, run)
        return f'{folder}: load it with promptkd.load("{folder}")'
    described = OnnxDescription(classifier.classnames, classifier.preprocessing, False, classifier.rejection, about)
    onnx_writer.write(onnx_writer.onnx_model(classifier), described, place)
    return f"{place}: try it with promptkd predict {place} IMAGE"


def _place(args: argparse.Namespace, run: Path, name: str) -> Path:
    return Path(expanded(args.place)) if args.place else run / name


command_line = main
