"""The class of all data sets of the benchmark: folders on disk, split, few-shot lists, class groups, early checks."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from dassl.data.datasets import DatasetBase, Datum
from promptkd.data.checks import check_listing, sizes_text
from promptkd.data.fewshot import FewShot, few_shot
from promptkd.data.folders import innermost, is_junk
from promptkd.data.images import bad_images
from promptkd.data.layout import Layout, entries_text, missing_files, packed_text
from promptkd.data.loading.user_images import PublishedImages
from promptkd.data.splits import Listing, class_groups, digest, read_split, store_if_possible, subsample_classes
from promptkd.home import shown_command
from promptkd.texts import path_text

log = logging.getLogger(__name__)

# Keys of cfg.DATASET that upstream Dassl does not have, beside NUM_SHOTS and SUBSAMPLE_CLASSES -> default and meaning.
DATASET_KEYS: dict[str, tuple[object, str]] = {
    "CLASSNAMES": ("", 'Folder: names of its class folders; Unlabeled: the class list; "": classnames.txt in ROOT'),
    "FILES": ("", "Folder: a CSV or JSON file of path, class and split, in place of class folders"),
    "TEST_DIR": ("", 'Unlabeled: a folder with a folder of labelled test images per class; "": no evaluation'),
    "DOMAIN": ("", "of a data set with domains: the one that a run is about, as art of OfficeHome"),
    "DOMAIN_TEST": (
        "all",
        "of OfficeHome, Office31, VisDA17: all (every image of the domain is tested, and trains without its label) or "
        "held_out (50/20/30 of each class train, validate and are tested)",
    ),
    "SKIP_BAD_IMAGES": (False, "decode every image before the run and leave out those that fail"),
}
DATASET_DEFAULTS: dict[str, object] = {key: default for key, (default, _) in DATASET_KEYS.items()}
DOMAIN_TESTS = ("all", "held_out")  # values of DATASET.DOMAIN_TEST
USER_DATASETS = ("Folder", "Unlabeled")  # of images that a user brings, in place of a published data set


@dataclass(frozen=True)
class Splits:
    """The training, validation and test images of all classes, with the data set's labels."""

    train: list[Datum]
    val: list[Datum]
    test: list[Datum]


