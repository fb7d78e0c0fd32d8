"""The images that a command line names: files, folders, lists of them, standard input, WebDataset archives."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from promptkd import bounded
from promptkd.home import expanded
from promptkd.texts import path_of, path_text

if TYPE_CHECKING:
    from PIL import Image

_LONGEST_LINE = 1 << 16  # bytes of a line of standard input


@dataclass(frozen=True)
class Picture:
    """An image that has not been read yet.

    Attributes:
        name: its path as text; of one in an archive ARCHIVE/NAME.
        read: gives it as RGB, upright; raises OSError, which names it.
    """

    name: str
    read: Callable[[], Image.Image]


def pictures(words: Iterable[str], lists: Sequence[str] = ()) -> Iterator[Picture]:
    """The images of the words of a command line, one after the other, each found when it is its turn.

    Args:
        words: files; folders, for the images in and below them; tar archives; "@FILE", a list; "-", standard input.
        lists: files with one such word a line. Empty lines and those that begin with "#" are left out.

    Raises:
        OSError, ValueError: a list or an archive cannot be read. Of an image its own `read` raises.
    """
    for word in words:
        if word == "-":
            yield from pictures(_lines(sys.stdin.buffer))
        elif word.startswith("@") and not Path(word).exists():
            yield from _listed(word[1:])
        else:
            yield from _of_path(Path(expanded(word)))
    for name in lists:
        yield from _listed(name)


def _of_path(path: Path) -> Iterator[Picture]:
    from promptkd.data.images import read_upright
    from promptkd.data.tars import is_tar

    if path.is_dir():
        from promptkd.data.folders import walk_images

        inside = [str(path / name) for name in walk_images(path)] or [str(path)]
        yield from (Picture(path_text(one), partial(read_upright, one)) for one in inside)
    elif is_tar(path.name):
        yield from _of_tar(path)
    else:
        yield Picture(path_text(path), partial(read_upright, str(path)))


def _of_tar(path: Path) -> Iterator[Picture]:
    from promptkd.data.images import read_content
    from promptkd.data.tars import images_in_tar

    for name, content in images_in_tar(path):
        whole = f"{path}/{name}"
        yield Picture(path_text(whole), partial(read_content, content, whole))


def _listed(name: str) -> Iterator[Picture]:
    """The images of a list; raises ValueError where it names a list in its turn."""
    lines = bounded.read_text(expanded(name), bounded.LIST).splitlines()
    for line in lines:
        word = line.strip()
        if word == "-" or (word.startswith("@") and not Path(word).exists()):
            raise ValueError(
                f"{bounded.named(name)} names {bounded.shown(word)}: a list holds images, folders, archives"
            )
        if word and not word.startswith("#"):
            yield from _of_path(Path(expanded(path_of(word))))


def _lines(stream: IO[bytes]) -> Iterator[str]:
    """The paths on standard input, as they come."""
    while line := stream.readline(_LONGEST_LINE):
        word = os.fsdecode(line).strip()
        if word == "-" or (word.startswith("@") and not Path(word).exists()):
            raise ValueError(
                f"standard input names {bounded.shown(word)}: images, folders and archives are read from it"
            )
        if word:
            yield word
