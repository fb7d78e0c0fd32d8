"""The few-shot list of a run: drawn as published, stored as JSON, read back."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from promptkd.data.checks import Layout
from promptkd.data.splits import Item, Listing, digest, draw_few_shot, keep, read_split

FORMAT = 1  # of the stored lists; part of their key


@dataclass(frozen=True)
class FewShot:
    """Which few-shot list a run used."""

    shots: int
    seed: int
    sha256: str  # over the chosen training and validation items
    path: str | None  # where the list is stored; None: nowhere (no fixed seed, or a read-only folder)
    train: list[Item] = field(repr=False)
    val: list[Item] = field(repr=False)


def few_shot(layout: Layout, listing: Listing, shots: int, seed: int, name: str) -> tuple[Listing, FewShot]:
    """Draw `shots` training images a class, then min(shots, 4) validation images with the same random state.

    The list is stored as `split_fewshot/shot_<K>-seed_<S>-<key>.json` in the data set's folder and read back from it;
    its key covers everything that it depends on. A negative seed draws anew each time and stores nothing.

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
        stored = keep({**content, "train": train, "val": val, "test": []}, path, "The few-shot list")
    few = FewShot(shots, seed, digest(train, val), str(path) if stored else None, train, val)
    return Listing(train, val, listing.test), few


def _check_few_shot(path: Path, chosen: Sequence[Item], items: Sequence[Item], shots: int) -> None:
    expected = {label: min(shots, size) for label, size in Counter(label for _, label, _ in items).items()}
    missing = Counter(chosen)
    missing.subtract(item for item in items if item in missing)
    if any(number > 0 for number in missing.values()) or Counter(label for _, label, _ in chosen) != expected:
        raise ValueError(f"{path} does not fit the split it was drawn from; delete it, and it is drawn again")
