"""Writes the page of a run, or of an .onnx file that was exported from one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from promptkd import files
from promptkd.deploy.opening import is_onnx
from promptkd.deploy.web.page import page
from promptkd.deploy.web.runtime import read_runtime


def write(source: Path, place: Path | None, runtime: Path | None, export: Callable[[Path], str]) -> str:
    """Writes the page; returns what is to be shown of it.

    Args:
        source: directory of a run or an exported folder, or an .onnx file, which is taken as it is.
        place: of the page; None for page.html in the run, or beside the file.
        runtime: folder of onnxruntime-web; None for where it usually is.
        export: writes the run as an .onnx file to a path, and returns what is to be shown of that, the last line of
            which says how the file is used.

    Raises:
        OSError, ValueError: the runtime is missing, the run cannot be read, or the page cannot be written.
        ImportError: a package is missing; the message says what to install.
    """
    computing = read_runtime(runtime)
    place = place or (source.with_suffix(".html") if is_onnx(source) else source / "page.html")
    if place.exists():
        raise FileExistsError(f"{place} is there already: remove it, or give another place")
    with tempfile.TemporaryDirectory() as folder:
        model = source if is_onnx(source) else Path(folder) / "model.onnx"
        shown = "" if model == source else export(model).rpartition("\n")[0]
        from promptkd.deploy.onnx_classifier import OnnxClassifier
        from promptkd.deploy.onnx_file import OnnxDescription, read_checked

        opened = OnnxClassifier(model)
        description = OnnxDescription(
            opened.classnames, opened.preprocessing, opened.dynamic_size, opened.rejection, opened.about
        )
        title = f"{len(opened.classnames)} classes of {opened.about.get('dataset') or 'images'}"
        files.write_bytes(place, page(read_checked(model), description, computing, title))
    line = f"{place}: open it in a browser; it needs no network ({place.stat().st_size / 1e6:.1f} MB)"
    return f"{shown}\n{line}" if shown else line
