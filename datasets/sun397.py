"""SUN397 (Xiao et al., 2010): 397 kinds of scenes."""

from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import BenchmarkDataset, Layout
from promptkd.data.reading import label_of, read_lines
from promptkd.data.splits import Item, Listing, split_trainval


@DATASET_REGISTRY.register()
class SUN397(BenchmarkDataset):
    """First official partition; a fifth of its training list of each class is validation.

    Lines of the lists are "/a/apartment_building/outdoor/sun_ab.jpg"; a class is that path without its first letter's
    folder, reversed: "outdoor apartment_building". Partitions.zip may be unpacked beside the images or in a
    folder. torchvision has the images in `SUN397/` and no partitions: there the published split file is needed.
    """

    dataset_dir = "sun397"
    other_dirs = ("SUN397",)
    image_dirs = ("SUN397", ".")
    marker = "a/*"
    split_file = "split_zhou_SUN397.json"
    counts = (15880, 3970, 19850)
    classes = 397

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        def lines(name: str) -> tuple[Path, list[str]]:
            path = layout.file(name, f"Partitions/{name}")
            return path, [line.removeprefix("/") for line in read_lines(path)]

        labels = {name: label for label, name in enumerate(lines("ClassName.txt")[1])}

        def items(name: str) -> list[Item]:
            path, files = lines(name)
            folders = [(file, file.rpartition("/")[0]) for file in files]
            return [
                (file, label_of(labels, folder, path), " ".join(folder.split("/")[:0:-1])) for file, folder in folders
            ]

        return Listing(*split_trainval(items("Training_01.txt")), items("Testing_01.txt"))
