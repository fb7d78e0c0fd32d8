"""A user's images without labels, and a list of class names: `DATASET.NAME Unlabeled DATASET.ROOT DIR`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from dassl.data.datasets import DATASET_REGISTRY, Datum
from promptkd.data.benchmark import BenchmarkDataset, option
from promptkd.data.checks import check_classnames, clip_name
from promptkd.data.class_lists import read_class_list
from promptkd.data.class_names import find_classnames, named_path
from promptkd.data.folders import LeftOut, list_folders, walk_images
from promptkd.data.layout import Layout, refuse_two_classes
from promptkd.data.loading.user_images import UserImages
from promptkd.data.splits import Item, Listing, subsample_classes
from promptkd.texts import closest

from .folder import refuse_empty_files, root_of

log = logging.getLogger("promptkd.datasets")

TEST = "<test>"  # the first part of a test item's path, for the folder DATASET.TEST_DIR; no file has such a name


@DATASET_REGISTRY.register()
class Unlabeled(BenchmarkDataset):
    """Images in a folder, flat or nested, for methods that learn without labels (PromptKD).

    Training images have label -1 and no class name, and `labelled` is False: a method that needs labels refuses the
    data set. The classes are those in DATASET.CLASSNAMES (or classnames.txt, classnames.json in ROOT): one name a line,
    or a list in JSON, YAML or CSV (promptkd/data/class_lists.py). DATASET.TEST_DIR is a folder with a folder of test
    images per class; without it nothing is evaluated: `full.test` is empty.
    """

    optional_parts = ("val", "test")
    labelled = False
    image_wrapper = UserImages
    reads = ("CLASSNAMES", "TEST_DIR", "SKIP_BAD_IMAGES")

    def load(self, cfg: Any) -> tuple[Layout, Listing, str]:
        root = root_of(cfg)
        path = find_classnames(root, option(cfg, "CLASSNAMES"))
        if path is None:
            raise FileNotFoundError(
                f"Unlabeled: no class list; put classnames.txt, one name a line, into {root}, or set DATASET.CLASSNAMES"
            )
        self.class_list = read_class_list(path)
        check_classnames(f"Unlabeled: {path.name}", self.class_list)
        warn_of_folder_names(root, path.name, self.class_list)
        layout, left = Layout(root, root, root), LeftOut()
        test: list[Item] = []
        if named := option(cfg, "TEST_DIR"):
            folder = named_path(root, named, "TEST_DIR")
            layout = Layout(root, root, root, {TEST: str(folder)})
            test = self.test_items(folder, left)
        files = walk_images(root, left)
        left.report("Unlabeled")
        if TEST in layout.moved:  # test images inside ROOT are not trained on
            inside = {str(Path(layout.path(file)).resolve()) for file, _, _ in test}
            files = [file for file in files if str((root / file).resolve()) not in inside]
        listing = Listing([(file, -1, "") for file in files], [], test)
        refuse_empty_files(cfg, "Unlabeled", layout, listing)
        refuse_two_classes("Unlabeled", layout, Listing([], [], test))
        return layout, listing, path.name

    def test_items(self, folder: Path, left: LeftOut) -> list[Item]:
        """The test images of a folder of class folders, each matched with its class by name.

        Args:
            folder: of the class folders.
            left: gets what is left out.

        Raises:
            ValueError: a folder that is no class of the list, or no images at all.
        """
        labels = {clip_name(name): label for label, name in enumerate(self.class_list)}
        items = []
        for name in list_folders(folder, left):
            if clip_name(name) not in labels:
                close = closest(clip_name(name), labels)
                hint = f"; did you mean {self.class_list[labels[close]]!r}?" if close else ""
                raise ValueError(f"Unlabeled: folder {folder / name} is no class of the class list{hint}")
            label = labels[clip_name(name)]
            files = walk_images(folder / name, left)
            items += [(f"{TEST}/{name}/{file}", label, self.class_list[label]) for file in files]
        if not items:
            raise ValueError(f"Unlabeled: DATASET.TEST_DIR {folder} has no images in class folders")
        tested = {label for _, label, _ in items}
        if absent := [name for label, name in enumerate(self.class_list) if label not in tested]:
            total = len(self.class_list)
            log.warning("Unlabeled: %d of %d classes have no test images: %s", len(absent), total, ", ".join(absent))
        return items

    def check(self, listing: Listing) -> None:
        if not listing.train:
            raise ValueError(f"Unlabeled: no images in {self.layout.folder} or the folders in it")

    def names(self, listing: Listing) -> list[str]:
        return self.class_list

    def exposed(self, subsample: str) -> list[list[Datum]]:
        """All training images for any class group, since their classes are not known; and the group's test images."""
        one_each = [Datum("", label, 0, name) for label, name in enumerate(self.class_list)]
        classes, test = subsample_classes(one_each, self.full.test, subsample=subsample)
        self.selected = [datum.classname for datum in classes]
        return [self.full.train, [], test]

    @property
    def classnames(self) -> list[str]:
        """Class names of the selected group, from the class list: training images have none."""
        return self.selected

    @property
    def lab2cname(self) -> dict[int, str]:
        """Class name of each label."""
        return dict(enumerate(self.selected))

    @property
    def num_classes(self) -> int:
        """Number of class names of the selected group."""
        return len(self.selected)


def warn_of_folder_names(root: Path, file: str, names: list[str]) -> None:
    """Warns where each line looks like a class folder with its name: Folder reads such files, Unlabeled does not."""
    folders = {
        name for inside in (root, *(root / folder for folder in list_folders(root))) for name in list_folders(inside)
    }
    if all(name not in folders and name.split()[0] in folders for name in names):
        log.warning(
            "Unlabeled: every line of %s begins with the name of a folder, and counts as a class name as a whole: %r; "
            "leave the folders out if they are none of the name",
            file,
            names[0],
        )
