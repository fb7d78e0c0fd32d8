"""Images of other things than the classes of a data set: a folder's, those that it ships, or another data set's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY, Datum
from promptkd.data.folders import walk_images
from promptkd.data.pools import FOREIGN
from promptkd.home import expanded

SHIPPED = "shipped"  # TEST.OUTSIDE: the images of other things that the data set ships


def images_in(folder: str) -> list[Datum]:
    """All images in a folder and below it, of no class."""
    return [Datum(str(Path(folder, path)), FOREIGN) for path in walk_images(Path(folder))]


def shipped_images(dataset: Any) -> list[Datum]:
    """The images of other things that a data set ships, of no class; [] for none."""
    return [Datum(path, FOREIGN) for path in (dataset.other_images() if hasattr(dataset, "other_images") else [])]


def items_of(name: str, root: str, part: str, options: CfgNode | None = None) -> tuple[Any, list[Datum]]:
    """A data set of all its classes, and the images of one of its parts.

    Args:
        name: of a registered data set.
        root: the data sets' folder.
        part: "test", "val" or "train".
        options: the DATASET section of a run of it, whose options apply.

    Raises:
        OSError, ValueError: there is no such data set, or it has no such images.
    """
    if name not in DATASET_REGISTRY.registered_names():
        raise ValueError(f"no data set {name!r}; there are {', '.join(sorted(DATASET_REGISTRY.registered_names()))}")
    cfg = get_cfg_default()
    cfg.DATASET.update(options or {})
    cfg.DATASET.update({"NAME": name, "ROOT": expanded(root), "SUBSAMPLE_CLASSES": "all", "NUM_SHOTS": -1})
    dataset: Any = DATASET_REGISTRY.get(name)(cfg)
    full = getattr(dataset, "full", dataset)
    items = (getattr(full, part, None) if hasattr(full, part) else getattr(full, f"{part}_x", None)) or []
    if not items:
        raise ValueError(f"{name} has no {part} images")
    return dataset, list(items)


def images_outside(source: str, dataset: Any, root: str) -> list[Datum]:
    """Images that show none of the classes of a data set, as TEST.OUTSIDE names them.

    Args:
        source: a folder, SHIPPED, or the name of another data set, whose test images are taken.
        dataset: whose classes are meant.
        root: the data sets' folder.

    Raises:
        OSError, ValueError: there are none; the message says what may be given.
    """
    if source == SHIPPED:
        found, lacks = shipped_images(dataset), f"{type(dataset).__name__} ships none"
    elif Path(source).is_dir():
        found, lacks = images_in(source), "it holds no images"
    elif source == type(dataset).__name__:
        found, lacks = [], "these are the run's classes"
    else:
        try:
            found, lacks = [Datum(one.impath, FOREIGN) for one in items_of(source, root, "test")[1]], ""
        except (OSError, ValueError) as error:
            found, lacks = [], f"no folder, and {error}"
    if not found:
        raise ValueError(f"TEST.OUTSIDE {source}: {lacks}; give a folder of images, a data set, or {SHIPPED}")
    return found
