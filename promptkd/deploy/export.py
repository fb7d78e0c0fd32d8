"""A finished run's checkpoint under the published key names, for the published code.

    promptkd export RUN [DIRECTORY] [--epoch N]

(in a checkout: `python tools/export.py`) writes DIRECTORY/<model name>/model.pth.tar-<epoch>, which the published
trainers load with --model-dir DIRECTORY --load-epoch <epoch>; DIRECTORY is RUN/published where it is not given. The
file holds what was learned; frozen CLIP weights, which they make anew, are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from promptkd.home import expanded


def export(run: Path, target: Path, epoch: int | None = None) -> Path:
    """Writes the file and returns its path.

    Args:
        run: directory of a finished run.
        target: `--model-dir` of the published code.
        epoch: checkpoint to export; None for the best, else the last.

    Raises:
        FileNotFoundError: no run there, or no checkpoint.
        FileExistsError: the file is there.
        ValueError: its method learns nothing, or was written for upstream and saves the published names itself.
    """
    from dassl.utils import save_checkpoint
    from promptkd.engine import checkpoints
    from promptkd.engine.runs import read_run

    source = read_run(run, epoch)
    if source.checkpoint is None:
        raise ValueError(f"{source.trainer} learns nothing: there is nothing to export")
    if "belongs_to" not in source.content:
        raise ValueError(f"{source.trainer} was written for upstream: its checkpoints have the published names already")
    folder, content = source.checkpoint.parent.name, source.content
    if content.get("epoch") is None:  # it names the file; read_checkpoint has made sure that it is a whole number
        raise ValueError(f"{source.checkpoint} does not say its epoch: export another with --epoch")
    file = target / folder / f"model.pth.tar-{content['epoch']}"
    if file.exists():
        raise FileExistsError(f"{file} is there already: remove it, or give another directory")
    alone = folder == "prompt_learner"  # CoOp, CoCoOp and KgCoOp register the prompt learner, not the model
    state = {
        "state_dict": checkpoints.to_published(content["state_dict"], prompt_learner_only=alone),
        "epoch": content["epoch"],
        "optimizer": None,
        "scheduler": None,
        "val_result": content.get("val_result"),
    }
    save_checkpoint(state, str(file.parent))
    return file


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", type=Path, metavar="RUN")
    p.add_argument("directory", type=Path, nargs="?", metavar="DIRECTORY")
    p.add_argument("--epoch", type=int)
    args = p.parse_args(argv)
    try:
        if args.epoch is not None and args.epoch < 1:
            raise ValueError(f"--epoch {args.epoch}: epochs are counted from 1")
        run = Path(expanded(str(args.run)))
        file = export(run, Path(expanded(str(args.directory))) if args.directory else run / "published", args.epoch)
    except (OSError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    epoch = file.name.rpartition("-")[2]
    print(f"{file}: load it with --model-dir {file.parent.parent} --load-epoch {epoch}")
    return 0


command_line = main
