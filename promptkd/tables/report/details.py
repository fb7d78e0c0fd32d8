"""One run on the page: accuracy of each class, confusion, confident errors with their images, curves, configuration."""

from __future__ import annotations

import csv
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from promptkd.pages import charts
from promptkd.pages.pictures import thumbnail
from promptkd.results.predictions import FILE_NAME as PREDICTIONS
from promptkd.results.predictions import read_rows
from promptkd.results.record import RunRecord
from promptkd.results.search import Run
from promptkd.tables.report.changed import changed
from promptkd.tables.report.explained import calibrated, explained
from promptkd.tables.summaries import METRICS, ON_PAGE, Method
from promptkd.texts import path_of

MATRIX = 30  # classes up to which a confusion matrix is drawn; beyond, the most confused pairs are listed
PAIRS = 15
POINTS = 200  # of a training curve


def details(method: Method, run: Run, gallery: int, alone: bool = False) -> str:
    """A folded section.

    Args:
        method: the run's row.
        run: a run that counts.
        gallery: how many errors are shown with their images.
        alone: whether it stands below no heading that has its method's name.
    """
    rows, problem = _predictions(run)
    record = run.record
    title = f"{method.described}, seed {record.seed}" if alone else f"seed {record.seed}"
    words = f"{method.described} {record.dataset} {record.protocol} seed {record.seed} {run.path}".lower()
    parts = [_facts(run), _per_class(record)]
    groups = [group for group in record.metrics if any(row["group"] == group for row in rows)]
    parts += [_confusion(group, [row for row in rows if row["group"] == group]) for group in groups]
    parts += [calibrated(rows), _gallery(record, rows, gallery), changed(run, gallery), explained(run), _curves(run)]
    parts.append(_configuration(record))
    if problem:
        parts.append(f"<p>{escape(problem)}</p>")
    return (
        f'<details class="run" data-f="{escape(words)}"><summary><b>{escape(title)}</b> '
        f"<span>{escape(values_of(record.accuracies))}</span></summary>{''.join(parts)}</details>"
    )


def values_of(accuracies: Mapping[str, float | None]) -> str:
    """Percentages as a text, what sums up the others first: `HM 60.06, base 61.28, new 58.88`."""
    return ", ".join(f"{METRICS[name]} {value:.2f}" for name in ON_PAGE if (value := accuracies.get(name)) is not None)


def _facts(run: Run) -> str:
    record = run.record
    facts = {
        "folder": run.directory.as_posix(), "backbone": record.backbone, "teacher": _teacher(record),
        "template": record.template, "learned on": record.learned_on, "epoch": record.selection,
        "epochs": record.epochs, "training images": record.train_images,
        "of these without labels": record.unlabelled_images,
        "learned parameters": _number(record.learned_parameters, "{:,}"),
        "training": _number(record.train_seconds, "{:.1f} s"),
        "training speed": _number(record.train_images_per_second, "{:.1f} images/s"),
        "evaluation speed": _number(record.eval_images_per_second, "{:.1f} images/s"),
        "peak memory": _number(record.peak_memory_mb, "{:.0f} MiB"), "device": record.device,
        "finished": record.finished,
    }  # fmt: skip
    return _listed({key: value for key, value in facts.items() if value not in (None, "")})


def _teacher(record: RunRecord) -> str:
    text, metrics = record.teacher_name(), (record.teacher or {}).get("metrics") or {}
    known = [f"{name} {value['accuracy']:.2f}" for name, value in metrics.items() if isinstance(value, dict)]
    return f"{text} ({', '.join(known)})" if known else text


def _number(value: float | None, form: str) -> str | None:
    return None if value is None else form.format(value)


def _listed(entries: dict[str, Any], kind: str = "facts") -> str:
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in entries.items())
    return f'<dl class="{kind}">{rows}</dl>'


def _per_class(record: RunRecord) -> str:
    parts = []
    for group, values in record.measures.items():
        classes = values.get("per_class")
        if not classes:
            continue
        bars = "".join(
            f'<li><span>{escape(name)}</span><i><b style="width:{accuracy:.1f}%"></b></i><em>{accuracy:.1f}</em></li>'
            for name, accuracy in sorted(classes.items(), key=lambda pair: pair[1])
        )
        parts.append(f'<div><h5>{escape(group)}</h5><ul class="classes">{bars}</ul></div>')
    return f'<h4>Accuracy of each class (%)</h4><div class="columns">{"".join(parts)}</div>' if parts else ""


