"""Food-101 (Bossard et al., 2014): 101 dishes."""

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import BenchmarkDataset, Layout
from promptkd.data.splits import Listing, split_by_folder


@DATASET_REGISTRY.register()
class Food101(BenchmarkDataset):
    """Split per class 50/20/30; the lists in `meta/` are not used. torchvision's layout is the published one."""

    dataset_dir = "food-101"
    other_dirs = ("food101", "Food101", "Food-101", "food41")
    split_file = "split_zhou_Food101.json"
    counts = (50500, 20200, 30300)
    classes = 101

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        return split_by_folder(layout.images)
