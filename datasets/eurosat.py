"""EuroSAT (Helber et al., 2019): 27,000 satellite images of 10 kinds of land use."""

from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import BenchmarkDataset, Layout
from promptkd.data.folders import list_folders
from promptkd.data.splits import Listing, split_by_folder


@DATASET_REGISTRY.register()
class EuroSAT(BenchmarkDataset):
    """Split per class 50/20/30. torchvision uses the same layout as the published code.

    The authors' present archive (Zenodo) unpacks to `EuroSAT_RGB/`, with the same files,
    Kaggle's to `EuroSAT/<class>/`.
    """

    dataset_dir = "eurosat"
    other_dirs = ("EuroSAT", "EuroSAT_RGB", "2750", "EuroSAT-RGB", "eurosat_rgb")
    image_dirs = ("2750", "EuroSAT_RGB", ".")
    split_file = "split_zhou_EuroSAT.json"
    counts = (13500, 5400, 8100)
    classes = 10
    renamed = {
        "AnnualCrop": "Annual Crop Land",
        "Forest": "Forest",
        "HerbaceousVegetation": "Herbaceous Vegetation Land",
        "Highway": "Highway or Road",
        "Industrial": "Industrial Buildings",
        "Pasture": "Pasture Land",
        "PermanentCrop": "Permanent Crop Land",
        "Residential": "Residential Buildings",
        "River": "River",
        "SeaLake": "Sea or Lake",
    }

    @classmethod
    def holds_images(cls, folder: Path) -> bool:
        """Whether a folder has images by its name and any content, or by one of the classes in it."""
        by_name = folder.name in ("2750", "EuroSAT_RGB") and super().holds_images(folder)
        return by_name or any((folder / name).is_dir() for name in cls.renamed)

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        if odd := sorted(set(list_folders(layout.images)) - set(cls.renamed)):
            raise ValueError(
                f"EuroSAT: {layout.images} has folders that are no class: {', '.join(odd[:10])}; take them out "
                f"(classes are {', '.join(cls.renamed)})"
            )
        return split_by_folder(layout.images, cls.renamed)
