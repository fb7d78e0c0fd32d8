"""FGVC-Aircraft (Maji et al., 2013): 100 variants of aircraft."""

from dassl.data.datasets import DATASET_REGISTRY
from datasets.base import BenchmarkDataset, Layout
from datasets.splits import Item, Listing


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
        variants = layout.file("variants.txt").read_text(encoding="utf-8").splitlines()
        labels = {name.strip(): label for label, name in enumerate(variants)}

        def items(part: str) -> list[Item]:
            lines = layout.file(f"images_variant_{part}.txt").read_text(encoding="utf-8").splitlines()
            entries = (line.strip().partition(" ") for line in lines if line.strip())
            return [(f"{file}.jpg", labels[name.strip()], name.strip()) for file, _, name in entries]

        return Listing(items("train"), items("val"), items("test"))
