"""What every data set of the benchmark shares: finding it, its split, few-shot lists, class groups, early checks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from dassl.data.datasets import DatasetBase, Datum
from promptkd.data.checks import Layout, check_listing, missing_files, sizes_text
from promptkd.data.fewshot import FewShot, few_shot
from promptkd.data.images import bad_images
from promptkd.data.splits import Listing, class_groups, digest, keep, read_split, subsample_classes

# Keys of cfg.DATASET that upstream Dassl does not have, beside NUM_SHOTS and SUBSAMPLE_CLASSES.
DATASET_DEFAULTS: dict[str, object] = {
    "CLASSNAMES": "",  # Folder: names of its class folders; Unlabeled: the class list; "": classnames.txt in ROOT
    "FILES": "",  # Folder: a CSV or JSON file of path, class and split, in place of class folders
    "TEST_DIR": "",  # Unlabeled: a folder with a folder of labelled test images per class; "": no evaluation
    "SKIP_BAD_IMAGES": False,  # decode every image before the run and leave out those that fail
}
OWN_IMAGES = ("Folder", "Unlabeled")  # the data sets that are the user's own


@dataclass(frozen=True)
class Splits:
    """Images over all classes, with the labels of the data set."""

    train: list[Datum]
    val: list[Datum]
    test: list[Datum]


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
    classes: ClassVar[int] = 0  # published number of classes; 0: not known
    optional_parts: ClassVar[tuple[str, ...]] = ()  # parts of the split that may be empty
    test_gaps_allowed: ClassVar[bool] = False  # whether classes may lack test images
    labelled: ClassVar[bool] = True  # False: training images have label -1
    image_wrapper: ClassVar[type | None] = None  # for DataManager(dataset_wrapper=...); None: Dassl's own
    listed_from_disk: ClassVar[bool] = False  # its lists are what was found, so that nothing can be missing
    test_only: ClassVar[bool] = False  # a test set: its train list is the test list, and shots do not apply
    same_names_allowed: ClassVar[bool] = False  # the published ImageNet names have two pairs of equal names

    def __init__(self, cfg: Any) -> None:
        name = type(self).__name__
        self.layout, listing, self.split_source = self.load(cfg)
        self.check(listing)
        if option(cfg, "SKIP_BAD_IMAGES"):
            listing = _without_bad_images(name, self.layout, listing)
            self.check(listing)
        self.split_sha256 = digest(*listing)
        self.all_classnames = self.names(listing)
        self.groups = class_groups(len(self.all_classnames))
        self.fewshot: FewShot | None = None

        shots, chosen = int(cfg.DATASET.NUM_SHOTS), listing
        if shots >= 1 and (self.test_only or not self.labelled):
            kind = "a test set" if self.test_only else "images without labels"
            print(f"{name}: DATASET.NUM_SHOTS {shots} does not apply to {kind}")
        elif shots >= 1:
            chosen, self.fewshot = few_shot(self.layout, listing, shots, int(cfg.SEED), name)
        self.full = self._splits(listing)
        self.chosen = self.full if chosen is listing else self._splits(chosen)
        train, val, test = self.exposed(cfg.DATASET.get("SUBSAMPLE_CLASSES", "all"))
        if not test and "test" in self.optional_parts:
            # Dassl has no data set without a test list; ours look at `full.test`.
            test = train
        super().__init__(train_x=train, val=val, test=test)

    def load(self, cfg: Any) -> tuple[Layout, Listing, str]:
        """Where the data set is, its split, and where that came from."""
        layout = self.find(Path(cfg.DATASET.ROOT))
        listing, source = self.read(layout)
        self.check_files(layout, listing)
        return layout, listing, source

    def check(self, listing: Listing) -> None:
        """Raise ValueError for a split that cannot be used."""
        name, optional = type(self).__name__, self.optional_parts
        check_listing(name, listing, optional, self.test_gaps_allowed, self.same_names_allowed)

    def names(self, listing: Listing) -> list[str]:
        """Class names, ordered by label."""
        names = {label: classname for items in listing for _, label, classname in items}
        return [names[label] for label in range(len(names))]

    def exposed(self, subsample: str) -> list[list[Datum]]:
        """The train, val and test lists of a class group, as upstream shows them."""
        return subsample_classes(self.chosen.train, self.chosen.val, self.chosen.test, subsample=subsample)

    @classmethod
    def find(cls, root: Path) -> Layout:
        """Find the data set under a root: in its published folder, one of its other folders, or the root itself.

        Raises:
            FileNotFoundError: with what was looked for and what lies there.
            PermissionError: the folder is there and cannot be read.
        """
        root = root.expanduser().absolute()
        if not os.path.isdir(root):
            raise FileNotFoundError(f"DATASET.ROOT {root} is not a folder; set it with --root")
        cls._refuse_unreadable(root, os.X_OK)
        folders = cls.folders(root)
        for folder in folders:
            cls._refuse_unreadable(folder, os.X_OK)
            for images in cls.image_dirs:
                cls._refuse_unreadable(folder / images, os.R_OK | os.X_OK)
                if any((folder / images).glob(cls.marker)):
                    return cls.layout_at(root, folder, folder / images)
        wanted = " or ".join(f"{cls.dataset_dir}/{images}".removesuffix("/.") for images in cls.image_dirs)
        raise FileNotFoundError(
            f"{cls.__name__}: no folder {wanted} with images in it under {root} ({_inside(root, folders)}); set "
            f"DATASET.ROOT (--root) to the folder that holds {cls.dataset_dir}, or see python tools/data.py check "
            f"{cls.__name__} --root {root}"
        )

    @classmethod
    def _refuse_unreadable(cls, folder: Path, needed: int) -> None:
        if os.path.isdir(folder) and not os.access(folder, needed):
            raise PermissionError(f"{cls.__name__}: {folder} cannot be read; see its permissions")

    @classmethod
    def folders(cls, root: Path) -> list[Path]:
        """Where the data set's folder may be, the published place first."""
        names = (cls.dataset_dir, *cls.other_dirs)
        # An archive unpacked into a folder of its own gives name/name.
        folders = [root / name / inner for name in names for inner in (".", *names)]
        if root.name in names or (cls.split_file and (root / cls.split_file).is_file()):
            folders.append(root)
        return folders

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
        found = len({label for items in listing for _, label, _ in items})
        if cls.classes and found != cls.classes:
            print(f"{cls.__name__}: {found} classes in {layout.images}, published are {cls.classes}")
        if not cls.split_file:
            return listing, "lists of the data set"
        return listing, cls.keep_built(layout, listing, f"no {cls.split_file} in {layout.folder}")

    @classmethod
    def keep_built(cls, layout: Layout, listing: Listing, why: str) -> str:
        """Store a split that was built, say so where it is new, and return the name of its file."""
        kept = layout.folder / f"split_built_{cls.split_file.removeprefix('split_zhou_') or f'{cls.__name__}.json'}"
        if kept.is_file() and _holds(kept, listing):
            return kept.name
        changed = f"; not as in {kept.name}, because the files on disk changed" if kept.exists() else ""
        print(f"{cls.__name__}: {why}, split built from the files on disk{changed}")
        keep(listing._asdict(), kept, "The split")
        return kept.name

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
        path = self.layout.resolver
        return Splits(*([Datum(path(file), label, 0, name) for file, label, name in items] for items in listing))


def _without_bad_images(name: str, layout: Layout, listing: Listing) -> Listing:
    files = sorted({file for items in listing for file, _, _ in items})
    faults = zip(files, (fault for _, fault in bad_images(map(layout.path, files))), strict=True)
    bad = {file: fault for file, fault in faults if fault}
    for file, fault in bad.items():
        print(f"{name}: left out {file} ({fault})")
    return Listing(*([item for item in items if item[0] not in bad] for items in listing))


def _holds(path: Path, listing: Listing) -> bool:
    """Whether a file that can be made again holds a split; a damaged one does not."""
    try:
        return digest(*read_split(path)) == digest(*listing)
    except ValueError:
        return False


def option(cfg: Any, key: str) -> Any:
    """A key of cfg.DATASET that Dassl does not have."""
    return cfg.DATASET.get(key, DATASET_DEFAULTS[key])


def _inside(root: Path, folders: list[Path]) -> str:
    """What lies where the data set was looked for."""
    folder = next((folder for folder in folders if folder.is_dir()), root)
    inside = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    shown = ", ".join(inside[:8]) + (f" and {len(inside) - 8} more" if len(inside) > 8 else "")
    return f"{folder.name if folder != root else 'it'} holds {shown or 'nothing'}"
