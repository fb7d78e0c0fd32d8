"""Oxford-IIIT Pets (Parkhi et al., 2012): 37 breeds of cats and dogs."""

from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY
from datasets.base import BenchmarkDataset, Layout
from datasets.reading import read_fields
from datasets.splits import Item, Listing, split_trainval


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
        train, val = split_trainval(_items(layout.file("annotations/trainval.txt")))
        return Listing(train, val, _items(layout.file("annotations/test.txt")))


def _items(path: Path) -> list[Item]:
    lines = read_fields(path, 2, number=1)
    return [(f"{file}.jpg", int(number) - 1, file.rpartition("_")[0].lower()) for file, number, *_ in lines]
