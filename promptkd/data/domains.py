"""Data sets of several domains (art, clipart, ...) that share their classes; a run sees one domain of them.

In domain adaptation all images of the target domain are there without labels, and the same images are tested. That is
DATASET.DOMAIN_TEST all. With held_out a domain is split like the other data sets here, so that methods that read labels
have images to learn from that are not tested.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from dassl.data.datasets import Datum
from promptkd.bounded import shown
from promptkd.data.benchmark import BenchmarkDataset, option
from promptkd.data.folders import innermost, list_folders, list_images
from promptkd.data.layout import Layout
from promptkd.data.splits import Item, Listing, by_label, random_split
from promptkd.texts import closest

log = logging.getLogger(__name__)


class DomainDataset(BenchmarkDataset):
    """A data set whose domains lie in folders beside each other, each with a folder for each class.

    A subclass names its domains. `of_domain` makes of it the class of one domain, which finds, reads and checks that
    domain alone, and whose name is in messages: "OfficeHome-art". All domains have the same classes in the same order,
    so that what is learned on one can be tested on another.
    """

    places: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # domain -> places of its images, the published one first
    sizes: ClassVar[Mapping[str, tuple[int, int]]] = {}  # domain -> published numbers of training and of test images
    domain: ClassVar[str] = ""
    held_out: ClassVar[bool] = False
    optional_parts = ("val",)
    listed_from_disk = True
    reads: ClassVar[tuple[str, ...]] = ("DOMAIN", "DOMAIN_TEST", "SKIP_BAD_IMAGES")
    selected: list[int]  # labels of the exposed class group

    @classmethod
    def of_domain(cls, domain: str, test: str = "all") -> type[DomainDataset]:
        """The class of one domain.

        Args:
            domain: its name, as in `places` or as its folder has it: "real_world", "Real World".
            test: DATASET.DOMAIN_TEST.

        Raises:
            ValueError: no name, or none of a domain; the message has the closest.
        """
        return _of_domain(cls, cls.domain_called(domain), test == "held_out")

    @classmethod
    def domain_called(cls, word: str) -> str:
        """The domain that a word names, without regard to case, spaces, "-" and "_". Raises what `of_domain` does."""
        names = ", ".join(cls.places)
        if not word:
            raise ValueError(f"{cls.__name__} has {len(cls.places)} domains, name one as DATASET.DOMAIN: {names}")
        known = {_plain(name): domain for domain, names in cls.places.items() for name in (domain, *names)}
        if domain := known.get(_plain(word)):
            return domain
        close = closest(_plain(word), known)
        hint = f"did you mean {known[close]}? " if close else ""
        raise ValueError(f"DATASET.DOMAIN {shown(word)} is no domain of {cls.__name__}: {hint}There are {names}")

    @classmethod
    def tests_training_images(cls, cfg: Any) -> bool:
        return "DOMAIN_TEST" in cls.reads and option(cfg, "DOMAIN_TEST") == "all"

    def load(self, cfg: Any) -> tuple[Layout, Listing, str]:
        kind = self.of_domain(option(cfg, "DOMAIN"), option(cfg, "DOMAIN_TEST") if "DOMAIN_TEST" in self.reads else "")
        layout = kind.find(Path(cfg.DATASET.ROOT))
        listing, source = kind.read(layout)
        kind.check_files(layout, listing)
        self.class_list = kind.class_names(layout, listing)
        return layout, listing, source

    @classmethod
    def find(cls, root: Path) -> Layout:
        """Finds the folder of the domain; of a data set without a domain, those of all, and returns the first."""
        if cls.domain:
            return super().find(root)
        return [cls.of_domain(domain).find(root) for domain in cls.places][0]

    @classmethod
    def holds_images(cls, folder: Path) -> bool:
        return folder.is_dir() and bool(list_folders(folder))

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        """All images of the domain for training and for the test, or split 50/20/30 per class."""
        items = cls.items(layout)
        return cls.split(items) if cls.held_out else Listing(items, [], items)

    @classmethod
    def read(cls, layout: Layout) -> tuple[Listing, str]:
        listing, source = super().read(layout)
        if not cls.held_out:
            return listing, source
        return listing, cls.store_built(layout, listing, f"DATASET.DOMAIN_TEST held_out: {cls.__name__} has no split")

    @classmethod
    def items(cls, layout: Layout) -> list[Item]:
        """All images of the domain, by the sorted class folders.

        Raises:
            ValueError: another domain has class folders that this one lacks: it is not all there.
        """
        folders = sorted(list_folders(layout.images), key=str.lower)  # one order, whatever case a copy's folders have
        cls.refuse_fewer_classes(layout, folders)
        return [
            (f"{folder}/{file}", label, cls.classname(folder))
            for label, folder in enumerate(folders)
            for file in list_images(layout.images / folder)
        ]

    @classmethod
    def classname(cls, folder: str) -> str:
        """The class name of a folder, as published: in lower case."""
        return folder.lower()

    @classmethod
    def refuse_fewer_classes(cls, layout: Layout, folders: list[str]) -> None:
        """Raises ValueError where another domain beside this one has classes that this one lacks."""
        present = {name.lower() for name in folders}
        for other in cls.places:
            present_at = (layout.folder / place for place in cls.places[other])
            place = next((innermost(place) for place in present_at if place.is_dir()), None)
            if place is None or place == layout.images:
                continue
            if lacking := [name for name in list_folders(place) if name.lower() not in present]:
                first = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
                raise ValueError(
                    f"{cls.__name__}: {layout.images} lacks {len(lacking)} class folders that {place} has ({first}): "
                    "it is half extracted, or the other has folders that are no class"
                )

    @classmethod
    def split(cls, items: list[Item]) -> Listing:
        """The 50/20/30 split of each class, as other data sets without a published split have it."""
        files = {label: [file for file, _, _ in group] for label, group in by_label(items).items()}
        return random_split(files, {label: name for _, label, name in items})

    @classmethod
    def class_names(cls, layout: Layout, listing: Listing) -> list[str]:
        """All class names, ordered by label."""
        names = {label: name for items in listing for _, label, name in items}
        return [names[label] for label in sorted(names)]

    def names(self, listing: Listing) -> list[str]:
        return self.class_list

    def exposed(self, subsample: str) -> list[list[Datum]]:
        """The lists of a class group, its labels numbered from 0; a class may have no images in some of them."""
        super().exposed(subsample)  # an unknown group is an error
        self.selected = self.groups[subsample]
        number = {label: position for position, label in enumerate(self.selected)}
        return [
            [Datum(d.impath, number[d.label], d.domain, d.classname) for d in items if d.label in number]
            for items in (self.chosen.train, self.chosen.val, self.chosen.test)
        ]

    @property
    def classnames(self) -> list[str]:
        """Class names of the selected group, whether or not each has training images."""
        return [self.class_list[label] for label in self.selected]

    @property
    def lab2cname(self) -> dict[int, str]:
        """Class name of each label."""
        return dict(enumerate(self.classnames))

    @property
    def num_classes(self) -> int:
        """Number of classes of the selected group."""
        return len(self.selected)


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _of_domain(kind: type[DomainDataset], domain: str, held_out: bool) -> type[DomainDataset]:
    train, test = (0, 0) if held_out else kind.sizes.get(domain, (0, 0))
    entries = {"domain": domain, "held_out": held_out, "image_dirs": kind.places[domain], "counts": (train, 0, test)}
    entries["test_only"] = "DOMAIN_TEST" in kind.reads and not held_out
    return type(f"{kind.__name__}-{domain}", (kind,), entries | {"__doc__": kind.__doc__})
