"""A model card of a finished run, README.md: written from results.json and those of its other seeds.

    promptkd card RUN [FILE]

FILE is RUN/README.md where it is not given; one that is there stays. RUN may be a folder of
`promptkd export --format safetensors`, which has a card already, and is in its run.

The head is the metadata of Hugging Face's cards (huggingface.co/docs/hub/model-cards). What a program cannot know, the
licences, is marked with "fill in".
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptkd import files
from promptkd.bounded import named, read_text
from promptkd.deploy import card_text
from promptkd.errors import describe
from promptkd.home import expanded
from promptkd.results.record import FILE_NAME as RESULT
from promptkd.results.record import RunRecord
from promptkd.results.search import Run
from promptkd.texts import clipped

if TYPE_CHECKING:
    from promptkd.tables.summaries import Summary

FILE_NAME = "README.md"
_MOST_SEEDS = 100  # folders beside a run that are looked at
# Settings in which seeds of one experiment may differ; each seed may have a teacher of its own.
_OF_A_SEED = ("SEED", "TRAINER.PROMPTKD.TEACHER", "TRAINER.PROMPTKD.TEACHERS", "MODEL.INIT_WEIGHTS")


def write(directory: Path, file: Path) -> Path:
    """Writes the card of a run, and returns its path.

    Args:
        directory: of a finished run, or an exported folder in it.
        file: the card.

    Raises:
        FileNotFoundError: there is no run.
        FileExistsError: the card is there already.
        ValueError: results.json is damaged.
        OSError: it cannot be written.
    """
    run = find_run(directory)
    if file.exists():
        raise FileExistsError(f"{named(file)} is there already: remove it, or give another file")
    files.write_text(file, card_text.text(run.record, summary_of(run)))
    return file


def accompany(folder: Path, source: Path) -> None:
    """Puts a card into an exported folder: that of the run it comes from, or a copy of the card of another folder."""
    if (source / RESULT).is_file():
        write(source, folder / FILE_NAME)
    elif (source / FILE_NAME).is_file():
        files.write_text(folder / FILE_NAME, read_text(source / FILE_NAME))


def find_run(directory: Path) -> Run:
    """The run in a directory, or of an exported folder the one in the folder above.

    Raises:
        FileNotFoundError: there is none.
        ValueError: its results.json is damaged.
    """
    exported = (directory / "model.json").is_file()
    for folder in (directory, *([directory.resolve().parent] if exported else [])):
        path = folder / RESULT
        if path.is_file():
            try:
                return Run(path, RunRecord.read(path, needs_metrics=False))
            except ValueError as error:
                raise ValueError(f"{named(path)} is {clipped(error, 300)}") from error
    advice = "write the card with the run that it was exported from" if exported else "give the directory of one"
    raise FileNotFoundError(f"{named(directory)} is no finished run, it has no {RESULT}: {advice}")


def summary_of(run: Run) -> Summary:
    """A run and those beside it that differ from it in the seed alone: their means and deviations."""
    from promptkd.tables.summaries import Summary

    alike = {run.record.seed: run}
    for folder in _beside(run.directory):
        try:
            other = RunRecord.read(folder / RESULT)
        except ValueError:  # unfinished, damaged, or without labelled images: none to count
            continue
        if _experiment(other) == _experiment(run.record):
            alike.setdefault(other.seed, Run(folder / RESULT, other))
    return Summary([alike[seed] for seed in sorted(alike)] if run.record.metrics else [])


def _beside(directory: Path) -> list[Path]:
    """The folders beside a run that hold a result, at most so many."""
    whole = directory.resolve()
    try:
        folders = sorted(path for path in whole.parent.iterdir() if path != whole and (path / RESULT).is_file())
    except OSError:
        return []
    return folders[:_MOST_SEEDS]


def _experiment(record: RunRecord) -> tuple[Any, ...]:
    """What runs have in common that are one experiment."""
    settings = {key: value for key, value in record.settings.items() if key not in _OF_A_SEED}
    same = replace(record, settings={}, seed=0)
    return (same.trainer, same.backbone, same.dataset, same.protocol, same.transductive, same.shots, same.selection,
            same.learned_on, sorted(record.metrics), sorted(settings.items(), key=lambda pair: pair[0]))  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="directory of a finished run, or an exported folder in it")
    parser.add_argument("file", nargs="?", metavar="FILE", help="the card to write")
    args = parser.parse_args(argv)
    try:
        directory = Path(expanded(args.run))
        file = write(directory, Path(expanded(args.file)) if args.file else directory / FILE_NAME)
    except (OSError, ValueError) as error:
        print(f"error: {describe(error)}", file=sys.stderr)
        return 1
    print(f'{file}: fill in the licences, marked "{card_text.FILL_IN}"')
    return 0


command_line = main
