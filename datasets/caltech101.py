"""Caltech-101 (Fei-Fei et al., 2004): 100 object categories as the field uses it, without background and Faces_easy."""

from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import BenchmarkDataset, Layout
from promptkd.data.splits import Listing, split_by_folder


@DATASET_REGISTRY.register()
class Caltech101(BenchmarkDataset):
    """Split per class 50/20/30. torchvision unpacks it to `caltech101/`, Kaggle's has the classes right in it."""

    dataset_dir = "caltech-101"
    other_dirs = ("caltech101", "Caltech101", "Caltech-101", "101_ObjectCategories")
    image_dirs = ("101_ObjectCategories", ".")
    split_file = "split_zhou_Caltech101.json"
    counts = (4128, 1649, 2465)
    classes = 100
    ignored = ("BACKGROUND_Google", "Faces_easy")
    renamed = {"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"}

    @classmethod
    def holds_images(cls, folder: Path) -> bool:
        """Whether a folder has images by its name and any content, or by one of some classes in it."""
        by_name = folder.name == "101_ObjectCategories" and super().holds_images(folder)
        return by_name or any((folder / name).is_dir() for name in ("accordion", *cls.renamed))

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        return split_by_folder(layout.images, cls.renamed, cls.ignored)
