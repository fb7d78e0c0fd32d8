"""DomainNet (Peng et al., 2019): 345 kinds of things in six domains, which have training and test lists."""

import logging
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import Layout
from promptkd.data.checks import check_classnames, sizes_text
from promptkd.data.domains import DomainDataset
from promptkd.data.reading import read_fields
from promptkd.data.splits import Item, Listing

log = logging.getLogger("promptkd.datasets")


@DATASET_REGISTRY.register(force=True)  # Dassl has one of that name
class DomainNet(DomainDataset):
    """`<domain>/<class>/`, and lists of "clipart/axe/name.jpg 11" in `splits/<domain>_train.txt` and `_test.txt`.

    There are no validation images. The lists are the authors' cleaned ones, in which a class may lack training images
    in a domain ("t-shirt" in painting): it stays a class.
    """

    dataset_dir = "domainnet"
    other_dirs = ("DomainNet", "domain_net", "domain-net", "DomainNet_cleaned")
    places = {name: (name,) for name in ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")}
    sizes = {
        "clipart": (33525, 14604),
        "infograph": (36023, 15582),
        "painting": (50416, 21850),
        "quickdraw": (120750, 51750),
        "real": (120906, 52041),
        "sketch": (48212, 20916),
    }
    classes = 345
    listed_from_disk = False
    reads = ("DOMAIN", "SKIP_BAD_IMAGES")

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        train, test = (read_list(list_of(layout, cls.domain, part), cls.domain) for part in ("train", "test"))
        return Listing(train, [], test)

    @classmethod
    def class_names(cls, layout: Layout, listing: Listing) -> list[str]:
        """All class names; those that no image of the domain has come from the lists of the others."""
        names = {label: name for items in listing for _, label, name in items}
        for domain in cls.places:
            if sorted(names) == list(range(len(names))) and len(names) >= cls.classes:
                break
            for part in ("train", "test"):
                if path := layout.find(*list_places(domain, part)):
                    names = {label: name for _, label, name in read_list(path, domain)} | names
        if sorted(names) != list(range(len(names))):
            first = min(set(range(max(names) + 1)) - set(names))
            raise ValueError(f"{cls.__name__}: no list has an image of class {first}; get the lists again")
        return [names[label] for label in range(len(names))]

    def check(self, listing: Listing) -> None:
        name, sizes = type(self).__name__, sizes_text(tuple(len(items) for items in listing))
        if not listing.train or not listing.test:
            raise ValueError(f"{name}: a list is empty ({sizes} images); get the lists again")
        names: dict[int, str] = {}
        for items in listing:
            for _, label, classname in items:
                if names.setdefault(label, classname) != classname:
                    raise ValueError(f"{name}: label {label} is named both {names[label]!r} and {classname!r}")
        check_classnames(name, list(names.values()))
        trained = {label for _, label, _ in listing.train}
        if lacking := [names[label] for label in sorted(names) if label not in trained]:
            log.info("%s: %d classes have no training images: %s", name, len(lacking), ", ".join(lacking[:10]))


def list_places(domain: str, part: str) -> tuple[str, str]:
    """Where a list may be: Dassl's place, and the one beside the domains."""
    return f"splits/{domain}_{part}.txt", f"{domain}_{part}.txt"


def list_of(layout: Layout, domain: str, part: str) -> Path:
    """The list of a part of a domain. Raises FileNotFoundError where there is none."""
    return layout.file(*list_places(domain, part))


def read_list(path: Path, domain: str) -> list[Item]:
    """The images of a list, their paths from the domain's folder.

    Raises:
        ValueError: a line is not an image of this domain in a class folder, and its label.
    """
    items = []
    for file, label in read_fields(path, 2, number=1, most=2):
        first, *folders, _ = file.split("/")
        if first != domain or len(folders) != 1 or ".." in folders:
            raise ValueError(f"{path}: {file[:80]!r} is not {domain}/<class>/<image>; get the list again")
        items.append((file.removeprefix(f"{domain}/"), int(label), folders[0]))
    return items
