"""The few-shot list of a run: drawn as published, stored as JSON, read back."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from promptkd.data.layout import Layout
from promptkd.data.splits import Item, Listing, digest, draw_few_shot, read_split, store_if_possible

FORMAT = 1  # of the stored lists; part of their key


@dataclass(frozen=True)
class FewShot:
    """The few-shot list of a run."""

    shots: int
    seed: int
    sha256: str  # over the chosen training and validation items
    path: str | None  # of the stored list; None: it is not stored (no fixed seed, or a read-only folder)
    train: list[Item] = field(repr=False)
    val: list[Item] = field(repr=False)


def few_shot(layout: Layout, listing: Listing, shots: int, seed: int, name: str) -> tuple[Listing, FewShot]:
    """Draws `shots` training images a class, then min(shots, 4) validation images with the same random state.

    The list is stored as `split_fewshot/shot_<K>-seed_<S>-<key>.json` in the data set's folder and read back from it;
    its key covers everything that it depends on. A negative seed draws anew each time and stores nothing.

    Args:
        layout: the data set's folders.
        listing: the full split.
        shots: images a class, 1 or more.
        seed: of the draw.
        name: of the data set, stored in the list.

    Returns:
        The split with the chosen training and validation images, and the few-shot list.

    Raises:
        ValueError: the stored list is not one of this split.
    """
    key = digest(*listing, [(f"format {FORMAT}, shots {shots}", seed, "")])[:12]
    path = layout.folder / "split_fewshot" / f"shot_{shots}-seed_{seed}-{key}.json"
    stored = seed >= 0 and path.is_file()
    if stored:
        train, val, _ = read_split(path)
        for chosen, items, size in ((train, listing.train, shots), (val, listing.val, min(shots, 4))):
            _check_few_shot(path, chosen, items, size)
    else:
        # Training images first; validation goes on with the same random state, as published.
        rng = random.Random(seed) if seed >= 0 else random.Random()
        train = draw_few_shot(listing.train, shots, rng)
        val = draw_few_shot(listing.val, min(shots, 4), rng)
    if seed >= 0 and not stored:
        content = {"format": FORMAT, "dataset": name, "shots": shots, "seed": seed, "key": key}
        stored = store_if_possible({**content, "train": train, "val": val, "test": []}, path, "The few-shot list")
    few = FewShot(shots, seed, digest(train, val), str(path) if stored else None, train, val)
    return Listing(train, val, listing.test), few


def _check_few_shot(path: Path, chosen: Sequence[Item], items: Sequence[Item], shots: int) -> None:
    """Raises ValueError where a stored list is no draw of `shots` images a class from these items."""
    expected = {label: min(shots, size) for label, size in Counter(label for _, label, _ in items).items()}
    missing = Counter(chosen)
    missing.subtract(item for item in items if item in missing)
    if any(number > 0 for number in missing.values()) or Counter(label for _, label, _ in chosen) != expected:
        raise ValueError(f"{path} does not fit the split it was drawn from; delete it, and it is drawn again")
