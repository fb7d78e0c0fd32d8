"""What `collect --explain` leaves beside a run, explanation.json: numbers alone, so that a report needs no model.

Pictures are not in it: a report takes them from under the data root, and draws the maps over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptkd import bounded, files

FILE_NAME = "explanation.json"
FORMAT = 1
SIDE = 64  # rows and columns of a map at most


def write(directory: str | Path, content: Mapping[str, Any]) -> Path:
    """Writes explanation.json, whole or not at all."""
    path = Path(directory) / FILE_NAME
    files.write_json(path, {"format": FORMAT, **content}, indent=None)
    return path


def read(directory: str | Path) -> dict[str, Any] | None:
    """The content of a run's explanation.json; None where there is none.

    Raises:
        ValueError: it is damaged; the message names the file and the entry.
    """
    path = Path(directory) / FILE_NAME
    if not path.is_file():
        return None
    content = bounded.read_json(path, bounded.RECORD)
    try:
        _check(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{bounded.named(path)} is broken ({bounded.clipped(error)}): make it anew") from error
    return dict(content)


def _check(content: Any) -> None:
    if content["format"] != FORMAT:
        raise ValueError(f"format {bounded.shown(content['format'])}")
    names = bounded.texts(content["names"], "names")
    for x, y, label in content["images"]:
        _numbers([x, y])
        bounded.whole_number(label, "a label", 0, len(names) - 1)
    for x, y in content["classes"]:
        _numbers([x, y])
    if len(content["classes"]) != len(names):
        raise ValueError("not a point for each class")
    for key in ("config_hash", "map", "teacher_name", "teacher_problem"):
        if not isinstance(content[key], str):
            raise ValueError(f"{key} is no text")
    for group, values in content["teacher"].items():
        _numbers([values[key] for key in ("agreement", "accuracy", "ece")])
        if not isinstance(group, str):
            raise ValueError("a class group is no text")
    for example in content["examples"]:
        for key in ("path", "label"):
            if not isinstance(example[key], str):
                raise ValueError(f"{key} of an example is no text")
        for guess in example["guesses"]:
            if not isinstance(guess["who"], str) or not isinstance(guess["prediction"], str):
                raise ValueError("a guess has no name")
            _numbers([guess["probability"]])
            for kind in ("attention", "occlusion"):
                grid = guess[kind]
                if not isinstance(grid, list) or len(grid) > SIDE or any(not 0 < len(row) <= SIDE for row in grid):
                    raise ValueError(f"{kind} is no map")
                for row in grid:
                    _numbers(row)


def _numbers(values: list[Any]) -> None:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{bounded.shown(value)} is no number")
