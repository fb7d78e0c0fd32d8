"""One run of somebody's code: starts it in a process of its own, watches it, and writes results.json."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from promptkd import bounded, files, home
from promptkd.host import plan as plans
from promptkd.host.copy import Copy, copy_of
from promptkd.host.plan import ForeignPlan
from promptkd.results.record import RunRecord, harmonic_mean

LOG = "foreign.log"  # what the repository printed
POLL = 0.2  # seconds between looks at a child
GRACE = 10.0  # seconds that an interrupted child has
LARGEST_REPORT = 2**24


class ChildError(ValueError):
    """The repository's code did not get to its end; the message is one line that says why and where its log is."""


def run_job(text: str) -> Path:
    """Runs what a plan says, in the form of `ForeignPlan.text`, and returns the path of its results.json.

    Raises:
        OSError, ValueError: it cannot be started, or failed; the message says why and where the log is.
    """
    one = plans.parse(text)
    one.write()
    directory = Path(one.directory)
    log = directory / LOG
    started = time.time()
    with TemporaryDirectory(prefix="promptkd-foreign-") as scratch:
        copy = copy_of(Path(one.repository), Path(scratch), one.paths)
        reports = [_step(one, copy, step, words, log) for step, words in _steps(one, directory)]
    return _record(one, reports, time.time() - started).write(directory)


def _steps(one: ForeignPlan, directory: Path) -> Iterator[tuple[str, list[str]]]:
    """The starts of train.py that a run is made of: a class group or "train", and the words of each."""
    common = ["--root", one.root, "--seed", str(one.seed), "--trainer", one.trainer]
    common += ["--dataset-config-file", one.dataset_file] + (["--config-file", one.recipe] if one.recipe else [])
    shots = ["DATASET.NUM_SHOTS", str(one.shots), *one.options]

    def words(group: str, output: Path, *flags: str) -> list[str]:
        chosen = ["DATASET.SUBSAMPLE_CLASSES", group] if one.subsample else []
        translated = [one.flags.get(word, word) for word in (*common, "--output-dir", str(output), *flags)]
        return [*translated, *one.words, *shots, *chosen]

    if one.learned:
        learned = Path(one.learned)
        yield "all", words("all", directory, "--eval-only", "--model-dir", one.learned, *_epoch(learned, "all"))
    elif one.protocol == "base2new":
        yield "base", words("base", directory)
        flags = ["--eval-only", "--model-dir", str(directory), *_epoch(directory, "base")]
        yield "new", words("new", directory / "new", *flags)
    else:
        yield "all", words("all", directory)


def _epoch(directory: Path, step: str) -> list[str]:
    """The flag for the epoch that a training ended with; none where its best one on validation images is meant."""
    report = _report(directory, step)
    if report.get("final_model") == "best_val" or not isinstance(report.get("epochs"), int):
        return []
    return ["--load-epoch", str(report["epochs"])]


def _step(one: ForeignPlan, copy: Copy, step: str, words: Sequence[str], log: Path) -> dict[str, Any]:
    """Starts train.py once; returns the report that its process wrote. Raises ChildError."""
    directory = Path(one.directory)
    report = directory / f"{step}.report.json"
    report.unlink(missing_ok=True)
    order = {
        "copy": str(copy.folder), "original": one.repository, "train": "train.py" if not one.own_file else "",
        "own_file": str(Path(one.own_file).relative_to(one.repository)) if one.own_file else "",
        "words": list(words), "report": str(report), "cpu": one.cpu, "data": one.data, "trust": one.trust,
        "written": [str(directory), *([one.learned] if one.learned else [])], "trainer": one.trainer,
        "mapped": copy.mapped, "left": copy.left,
    }  # fmt: skip
    start = directory / f"{step}.start.json"
    files.write_json(start, order)
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    if one.cpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    with log.open("ab", buffering=0) as output:
        output.write(f"---- {step}: {copy.folder}/train.py {' '.join(words)}\n".encode("utf-8", "surrogateescape"))
        process = subprocess.Popen(
            [*home.command("foreign"), "--step", str(start)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=copy.folder,
            env=environment,
            start_new_session=True,
        )
        code = _watch(process, (log, report.with_suffix(".alive")), one.patience * 60, log)
    with contextlib.suppress(OSError):
        report.with_suffix(".alive").unlink()
        start.unlink()
    content = _report(directory, step)
    if code < 0:
        raise ChildError(f"the process of {one.name} was killed by {signal.Signals(-code).name}; its log: {log}")
    if error := content.get("error"):
        raise ChildError(f"{bounded.clipped(error, 1500)}; its log: {log}")
    if code or not content:
        raise ChildError(f"the process of {one.name} ended with exit code {code} and no result; its log: {log}")
    if not isinstance(content.get("accuracy"), (int, float)):
        raise ChildError(
            f"{one.trainer} ended, but never asked Dassl's evaluator: there is no accuracy of its own to read; "
            f"its log: {log}"
        )
    return content | {"step": step}


def _watch(process: subprocess.Popen[bytes], signs: Sequence[Path], patience: float, log: Path) -> int:
    """Waits for a process; ends it and its children where it gives no sign of life, and after a Ctrl-C.

    Args:
        process: leads a session of its own.
        signs: files that grow or are touched while it lives.
        patience: seconds without one.
        log: for the message.

    Returns:
        Its exit code.

    Raises:
        ChildError: it gave no sign of life.
    """
    seen, since = _state(signs), time.monotonic()
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=POLL)
            if (now := _state(signs)) != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > patience:
                raise ChildError(
                    f"the process gave no sign of life for {patience / 60:g} minutes and was ended "
                    f"(--patience gives it more); its log: {log}"
                )
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE)
        raise
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _state(signs: Sequence[Path]) -> list[tuple[int, int]]:
    states = []
    for path in signs:
        with contextlib.suppress(OSError):
            about = path.stat()
            states.append((about.st_size, about.st_mtime_ns))
    return states


