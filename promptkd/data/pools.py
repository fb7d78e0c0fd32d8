"""Pools of images without labels that are not the benchmark's: imbalanced, without some classes, with foreign images.

Plain functions of a list of images and a seed. What is drawn follows from the seed alone, and the images that stay keep
their order.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from yacs.config import CfgNode

from dassl.data.datasets import Datum

UNKNOWN = -1  # label of an image that nobody labelled
FOREIGN = -2  # label of an image that shows none of the classes
OTHER_CLASSES = "other_classes"  # POOL.FOREIGN_FROM: those of the data set that are not in the pool
FEWEST_HELD_OUT = 10  # images on which a choice can be made


@dataclass(frozen=True)
class PoolChange:
    """How a pool differs from the benchmark's; the options POOL.* of a configuration.

    Attributes:
        imbalance: images of the largest class to those of the smallest; 1 leaves them as they are.
        drop_classes: number of classes without any image.
        foreign_share: share of the pool that shows none of the classes, from 0 to below 1.
        foreign_from: where these come from: a folder, OTHER_CLASSES, or "" for those that the data set ships.
    """

    imbalance: float = 1.0
    drop_classes: int = 0
    foreign_share: float = 0.0
    foreign_from: str = ""

    @classmethod
    def of(cls, cfg: CfgNode) -> PoolChange:
        """The one that a run's configuration asks for."""
        node = cfg.get("POOL", CfgNode())
        return cls(**{one.name: node[one.name.upper()] for one in fields(cls) if one.name.upper() in node})

    def __bool__(self) -> bool:
        """Whether anything is changed."""
        return bool(self.imbalance > 1 or self.drop_classes or self.foreign_share)

    def apply(
        self, items: Sequence[Datum], seed: int, foreign: Callable[[str], Sequence[Datum]]
    ) -> tuple[list[Datum], dict[str, Any]]:
        """The changed list, classes first, then their balance, then foreign images behind the others.

        Args:
            items: the pool as the benchmark has it.
            seed: of what is drawn.
            foreign: gives all foreign images that `foreign_from` names.

        Returns:
            The images, foreign ones with the label FOREIGN; and what results.json says of it.

        Raises:
            ValueError: images without labels, of which no class is known; too few classes, or foreign images.
        """
        kept = list(items)
        about: dict[str, Any] = {}
        if (self.drop_classes or self.imbalance > 1) and any(item.label < 0 for item in kept):
            raise ValueError(
                "POOL.DROP_CLASSES and POOL.IMBALANCE need images whose classes are known, and these have no labels: "
                "leave them out"
            )
        if self.drop_classes:
            kept, about["dropped"] = without_classes(kept, self.drop_classes, seed)
        if self.imbalance > 1:
            kept = imbalanced(kept, self.imbalance, seed)
            about["imbalance"] = self.imbalance
        if about:
            about["per_class"] = dict(sorted(Counter(item.classname for item in kept).items()))
        if self.foreign_share:
            added = drawn_foreign(foreign(self.foreign_from), len(kept), self.foreign_share, seed)
            kept += added
            about |= {"foreign": len(added), "foreign_from": self.foreign_from or "shipped with the data set"}
        return kept, about


def split_off(items: Sequence[Datum], share: float, root: str) -> tuple[list[Datum], list[Datum]]:
    """A pool without a share of its images, and that share: the same images for every seed, whatever else is there.

    An image's place is that of the hash of its path, so that no label has a say.

    Args:
        items: the pool.
        share: POOL.HELD_OUT, above 0.
        root: folder from which paths count.

    Raises:
        ValueError: it would be too few images to choose anything by.
    """
    count = round(share * len(items))
    if count < FEWEST_HELD_OUT:
        raise ValueError(
            f"POOL.HELD_OUT {share:g} of {len(items):,} unlabelled images is {count}: {FEWEST_HELD_OUT} are the fewest "
            f"to choose by, give {FEWEST_HELD_OUT / max(len(items), 1):.2g} or more, or 0 (and another "
            "TEST.FINAL_MODEL)"
        )

    def place(row: int) -> bytes:
        path = os.path.relpath(items[row].impath, root).replace(os.sep, "/")
        return hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).digest()

    held = set(sorted(range(len(items)), key=place)[:count])
    kept = [item for row, item in enumerate(items) if row not in held]
    return kept, [items[row] for row in sorted(held)]


def without_classes(items: Sequence[Datum], count: int, seed: int) -> tuple[list[Datum], list[str]]:
    """The images of all classes but `count` drawn ones, and the names of these.

    Raises:
        ValueError: fewer than two classes would be left.
    """
    names = {item.label: item.classname for item in items}
    if len(names) - count < 2:
        raise ValueError(
            f"POOL.DROP_CLASSES {count}: the pool has images of {len(names)} classes, drop {max(len(names) - 2, 0)} or "
            "fewer"
        )
    dropped = set(random.Random(f"{seed} drop").sample(sorted(names), count))
    return [item for item in items if item.label not in dropped], sorted(names[label] for label in dropped)


def imbalanced(items: Sequence[Datum], ratio: float, seed: int) -> list[Datum]:
    """The images with a long tail: of the class of rank r, in a drawn order, `ratio ** (-r / (C - 1))` of them stay.

    So sizes fall evenly on a logarithmic scale (Cui et al., arXiv 1901.05555, section 5.1), from all images of the
    first class to the ratio's part of the last; every class keeps one image or more.
    """
    draw = random.Random(f"{seed} imbalance")
    rows: dict[int, list[int]] = {}
    for row, item in enumerate(items):
        rows.setdefault(item.label, []).append(row)
    order = draw.sample(sorted(rows), len(rows))
    kept: set[int] = set()
    for rank, label in enumerate(order):
        share = ratio ** (-rank / max(len(order) - 1, 1))
        kept |= set(draw.sample(rows[label], max(1, round(len(rows[label]) * share))))
    return [item for row, item in enumerate(items) if row in kept]


def drawn_foreign(candidates: Sequence[Datum], images: int, share: float, seed: int) -> list[Datum]:
    """Foreign images, so many that they are `share` of a pool with `images` others.

    Raises:
        ValueError: there are not so many.
    """
    count = round(images * share / (1 - share))
    if len(candidates) < count:
        most = len(candidates) / (len(candidates) + images)
        raise ValueError(
            f"POOL.FOREIGN_SHARE {share} needs {count:,} foreign images beside {images:,}, there are "
            f"{len(candidates):,}: set {int(1000 * most) / 1000} or less, or POOL.FOREIGN_FROM to a folder with more"
        )
    chosen = random.Random(f"{seed} foreign").sample(range(len(candidates)), count)
    return [Datum(candidates[row].impath, FOREIGN, 0, "") for row in sorted(chosen)]
