"""A run's calibration, and what explanation.json holds: its teacher, the map of features, where it looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from html import escape

from promptkd.pages import charts, maps
from promptkd.pages.pictures import thumbnail
from promptkd.results import calibration, explanation
from promptkd.results.search import Run
from promptkd.texts import path_of


def calibrated(rows: Sequence[dict[str, str]]) -> str:
    """Reliability and calibration error of each class group, from the lines of predictions.csv; "" without any."""
    figures = []
    for group in sorted({row["group"] for row in rows}):
        confidences, right = calibration.confidences_of(row for row in rows if row["group"] == group)
        try:
            diagram = calibration.reliability(confidences, right)
        except ValueError as error:
            return f"<p>No reliability: {escape(str(error))}</p>"
        error_rate = calibration.error_of(diagram)
        caption = f"{group}: ECE {error_rate:.2f} %, {len(right):,} images"
        drawn = charts.reliability([astuple(one) for one in diagram], f"accuracy over confidence, {group}")
        figures.append(f"<figure><figcaption>{escape(caption)}</figcaption>{drawn}</figure>")
    if not figures:
        return ""
    return (
        "<h4>Reliability <small>(bars: accuracy at a confidence, darker for more images; the line: a calibrated model)"
        f'</small></h4><div class="charts small">{"".join(figures)}</div>'
    )


def explained(run: Run) -> str:
    """The section of explanation.json; "" where a run has none."""
    try:
        content = explanation.read(run.directory)
    except (OSError, ValueError) as error:
        return f"<p>{escape(str(error))}</p>"
    if content is None:
        return ""
    if content["config_hash"] != run.record.config_hash:
        return f"<p>{explanation.FILE_NAME} is of another configuration of this run: make it anew with --explain.</p>"
    parts = []
    if content["teacher"]:
        rows = "".join(
            f"<tr><td>{escape(group)}</td><td>{one['agreement']:.2f}</td><td>{one['accuracy']:.2f}</td>"
            f"<td>{one['ece']:.2f}</td></tr>"
            for group, one in content["teacher"].items()
        )
        head = "<tr><th>group</th><th>same answer %</th><th>teacher right %</th><th>teacher ECE %</th></tr>"
        name = escape(content["teacher_name"])
        parts.append(
            f'<h4>Agreement with the teacher, {name}</h4><div class="scroll"><table>{head}{rows}</table></div>'
        )
    elif content["teacher_problem"]:
        parts.append(f"<p>Without its teacher: {escape(content['teacher_problem'])}</p>")
    drawn = charts.scatter(content["images"], content["classes"], content["names"], "test images and class vectors")
    note = f"({content['map']}; dots: images, by their class; crosses: class vectors; each kind around its own mean)"
    parts.append(f'<h4>Features <small>{escape(note)}</small></h4><div class="plane">{drawn}</div>')
    figures = []
    for example in content["examples"]:
        picture = thumbnail(run.record.data_root, path_of(example["path"]), maps.SIDE)
        figures.append(maps.explained(example["label"], picture, example["guesses"]))
    if figures:
        parts.append(f"<h4>Where it looked</h4>{maps.HELP}{''.join(figures)}")
    return "".join(parts)
