"""What went wrong in somebody's code, as one line with a remedy."""

from __future__ import annotations

import ast
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from promptkd.bounded import clipped
from promptkd.host.bridges.packages import MissingPackage, pip_name
from promptkd.texts import one_line

WIDTHS = (512, 640, 768, 1024)  # of the published CLIPs, which are typed in
SMALLEST = 32  # a smaller number of a message is rarely a width
_SHAPES = re.compile(
    r"size mismatch|mat1 and mat2|shapes? |Sizes of tensors|must match the|expected .* to have|Expected size|"
    r"normalized_shape|sizes? of tensor|is invalid for input of size|expanded size",
    re.IGNORECASE,
)
_NO_GPU = re.compile(r"not compiled with CUDA|No CUDA GPUs|no NVIDIA driver|CUDA_HOME", re.IGNORECASE)


def explain(error: BaseException, folder: Path, trainer: str) -> str:
    """An error of a repository's code in one line: what is the matter, where, and what to do where that is known.

    Args:
        error: with its traceback.
        folder: the copy that was run.
        trainer: file of the trainer in it, whose sizes are looked at first; "" where it is not known.
    """
    frames = [
        frame
        for one in _chain(error)
        for frame in traceback.extract_tb(one.__traceback__)
        if folder in Path(frame.filename).parents
    ]
    last = frames[-1] if frames else None
    where = f" ({_place(Path(last.filename), folder)}:{last.lineno}: {clipped(last.line or '', 100)})" if last else ""
    text = clipped(one_line(str(error).strip()) or type(error).__name__, 700)
    if isinstance(error, SystemExit):
        return f"its train.py ended with exit code {error.code}{where}"
    if isinstance(error, MissingPackage) or (isinstance(error, ModuleNotFoundError) and error.name):
        package = (error.name or "").partition(".")[0]
        if (folder / package).exists() or (folder / f"{package}.py").exists():
            return f"its code imports {error.name}, which the repository does not have{where}"
        return f"its code needs the package {package}, which is not installed: pip install {pip_name(package)}{where}"
    if _NO_GPU.search(text):
        return f"its code asks for a GPU: give --cpu, with which .cuda() stays on the CPU{where}: {text}"
    if _SHAPES.search(text) and isinstance(error, (RuntimeError, ValueError, AssertionError)):
        files = [folder / trainer] if trainer else []
        files += [Path(frame.filename) for frame in reversed(frames)]
        lines = list(dict.fromkeys(_typed_in(files, {int(n) for n in re.findall(r"\d+", text)}, folder)))
        if lines:
            return f"sizes that are typed in do not fit this CLIP: {'; '.join(lines[:3])}{where}: {text}"
    if isinstance(error, FileNotFoundError) and error.filename and Path(str(error.filename)).is_absolute():
        return f"no file {error.filename}: where it is a path of its authors, give --map-path OLD=NEW{where}"
    if isinstance(error, KeyError) and last and "_MODELS" in (last.line or ""):
        return f"its clip/ knows no {text}: name one that it has (MODEL.BACKBONE.NAME, or a teacher of its own){where}"
    if isinstance(error, (KeyError, AttributeError)) and re.search("config key|^'?[A-Z_]+'?$", text):
        return f"its configuration has no key {text.rpartition(': ')[2]}{where}"
    return f"{type(error).__name__}: {text}{where}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The errors that led to one, first what was raised first."""
    seen: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in seen:
        seen.append(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    yield from reversed(seen)


def _typed_in(files: list[Path], numbers: set[int], folder: Path) -> Iterator[str]:
    """The lines of files in which a width of CLIP is a number, those that the message names first."""
    later = []
    for path in dict.fromkeys(files):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
            tree = ast.parse(text)
        except (OSError, SyntaxError, ValueError):
            continue
        lines = text.splitlines()
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or type(node.value) is not int:
                continue
            named = node.value in numbers and node.value >= SMALLEST
            if named or node.value in WIDTHS:
                line = clipped(lines[node.lineno - 1].strip(), 80)
                place = f"{_place(path, folder)}:{node.lineno} asks for {node.value} (`{line}`)"
                if named:
                    yield place
                else:
                    later.append(place)
    yield from later


def _place(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if folder in path.parents else path.name
