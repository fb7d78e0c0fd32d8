"""What every data set of the benchmark shares: finding it, its split, few-shot lists, class groups, early checks."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from dassl.data.datasets import DatasetBase, Datum
from datasets.checks import Layout, bad_images, check_listing, missing_files, sizes_text
from datasets.splits import (
    FORMAT,
    Item,
    Listing,
    by_label,
    class_groups,
    digest,
    draw_few_shot,
    keep,
    read_split,
    subsample_classes,
)

# Keys of cfg.DATASET that upstream Dassl does not have, beside NUM_SHOTS and SUBSAMPLE_CLASSES.
DATASET_DEFAULTS: dict[str, object] = {
    "SKIP_BAD_IMAGES": False,  # decode every image before the run and leave out those that fail
}


@dataclass(frozen=True)
class Splits:
    """Images over all classes, with the labels of the data set."""

    train: list[Datum]
    val: list[Datum]
    test: list[Datum]


@dataclass(frozen=True)
class FewShot:
    """Which few-shot list a run used."""

    shots: int
    seed: int
    sha256: str  # over the chosen training and validation items
    path: str | None  # where the list is stored; None: nowhere (no fixed seed, or a read-only folder)


class BenchmarkDataset(DatasetBase):
    """A data set constructed from a config: reads cfg.DATASET.ROOT, NUM_SHOTS, SUBSAMPLE_CLASSES and cfg.SEED.

    A subclass names its folders and split file and says in `build` how to make the split where no split file lies.

    What trainers written for upstream see: `train_x`, `val`, `test`, `classnames`, `lab2cname`, `num_classes` of the
    class group that SUBSAMPLE_CLASSES selects, its labels numbered from 0; `train_x` and `val` are few-shot where
    NUM_SHOTS >= 1. `val` is the real validation split. (The PromptKD repository puts the base TEST images there and
    picks the best epoch on them; that is not repeated here.)

    Beside that, for one evaluation pass over every class group:
        full: all images of all classes, labels of the data set.
        chosen: as `full`, but train and val are the few-shot lists where NUM_SHOTS >= 1.
        all_classnames: class names, ordered by label.
        groups: labels of "all", "base" and "new".
        fewshot: the few-shot list of this run, or None where all images are used.
        split_source, split_sha256: where the split came from, and a hash of it.
    """

    dataset_dir: ClassVar[str] = ""  # folder under DATASET.ROOT, as published
    other_dirs: ClassVar[tuple[str, ...]] = ()  # what torchvision, Kaggle or a mirror call that folder
    image_dirs: ClassVar[tuple[str, ...]] = ("images",)  # where the images lie in it; the published place first
    marker: ClassVar[str] = "*"  # pattern of something in the image folder that tells it from another folder
    split_file: ClassVar[str] = ""  # the published split file; "": none exists
    counts: ClassVar[tuple[int, int, int]] = (0, 0, 0)  # published number of train, val and test images
    has_val: ClassVar[bool] = True  # ImageNet and its variants have no validation images
    listed_from_disk: ClassVar[bool] = False  # its lists are what was found, so that nothing can be missing
    test_only: ClassVar[bool] = False  # a test set: its train list is the test list, and shots do not apply
    same_names_allowed: ClassVar[bool] = False  # the published ImageNet names have two pairs of equal names

    def __init__(self, cfg: Any) -> None:
        name = type(self).__name__
        self.layout = self.find(Path(cfg.DATASET.ROOT))
        listing, self.split_source = self.read(self.layout)
        check_listing(name, listing, self.has_val, self.same_names_allowed)
        self.check_files(self.layout, listing)
        if _option(cfg, "SKIP_BAD_IMAGES"):
            listing = _without_bad_images(name, self.layout, listing)
            check_listing(name, listing, self.has_val, self.same_names_allowed)
        self.split_sha256 = digest(*listing)
        names = {label: classname for items in listing for _, label, classname in items}
        self.all_classnames = [names[label] for label in range(len(names))]
        self.groups = class_groups(len(names))
        self.fewshot: FewShot | None = None

        shots, chosen = int(cfg.DATASET.NUM_SHOTS), listing
        if shots >= 1 and self.test_only:
            print(f"{name} is a test set: DATASET.NUM_SHOTS {shots} does not apply")
        elif shots >= 1:
            chosen, self.fewshot = few_shot(self.layout, listing, shots, int(cfg.SEED), name)
        self.full = self._splits(listing)
        self.chosen = self.full if chosen is listing else self._splits(chosen)
        subsample = cfg.DATASET.get("SUBSAMPLE_CLASSES", "all")
        train, val, test = subsample_classes(self.chosen.train, self.chosen.val, self.chosen.test, subsample=subsample)
        super().__init__(train_x=train, val=val, test=test)

    @classmethod
    def find(cls, root: Path) -> Layout:
        """Find the data set under a root: in its published folder, one of its other folders, or the root itself.

        Raises:
            FileNotFoundError: with what was looked for and what lies there.
        """
        root = root.expanduser().absolute()
        if not root.is_dir():
            raise FileNotFoundError(f"DATASET.ROOT {root} is not a folder; set it with --root")
        names = (cls.dataset_dir, *cls.other_dirs)
        # An archive unpacked into a folder of its own gives name/name.
        folders = [root / name / inner for name in names for inner in (".", *names)]
        if root.name in names or (cls.split_file and (root / cls.split_file).is_file()):
            folders.append(root)
        for folder in folders:
            for images in cls.image_dirs:
                if any((folder / images).glob(cls.marker)):
                    return cls.layout_at(root, folder, folder / images)
        wanted = " or ".join(f"{cls.dataset_dir}/{images}".removesuffix("/.") for images in cls.image_dirs)
        raise FileNotFoundError(
            f"{cls.__name__}: no folder {wanted} with images in it under {root} ({_inside(root, names)}); set "
            f"DATASET.ROOT (--root) to the folder that holds {cls.dataset_dir}, or see python tools/data.py check "
            f"{cls.__name__} --root {root}"
        )

    @classmethod
    def layout_at(cls, root: Path, folder: Path, images: Path) -> Layout:
        """The layout of a folder that `find` chose; a data set with a layout of its own overrides this."""
        return Layout(root, folder, images)

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        """The split that the published code makes where no split file lies."""
        raise NotImplementedError

    @classmethod
    def read(cls, layout: Layout) -> tuple[Listing, str]:
        """The split and where it came from: the published file, or else built from what is on disk, and kept."""
        if cls.split_file and (published := layout.find(cls.split_file)):
            return read_split(published), cls.split_file
        listing = cls.build(layout)
        if not cls.split_file:
            return listing, "lists of the data set"
        kept = layout.folder / cls.split_file.replace("split_zhou_", "split_built_")
        if kept.is_file() and digest(*read_split(kept)) == digest(*listing):
            return listing, kept.name
        changed = f"; not as in {kept.name}, because the files on disk changed" if kept.exists() else ""
        print(f"{cls.__name__}: no {cls.split_file} in {layout.folder}, split built from the files on disk{changed}")
        keep(listing._asdict(), kept, "The split")
        return listing, kept.name

    @classmethod
    def check_files(cls, layout: Layout, listing: Listing) -> None:
        """Raise FileNotFoundError where images of the split are not on disk, and say where counts are unusual."""
        if not cls.listed_from_disk and (missing := missing_files(layout, listing)):
            total = sum(len(items) for items in listing)
            raise FileNotFoundError(
                f"{cls.__name__}: {len(missing)} of {total} images of the split are not under {layout.images}: "
                f"{', '.join(missing[:10])}{', ...' if len(missing) > 10 else ''}"
            )
        found = tuple(len(items) for items in listing)
        if any(cls.counts) and found != cls.counts:
            print(f"{cls.__name__}: {sizes_text(found)} images, published are {sizes_text(cls.counts)}")

    def _splits(self, listing: Listing) -> Splits:
        path = self.layout.path
        return Splits(*([Datum(path(file), label, 0, name) for file, label, name in items] for items in listing))


def few_shot(layout: Layout, listing: Listing, shots: int, seed: int, name: str) -> tuple[Listing, FewShot]:
    """Draw `shots` training images a class, then min(shots, 4) validation images with the same random state.

    The list is stored as `split_fewshot/shot_<K>-seed_<S>-<key>.json` in the data set's folder and read back from it;
    its key covers everything that it depends on. A negative seed draws anew each time and stores nothing.

    Raises:
        ValueError: the stored list is not one of this split.
    """
    if seed < 0:
        chosen = _draw(listing, shots, random.Random())
        return chosen, FewShot(shots, seed, digest(chosen.train, chosen.val), None)
    key = digest(*listing, [(f"format {FORMAT}, shots {shots}", seed, "")])[:12]
    path = layout.folder / "split_fewshot" / f"shot_{shots}-seed_{seed}-{key}.json"
    if path.is_file():
        stored = read_split(path)
        for part, size in (("train", shots), ("val", min(shots, 4))):
            _check_few_shot(path, getattr(stored, part), getattr(listing, part), size)
        chosen = Listing(stored.train, stored.val, listing.test)
        return chosen, FewShot(shots, seed, digest(chosen.train, chosen.val), str(path))
    chosen = _draw(listing, shots, random.Random(seed))
    content = {"format": FORMAT, "dataset": name, "shots": shots, "seed": seed, "key": key}
    stored_it = keep({**content, "train": chosen.train, "val": chosen.val, "test": []}, path, "The few-shot list")
    return chosen, FewShot(shots, seed, digest(chosen.train, chosen.val), str(path) if stored_it else None)


def _draw(listing: Listing, shots: int, rng: random.Random) -> Listing:
    # Training images first; validation goes on with the same random state, as published.
    train = draw_few_shot(listing.train, shots, rng)
    return Listing(train, draw_few_shot(listing.val, min(shots, 4), rng), listing.test)


def _check_few_shot(path: Path, chosen: Sequence[Item], items: Sequence[Item], shots: int) -> None:
    expected = {label: min(shots, len(group)) for label, group in by_label(items).items()}
    if len(set(chosen)) != len(chosen) or not set(chosen) <= set(items) or Counter(i[1] for i in chosen) != expected:
        raise ValueError(f"{path} does not fit the split it was drawn from; delete it, and it is drawn again")


def _without_bad_images(name: str, layout: Layout, listing: Listing) -> Listing:
    bad = bad_images(layout, sorted({file for items in listing for file, _, _ in items}))
    for file, fault in bad.items():
        print(f"{name}: left out {file} ({fault})")
    return Listing(*([item for item in items if item[0] not in bad] for items in listing))


def _option(cfg: Any, key: str) -> Any:
    return cfg.DATASET.get(key, DATASET_DEFAULTS[key])


def _inside(root: Path, names: tuple[str, ...]) -> str:
    """What lies where the data set was looked for."""
    folder = next((root / name for name in names if (root / name).is_dir()), root)
    inside = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    shown = ", ".join(inside[:8]) + (f" and {len(inside) - 8} more" if len(inside) > 8 else "")
    return f"{folder.name if folder != root else 'it'} holds {shown or 'nothing'}"