def _report(directory: Path, step: str) -> dict[str, Any]:
    """What a process wrote of itself; {} where it wrote nothing that can be read."""
    try:
        content = bounded.read_json(directory / f"{step}.report.json", LARGEST_REPORT)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _record(one: ForeignPlan, reports: Sequence[dict[str, Any]], seconds: float) -> RunRecord:
    """The run's record from the reports of its steps.

    Raises:
        ChildError: a report is no report.
    """
    first, log = reports[0], Path(one.directory) / LOG
    metrics: dict[str, Any] = {report["step"]: _measures(report, log) for report in reports}
    if {"base", "new"} <= metrics.keys():
        metrics["hm"] = harmonic_mean(metrics["base"]["accuracy"], metrics["new"]["accuracy"])
    learned_on = None
    if one.learned:
        learned_on = str(RunRecord.read(Path(one.learned) / "results.json").dataset)
    keys = ("epochs", "learned_parameters", "train_images")
    epochs, learned, images = (value if isinstance(value := first.get(key), int) else None for key in keys)
    return RunRecord(
        trainer=one.trainer,
        foreign={
            "repository": one.name,
            "commit": one.commit,
            "digest": one.digest,
            "changed": one.changed,
            "bridges": sorted({bridge for report in reports for bridge in bounded.texts(report["bridges"], "bridges")}),
            "data": str(first.get("data", "")),
        },  # fmt: skip
        backbone=str(first.get("backbone") or "unknown"),
        teacher=None,
        dataset=str(first.get("dataset") or one.dataset),
        protocol=one.protocol,
        transductive=False,
        learned_on=learned_on or str(first.get("dataset") or one.dataset),
        shots=one.shots,
        seed=one.seed,
        selection="best on validation" if first.get("final_model") == "best_val" else "last epoch",
        eval_only=bool(one.learned),
        metrics=metrics,
        train_seconds=seconds,
        config_hash=one.config_hash(),
        settings=one.settings(),
        data_root=one.root,
        finished=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        versions=dict(first.get("versions") or {}),
        device=str(first.get("device") or "unknown"),
        processes=1,
        command=sys.argv,
        epochs=epochs,
        learned_parameters=learned,
        train_images=images,
    )


def _measures(report: dict[str, Any], log: Path) -> dict[str, Any]:
    """The measures of one class group, checked: they come from somebody's code."""
    kept: dict[str, Any] = {}
    for key in ("accuracy", "error_rate", "macro_f1", "images", "classes"):
        if isinstance(value := report.get(key), (int, float)) and not isinstance(value, bool):
            kept[key] = value
    if not 0 <= kept["accuracy"] <= 100:
        raise ChildError(f"its evaluator gave an accuracy of {kept['accuracy']}, no percentage; its log: {log}")
    classes = report.get("per_class")
    if isinstance(classes, dict):
        kept["per_class"] = {
            str(name): value for name, value in classes.items() if isinstance(value, (int, float)) and 0 <= value <= 100
        }
    return kept