class BenchmarkDataset(DatasetBase):
    """A data set, found on disk and checked; built from cfg.DATASET.ROOT, NUM_SHOTS, SUBSAMPLE_CLASSES and cfg.SEED.

    A subclass names its folders and its split file; its `build` makes the split where there is no split file.

    Trainers written for upstream read `train_x`, `val`, `test`, `classnames`, `lab2cname` and `num_classes`. These are
    of the class group in SUBSAMPLE_CLASSES, labels numbered from 0; `train_x` and `val` are few-shot where
    NUM_SHOTS >= 1. `val` is the real validation split. (The PromptKD repository puts the base TEST images there and
    picks the best epoch on them; that is not repeated here.)

    Our engine reads these as well, to evaluate every class group in one pass over the test images:
        full: all images of all classes, with the data set's labels.
        chosen: as `full`, but train and val are the few-shot lists where NUM_SHOTS >= 1.
        all_classnames: all class names, ordered by label.
        groups: labels of the class groups "all", "base" and "new".
        fewshot: the few-shot list of this run, or None where all images are used.
        split_source, split_sha256: the origin of the split (a file name), and its hash.
        tests_what_trains: whether the training images are the test images.

    Raises:
        FileNotFoundError: the data set, or an image of its split, is not on disk.
        PermissionError: a folder cannot be read.
        ValueError: a split that cannot be used, see `check_listing`.
    """

    dataset_dir: str = ""  # folder under DATASET.ROOT, as published
    other_dirs: ClassVar[tuple[str, ...]] = ()  # other names of that folder: torchvision's, Kaggle's, a mirror's
    image_dirs: ClassVar[tuple[str, ...]] = ("images",)  # places of the images in it; the published one first
    marker: ClassVar[str] = "*"  # pattern of an entry by which the image folder is recognised
    split_file: ClassVar[str] = ""  # the published split file; "": none exists
    counts: ClassVar[tuple[int, int, int]] = (0, 0, 0)  # published number of train, val and test images
    classes: ClassVar[int] = 0  # published number of classes; 0: not known
    optional_parts: ClassVar[tuple[str, ...]] = ()  # parts of the split that may be empty
    test_gaps_allowed: ClassVar[bool] = False  # whether classes may lack test images
    labelled: ClassVar[bool] = True  # False: training images have label -1
    image_wrapper: ClassVar[type] = PublishedImages  # for DataManager(dataset_wrapper=...): who reads the images
    listed_from_disk: ClassVar[bool] = False  # the lists come from the files on disk, so that none can be missing
    test_only: ClassVar[bool] = False  # a test set: its train list is the test list, and shots do not apply
    reads: ClassVar[tuple[str, ...]] = ("SKIP_BAD_IMAGES",)  # which of DATASET_KEYS it reads
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

        self.tests_what_trains = self.tests_training_images(cfg)
        shots, chosen = int(cfg.DATASET.NUM_SHOTS), listing
        if shots >= 1 and (self.tests_what_trains or not self.labelled):
            kind = "a test set" if self.tests_what_trains else "images without labels"
            log.warning("%s: DATASET.NUM_SHOTS %d does not apply to %s", name, shots, kind)
        elif shots >= 1:
            chosen, self.fewshot = few_shot(self.layout, listing, shots, int(cfg.SEED), name)
        self.full = self._splits(listing)
        self.chosen = self.full if chosen is listing else self._splits(chosen)
        train, val, test = self.exposed(cfg.DATASET.get("SUBSAMPLE_CLASSES", "all"))
        if not test and "test" in self.optional_parts:
            # Dassl has no data set without a test list; ours look at `full.test`.
            test = train
        super().__init__(train_x=train, val=val, test=test)

    @classmethod
    def tests_training_images(cls, cfg: Any) -> bool:
        """Whether the test images of a run are its training images, so that no label of them may be learned from."""
        return cls.test_only

    def load(self, cfg: Any) -> tuple[Layout, Listing, str]:
        """The data set's folders, its split, and the origin of the split (a file name)."""
        layout = self.find(Path(cfg.DATASET.ROOT))
        listing, source = self.read(layout)
        self.check_files(layout, listing)
        return layout, listing, source

    def check(self, listing: Listing) -> None:
        """Raises ValueError for a split that cannot be used."""
        name, optional = type(self).__name__, self.optional_parts
        check_listing(name, listing, optional, self.test_gaps_allowed, self.same_names_allowed)

    def names(self, listing: Listing) -> list[str]:
        """The class names of a split, ordered by label."""
        names = {label: classname for items in listing for _, label, classname in items}
        return [names[label] for label in range(len(names))]

    def exposed(self, subsample: str) -> list[list[Datum]]:
        """The train, val and test lists of a class group ("all", "base", "new"), its labels numbered from 0."""
        return subsample_classes(self.chosen.train, self.chosen.val, self.chosen.test, subsample=subsample)

    @classmethod
    def find(cls, root: Path) -> Layout:
        """Finds the data set under a root: in its published folder, one of its other folders, or the root itself.

        Raises:
            FileNotFoundError: there is no such folder; the message lists the names tried and the root's entries.
            PermissionError: the folder cannot be read.
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
                if cls.holds_images(folder / images):
                    place = folder / images
                    return cls.layout_at(root, folder, place if images == "." else innermost(place))
        wanted = " or ".join(f"{cls.dataset_dir}/{images}".removesuffix("/.") for images in cls.image_dirs)
        raise FileNotFoundError(
            f"{cls.__name__}: no folder {wanted} with images in it under {root} ({entries_text(root, folders)}); "
            f"{packed_text(folders)}set DATASET.ROOT (--root) to the folder that holds {cls.dataset_dir}, or see "
            f"{shown_command('data')} check {cls.__name__} --root {root}"
        )

    @classmethod
    def holds_images(cls, folder: Path) -> bool:
        """Whether a folder, which need not exist, is one of the data set's images."""
        return any(not is_junk(path.name) for path in folder.glob(cls.marker))

    @classmethod
    def _refuse_unreadable(cls, folder: Path, needed: int) -> None:
        if os.path.isdir(folder) and not os.access(folder, needed):
            raise PermissionError(f"{cls.__name__}: {folder} cannot be read; see its permissions")

    @classmethod
    def folders(cls, root: Path) -> list[Path]:
        """The places where the data set's folder may be, the published one first."""
        names = (cls.dataset_dir, *cls.other_dirs)
        # An archive unpacked into a folder of its own gives name/name.
        folders = [root / name / inner for name in names for inner in (".", *names)]
        if root.name in names or (cls.split_file and (root / cls.split_file).is_file()):
            folders.append(root)
        return folders

    @classmethod
    def layout_at(cls, root: Path, folder: Path, images: Path) -> Layout:
        """The layout of the folder that `find` chose; a data set with unusual layouts overrides this."""
        return Layout(root, folder, images)

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        """The split as the published code makes it where there is no split file."""
        raise NotImplementedError

    @classmethod
    def read(cls, layout: Layout) -> tuple[Listing, str]:
        """The split and its origin: the published file, else a split built from the files on disk and stored there."""
        if cls.split_file and (published := layout.find(cls.split_file)):
            return read_split(published), cls.split_file
        listing = cls.build(layout)
        classes = len({label for items in listing for _, label, _ in items})
        if cls.classes and classes != cls.classes:
            log.warning("%s: %d classes in %s, published are %d", cls.__name__, classes, layout.images, cls.classes)
        if not cls.split_file:
            return listing, "lists of the data set"
        return listing, cls.store_built(layout, listing, f"no {cls.split_file} in {layout.folder}")

    @classmethod
    def store_built(cls, layout: Layout, listing: Listing, reason: str) -> str:
        """Stores a split that was built from the files on disk, unless it is stored already; returns its file's name.

        Args:
            layout: the data set's folders; the file goes into `layout.folder`.
            listing: the split.
            reason: the reason why it was built, for the message.
        """
        path = layout.folder / f"split_built_{cls.split_file.removeprefix('split_zhou_') or f'{cls.__name__}.json'}"
        if path.is_file() and _holds(path, listing):
            return path.name
        changed = f"; not as in {path.name}, because the files on disk changed" if path.exists() else ""
        log.info("%s: %s, split built from the files on disk%s", cls.__name__, reason, changed)
        store_if_possible(listing._asdict(), path, "The split")
        return path.name

    @classmethod
    def check_files(cls, layout: Layout, listing: Listing) -> None:
        """Raises FileNotFoundError for images of the split that are not on disk; warns of unusual numbers of images."""
        if not cls.listed_from_disk and (missing := missing_files(layout, listing)):
            total = sum(len(items) for items in listing)
            raise FileNotFoundError(
                f"{cls.__name__}: {len(missing)} of {total} images of the split are not under {layout.images}: "
                f"{', '.join(map(path_text, missing[:10]))}{', ...' if len(missing) > 10 else ''}"
            )
        sizes = tuple(len(items) for items in listing)
        if any(cls.counts) and sizes != cls.counts:
            log.warning("%s: %s images, published are %s", cls.__name__, sizes_text(sizes), sizes_text(cls.counts))

    def other_images(self) -> list[str]:
        """Paths of images that the data set ships and that show none of its classes, for a pool with foreign ones."""
        return []

    def _splits(self, listing: Listing) -> Splits:
        path = self.layout.resolver
        return Splits(*([Datum(path(file), label, 0, name) for file, label, name in items] for items in listing))


def _without_bad_images(name: str, layout: Layout, listing: Listing) -> Listing:
    """A split without the images that do not decode, each of which gets a line."""
    files = sorted({file for items in listing for file, _, _ in items})
    faults = zip(files, (fault for _, fault in bad_images(map(layout.path, files))), strict=True)
    bad = {file: fault for file, fault in faults if fault}
    for file, fault in bad.items():
        log.warning("%s: left out %s (%s)", name, path_text(file), fault)
    return Listing(*([item for item in items if item[0] not in bad] for items in listing))


def _holds(path: Path, listing: Listing) -> bool:
    """Whether a stored file holds this split; a damaged file does not."""
    try:
        return digest(*read_split(path)) == digest(*listing)
    except ValueError:
        return False


def option(cfg: Any, key: str) -> Any:
    """The value of a key of cfg.DATASET that upstream Dassl does not have, or its default."""
    return cfg.DATASET.get(key, DATASET_DEFAULTS[key])
