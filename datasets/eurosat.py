"""EuroSAT (Helber et al., 2019): 27,000 satellite images of 10 kinds of land use."""

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import BenchmarkDataset, Layout
from promptkd.data.images import list_folders
from promptkd.data.splits import Listing, split_by_folder


@DATASET_REGISTRY.register()
class EuroSAT(BenchmarkDataset):
    """Split per class 50/20/30. torchvision uses the same layout as the published code."""

    dataset_dir = "eurosat"
    other_dirs = ("EuroSAT",)
    image_dirs = ("2750",)
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
    def build(cls, layout: Layout) -> Listing:
        if odd := sorted(set(list_folders(layout.images)) - set(cls.renamed)):
            raise ValueError(
                f"EuroSAT: {layout.images} has folders that are no class: {', '.join(odd[:10])}; take them out "
                f"(classes are {', '.join(cls.renamed)})"
            )
        return split_by_folder(layout.images, cls.renamed)
