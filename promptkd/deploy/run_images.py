"""The images of a finished run's data set, or of another one: for checking, calibrating and choosing a threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from promptkd.home import expanded

if TYPE_CHECKING:
    from PIL import Image
    from yacs.config import CfgNode

PARTS = ("test", "val", "train")


@dataclass(frozen=True)
class ImageList:
    """Image files with the names of their classes.

    Attributes:
        paths: of N files.
        names: N names of classes; "" where nobody knows it.
        as_published: whether they are read as the published data sets are: not turned, alpha dropped.
    """

    paths: tuple[str, ...]
    names: tuple[str, ...]
    as_published: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    def spread(self, most: int) -> ImageList:
        """At most so many of them, evenly spread over the list; all of them for 0."""
        if not most or len(self) <= most:
            return self
        kept = [number * len(self) // most for number in range(most)]
        paths, names = ([values[number] for number in kept] for values in (self.paths, self.names))
        return ImageList(tuple(paths), tuple(names), self.as_published)

    def batches(self, size: int) -> Iterator[tuple[list[Image.Image], Sequence[str]]]:
        """At most `size` images at a time, with their names.

        Raises:
            OSError: a file is no image that can be read; the message names it.
        """
        from promptkd.data.images import read_published, read_upright

        read = read_published if self.as_published else read_upright
        for start in range(0, len(self), size):
            yield [read(path) for path in self.paths[start : start + size]], self.names[start : start + size]


def of_run(config: CfgNode, part: str, root: str = "") -> ImageList:
    """The images of all classes of a run's data set.

    Args:
        config: the run's config.yaml.
        part: "test", "val" or "train".
        root: the data sets' folder where it is another one now; "" for that of the run.

    Raises:
        OSError, ValueError: the data set is not there, or has no such images; the message says so.
    """
    dataset = config.DATASET
    return of_data_set(str(dataset.NAME), root or str(dataset.get("ROOT", "")), part, dataset)


def of_data_set(name: str, root: str, part: str, options: CfgNode | None = None) -> ImageList:
    """The images of all classes of a data set.

    Args:
        name: of a registered data set.
        root: the data sets' folder.
        part: "test", "val" or "train".
        options: the DATASET section of a run of it, whose options apply.

    Raises:
        OSError, ValueError: there is no such data set, or it has no such images.
    """
    from promptkd.data.loading.user_images import UserImages
    from promptkd.data.outside import items_of
    from promptkd.guests import register_datasets

    register_datasets()
    dataset, items = items_of(name, root, part, options)
    wrapper = getattr(dataset, "image_wrapper", None)
    upright = isinstance(wrapper, type) and issubclass(wrapper, UserImages)
    labelled = getattr(dataset, "labelled", True)
    names = tuple(item.classname if labelled else "" for item in items)
    return ImageList(tuple(item.impath for item in items), names, not upright)


def of_folders(paths: Sequence[str]) -> ImageList:
    """The images in folders and below them, and single files; nobody knows their classes.

    Raises:
        OSError: there is none.
    """
    from promptkd.data.folders import walk_images

    files: list[str] = []
    for path in map(expanded, paths):
        inside = [str(Path(path) / name) for name in walk_images(Path(path))] if Path(path).is_dir() else [path]
        files += inside
    if not files:
        raise FileNotFoundError(f"no images in {', '.join(paths)}")
    return ImageList(tuple(files), ("",) * len(files))
