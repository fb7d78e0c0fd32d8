"""FGVC-Aircraft (Maji et al., 2013): 100 variants of aircraft."""

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import BenchmarkDataset, Layout
from promptkd.data.reading import label_of, read_fields, read_lines
from promptkd.data.splits import Item, Listing


@DATASET_REGISTRY.register()
class FGVCAircraft(BenchmarkDataset):
    """Official lists; labels follow `variants.txt`. The archive, and so torchvision, has a `data/` folder between.

    A list's lines are "0034309 737-400": file name, then the variant, which may hold spaces.
    """

    dataset_dir = "fgvc_aircraft"
    other_dirs = ("fgvc-aircraft-2013b", "fgvc-aircraft", "FGVCAircraft")
    image_dirs = ("images", "data/images")
    counts = (3334, 3333, 3333)
    classes = 100

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        labels = {name: label for label, name in enumerate(read_lines(layout.file("variants.txt")))}

        def items(part: str) -> list[Item]:
            path = layout.file(f"images_variant_{part}.txt")
            return [(f"{file}.jpg", label_of(labels, name, path), name) for file, name in read_fields(path, 2, most=2)]

        return Listing(items("train"), items("val"), items("test"))
