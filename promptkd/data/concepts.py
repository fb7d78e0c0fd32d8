"""A list of concepts: names of things that no task is of, one a line (KDPL, arXiv 2407.03056, section 3.3)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from promptkd.bounded import named, shown
from promptkd.data.checks import clip_name
from promptkd.data.reading import read_lines

SHIPPED = Path(__file__).with_name("concepts.txt")  # written for this project, under its licence (MIT)
MOST_NAMES = 100_000
LONGEST_NAME = 200  # characters: CLIP reads 75 tokens of a text


def read_concepts(path: Path | None = None) -> list[str]:
    """The names of a file, in its order; lines that begin with # are remarks.

    Args:
        path: one name a line; None for the list that is shipped.

    Raises:
        FileNotFoundError: no such file.
        ValueError: fewer than two names or too many, one that is too long or no text, or a name twice, which CLIP could
            not tell apart.
    """
    path = path or SHIPPED
    if not path.is_file():
        raise FileNotFoundError(
            f"no list of concepts {named(path)}: give a file of one name a line, or leave CONCEPTS empty"
        )
    names = [line for line in read_lines(path) if not line.startswith("#")]
    if not 2 <= len(names) <= MOST_NAMES:
        wanted = f"a vocabulary needs 2 to {MOST_NAMES:,}, one a line"
        raise ValueError(f"{named(path)} has {len(names):,} names: {wanted}")
    if odd := next((name for name in names if len(name) > LONGEST_NAME or not name.isprintable()), None):
        raise ValueError(f"{named(path)}: {shown(odd)} is no name of up to {LONGEST_NAME} characters")
    twice = [name for name, count in Counter(map(clip_name, names)).items() if count > 1]
    if twice:
        first = ", ".join(map(shown, twice[:5]))
        raise ValueError(f"{named(path)} has {len(twice)} names more than once, first {first}: leave each once")
    return names
