"""A list of concepts: names of things that no task is of, one a line (KDPL, arXiv 2407.03056, section 3.3)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from promptkd.data.checks import clip_name
from promptkd.data.reading import read_lines

SHIPPED = Path(__file__).with_name("concepts.txt")  # written for this project, under its licence (MIT)


def read_concepts(path: Path | None = None) -> list[str]:
    """The names of a file, in its order; lines that begin with # are remarks.

    Args:
        path: one name a line; None for the list that is shipped.

    Raises:
        FileNotFoundError: no such file.
        ValueError: fewer than two names, or a name twice, which CLIP could not tell apart.
    """
    path = path or SHIPPED
    if not path.is_file():
        raise FileNotFoundError(f"no list of concepts {path}: give a file of one name a line, or leave CONCEPTS empty")
    names = [line.strip() for line in read_lines(path) if line.strip() and not line.startswith("#")]
    if len(names) < 2:
        raise ValueError(f"{path} has {len(names)} names: a vocabulary needs 2 or more, one a line")
    twice = [name for name, count in Counter(map(clip_name, names)).items() if count > 1]
    if twice:
        shown = ", ".join(map(repr, twice[:5]))
        raise ValueError(f"{path} has {len(twice)} names more than once, first {shown}: leave each once")
    return names
