"""VisDA-17 (Peng et al., 2017), its classification part: 12 kinds of objects, rendered and photographed."""

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import Layout
from promptkd.data.domains import DomainDataset
from promptkd.data.folders import list_folders
from promptkd.data.reading import read_fields
from promptkd.data.splits import Item


@DATASET_REGISTRY.register(force=True)  # Dassl has one of that name
class VisDA17(DomainDataset):
    """The challenge's train is the domain synthetic, its validation is real, which the field adapts to.

    Each has class folders, and `image_list.txt` with lines of "aeroplane/name.jpg 0"; without it the folders count.
    """

    dataset_dir = "visda17"
    other_dirs = (
        "VisDA17",
        "VisDA-17",
        "visda-17",
        "visda2017",
        "VisDA2017",
        "VisDA-2017",
        "VisDA",
        "visda",
        "VisDA-C",
    )
    places = {"synthetic": ("train",), "real": ("validation",)}
    sizes = {"synthetic": (152397, 152397), "real": (55388, 55388)}
    classes = 12
    listed_from_disk = False

    @classmethod
    def items(cls, layout: Layout) -> list[Item]:
        """The images of the list, or those on disk where there is none."""
        path = layout.images / "image_list.txt"
        if not path.is_file():
            return super().items(layout)
        cls.refuse_fewer_classes(layout, list_folders(layout.images))
        items = []
        for file, label in read_fields(path, 2, number=1):
            folder, _, name = file.partition("/")
            if not name or ".." in file.split("/"):
                raise ValueError(f"{path}: {file[:80]!r} is not a class folder and an image in it; get the file again")
            items.append((file, int(label), folder))
        return items
