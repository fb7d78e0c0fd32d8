"""A finished run that is measured again: its record, how it is evaluated, and whether its data are the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from promptkd.bounded import shown
from promptkd.engine.task import Task
from promptkd.results.directory import CONFIGURATION
from promptkd.results.record import FILE_NAME, RunRecord

EVALUATE = "evaluate it again (train.py --eval-only --model-dir RUN)"


def record_of(run: Path) -> RunRecord:
    """The record of a finished run, or of an evaluation in a directory of its own.

    Raises:
        FileNotFoundError: there is no run, or one that has not finished; the message says how it goes on.
        ValueError: its record cannot be read, or the run is of somebody's code.
    """
    path = run / FILE_NAME
    if not path.is_file():
        if not (run / CONFIGURATION).is_file():
            raise FileNotFoundError(f"{run} holds no run: there is neither {CONFIGURATION} nor {FILE_NAME}")
        raise FileNotFoundError(
            f"{run} has not finished: there is no {FILE_NAME}; start its command again, which goes on from its last "
            "epoch"
        )
    try:
        record = RunRecord.read(path)
    except ValueError as error:
        raise ValueError(f"{path} is {error}") from error
    if record.foreign is not None:
        raise ValueError(f"{run} is a run of {record.trainer} of somebody's code: it cannot be attacked here")
    return record


def words_of(run: Path, record: RunRecord, model_dir: str = "") -> list[str]:
    """Words of train.py's command line by which a run is evaluated in its own directory.

    Of an evaluation, which has no config.yaml, they go with the settings of its record.

    Args:
        run: its directory.
        record: what is in it.
        model_dir: the run whose model an evaluation measured, where that is not where it was.

    Raises:
        FileNotFoundError, ValueError: it is not known which, or it is not there any more.
    """
    words = ["--eval-only", "--output-dir", str(run)]
    if is_trained(run):
        if model_dir:
            raise ValueError(f"--model-dir {model_dir}: it is for evaluations, {run} has what it learned")
        return ["--config-file", str(run / CONFIGURATION), "--model-dir", str(run), *words]
    if not record.settings:
        raise ValueError(f"{run} is an evaluation of an earlier version, which wrote no settings: {EVALUATE}")
    model_dir = model_dir or record.model_dir or _given(record.command or [], "--model-dir")
    if model_dir:
        if not Path(model_dir).is_dir():
            raise FileNotFoundError(f"{run} is an evaluation of {model_dir}, which is not there: give its --model-dir")
        words += ["--model-dir", model_dir]
    elif record.learned_parameters != 0:
        raise ValueError(f"{run} is an evaluation that does not say of which run: give --model-dir")
    return ["--trainer", record.trainer, "--root", record.data_root, *words]


def is_trained(run: Path) -> bool:
    """Whether a directory is that of a run, not of an evaluation alone."""
    return (run / CONFIGURATION).is_file()


def _given(command: list[Any], flag: str) -> str:
    """What stands behind a flag of a command line; "" where it has none."""
    words = [str(word) for word in command]
    for word, value in zip(words, [*words[1:], ""], strict=True):
        if word == flag:
            return value
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return ""


def check_same_data(run: Path, record: RunRecord, task: Task) -> None:
    """Refuses test images or classes that are not those of a run's record: numbers would be of other images.

    Raises:
        ValueError: the message says what differs.
    """
    items = task.evaluation_loader.dataset.data_source if task.evaluation_loader else ()
    count = Counter(item.label for item in items)
    found: list[str] = []
    if task.groups.keys() != record.measures.keys():
        found.append(f"class groups are {', '.join(task.groups)}, were {', '.join(record.measures)}")
    for group in (group for group in task.groups if group in record.measures):
        before, labels = record.measures[group], task.groups[group]
        sizes = {"classes": len(labels), "images": sum(count[label] for label in labels)}
        found += [
            f"{group} has {size} {what}, had {before[what]}"
            for what, size in sizes.items()
            if before.get(what, size) != size
        ]
        names = {task.all_classnames[label] for label in labels if count[label]}
        known = set(before.get("per_class") or names)
        found += [f"{group} has {shown(name)}, which it had not" for name in sorted(names - known)]
        found += [f"{group} has no {shown(name)}, which it had" for name in sorted(known - names)]
    if found:
        more = f", and {len(found) - 3} more" if len(found) > 3 else ""
        raise ValueError(
            f"{run}: its test images are not those of {FILE_NAME}: {'; '.join(found[:3])}{more}: give the data as they "
            "were (--root), or evaluate the run again"
        )
