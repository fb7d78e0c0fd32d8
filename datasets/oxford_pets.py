"""Oxford-IIIT Pets (Parkhi et al., 2012): 37 breeds of cats and dogs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY, Datum
from promptkd.data import splits
from promptkd.data.benchmark import BenchmarkDataset, Layout
from promptkd.data.reading import read_fields
from promptkd.data.splits import Item, Listing
from promptkd.files import write_json


@DATASET_REGISTRY.register()
class OxfordPets(BenchmarkDataset):
    """Official test list; a fifth of the official trainval list of each class is validation.

    A list's lines are "Abyssinian_100 1 1 1": file name, class number from 1, species, breed within the species.
    torchvision unpacks it to `oxford-iiit-pet/`.
    """

    dataset_dir = "oxford_pets"
    other_dirs = ("oxford-iiit-pet", "OxfordPets", "oxford-pets")
    split_file = "split_zhou_OxfordPets.json"
    counts = (2944, 736, 3669)
    classes = 37

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        train, val = splits.split_trainval(
            _items(layout.file("annotations/trainval.txt", "annotations/annotations/trainval.txt"))
        )
        return Listing(train, val, _items(layout.file("annotations/test.txt", "annotations/annotations/test.txt")))

    # Data-set files written for upstream take the functions of split files from this class.

    @staticmethod
    def read_split(filepath: str | Path, path_prefix: str | Path) -> tuple[list[Datum], list[Datum], list[Datum]]:
        """Train, val and test of a split file, whose images lie under `path_prefix`."""
        train, val, test = (_data(items, path_prefix) for items in splits.read_split(Path(filepath)))
        return train, val, test

    @staticmethod
    def save_split(
        train: Sequence[Datum],
        val: Sequence[Datum],
        test: Sequence[Datum],
        filepath: str | Path,
        path_prefix: str | Path,
    ) -> None:
        """Writes what `read_split` reads.

        Raises:
            ValueError: an image is not under `path_prefix`.
        """
        lists = {"train": train, "val": val, "test": test}
        content = {
            name: [(Path(d.impath).relative_to(path_prefix).as_posix(), d.label, d.classname) for d in data]
            for name, data in lists.items()
        }
        write_json(filepath, content, indent=0)

    @staticmethod
    def split_trainval(trainval: Sequence[Datum], p_val: float = 0.2) -> tuple[list[Datum], list[Datum]]:
        """Train and val out of one list: a fraction of each class, drawn as upstream draws it with seed 1."""
        train, val = splits.split_trainval([(d.impath, d.label, d.classname) for d in trainval], p_val)
        return _data(train), _data(val)

    subsample_classes = staticmethod(splits.subsample_classes)


def _data(items: Sequence[Item], folder: str | Path = "") -> list[Datum]:
    return [Datum(str(Path(folder, file)), label, 0, name) for file, label, name in items]


def _items(path: Path) -> list[Item]:
    lines = read_fields(path, 2, number=1)
    return [(f"{file}.jpg", int(number) - 1, file.rpartition("_")[0].lower()) for file, number, *_ in lines]
