"""Describable Textures (Cimpoi et al., 2014): 47 texture attributes."""

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import BenchmarkDataset, Layout
from promptkd.data.splits import Listing, split_by_folder


@DATASET_REGISTRY.register()
class DescribableTextures(BenchmarkDataset):
    """Split per class 50/20/30; the split lists of the data set itself are not used. torchvision's is `dtd/dtd/`."""

    dataset_dir = "dtd"
    other_dirs = ("DTD", "dtd-r1.0.1")
    split_file = "split_zhou_DescribableTextures.json"
    counts = (2820, 1128, 1692)
    classes = 47

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        return split_by_folder(layout.images)