def _predictions(run: Run) -> tuple[list[dict[str, str]], str]:
    """The lines of predictions.csv with a label, likeliest first, and a sentence on what is wrong with the file."""
    path = run.directory / PREDICTIONS
    if not path.is_file():
        return [], f"There is no {PREDICTIONS} beside this run: no confusion matrix, no images."
    try:
        rows = list(read_rows(path))
        if any(row[key] is None for row in rows for key in ("path", "group", "label", "prediction", "p1")):
            raise KeyError("a line is cut off")
        # a run may also classify images that nobody labelled: these are neither right nor wrong
        return sorted((row for row in rows if row["label"]), key=lambda row: -float(row["p1"])), ""
    except (OSError, KeyError, ValueError, csv.Error) as error:
        return [], f"{path.name} is broken ({error}): no confusion matrix, no images."


def _confusion(group: str, rows: Sequence[dict[str, str]]) -> str:
    counts = Counter((row["label"], row["prediction"]) for row in rows)
    totals = Counter(row["label"] for row in rows)
    names = list(dict.fromkeys([*sorted(totals), *sorted({row["prediction"] for row in rows})]))
    if len(names) > MATRIX:
        wrong = [(pair, count) for pair, count in counts.most_common() if pair[0] != pair[1]][:PAIRS]
        lines = "".join(
            f"<tr><td>{escape(label)}</td><td>{escape(taken)}</td><td>{count} of {totals[label]}</td></tr>"
            for (label, taken), count in wrong
        )
        head = "<tr><th>class</th><th>taken for</th><th>images</th></tr>"
        return f"<h4>Most confused, {escape(group)}</h4><div class=scroll><table>{head}{lines}</table></div>"
    head = "".join(f'<th class="up"><span>{escape(name)}</span></th>' for name in names)
    rows_of_matrix = []
    for label in names:
        cells = []
        for taken in names:
            count, share = counts[label, taken], counts[label, taken] / totals[label] if totals[label] else 0
            kind = "right" if label == taken else "wrong"
            tip = escape(f"{label} taken for {taken}: {count}")
            cells.append(f'<td class="{kind}" style="--p:{100 * share:.0f}%" title="{tip}">{count or ""}</td>')
        rows_of_matrix.append(f"<tr><th>{escape(label)}</th>{''.join(cells)}</tr>")
    return (
        f"<h4>Confusion, {escape(group)} <small>(rows: class of the image; columns: its prediction)</small></h4>"
        f'<div class="scroll"><table class="matrix"><tr><td></td>{head}</tr>{"".join(rows_of_matrix)}</table></div>'
    )


def _gallery(record: RunRecord, rows: Sequence[dict[str, str]], number: int) -> str:
    errors = [row for row in rows if row["label"] != row["prediction"]]
    figures = []
    for row in errors[:number]:
        picture = thumbnail(record.data_root, path_of(row["path"]))
        shown = f'<img alt="{escape(row["label"])}" src="{picture}">' if picture else "<span>image not here</span>"
        caption = f"{escape(row['label'])} <b>→ {escape(row['prediction'])}</b>{100 * float(row['p1']):.1f} %"
        figures.append(f'<figure title="{escape(row["path"])}">{shown}<figcaption>{caption}</figcaption></figure>')
    if not figures:
        return ""
    head = f"<h4>The most confident of {len(errors)} errors <small>(class, prediction, its probability)</small></h4>"
    return f'{head}<div class="gallery">{"".join(figures)}</div>'


def _curves(run: Run) -> str:
    folder = run.directory / "tensorboard"
    if not folder.is_dir():
        return ""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    try:
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    except Exception:  # damaged event files raise what they like, and the page is of more than one curve
        return "<p>The TensorBoard log is damaged: no curves.</p>"
    figures = []
    for tag in events.Tags()["scalars"]:
        points = [(float(event.step), float(event.value), None) for event in events.Scalars(tag)]
        if len(points) < 2:
            continue  # the result, which stands above
        step = max(1, -(-len(points) // POINTS))
        drawn = charts.lines([charts.Line(tag, points[::step])], f"{tag} over training steps")
        if drawn:
            figures.append(f"<figure><figcaption>{escape(tag)}</figcaption>{drawn}</figure>")
    return f'<h4>Training</h4><div class="charts">{"".join(figures)}</div>' if figures else ""


def _configuration(record: RunRecord) -> str:
    versions = dict(record.versions or {}) | {"commit": record.commit or "unknown"}
    command = shlex.join(["python", *map(str, record.command or ["train.py"])])
    settings = dict(sorted(record.settings.items()))
    title = f"Configuration ({len(settings)} keys, hash {record.config_hash})"
    return (
        f"<h4>Command</h4><pre>{escape(command)}</pre><h4>Versions</h4>{_listed(versions)}"
        f"<details><summary>{escape(title)}</summary>{_listed(settings, 'keys')}</details>"
    )
