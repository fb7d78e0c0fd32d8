"""Oxford Flowers 102 (Nilsback and Zisserman, 2008)."""

from scipy.io import loadmat

from dassl.data.datasets import DATASET_REGISTRY
from datasets.base import BenchmarkDataset, Layout
from datasets.reading import read_json
from datasets.splits import Listing, random_split


@DATASET_REGISTRY.register()
class OxfordFlowers(BenchmarkDataset):
    """Split per class 50/20/30; the data set's own `setid.mat` is not used. torchvision's folder is `flowers-102/`.

    Class names are those of `cat_to_name.json`, {"1": "pink primrose", ...}; torchvision's list where it is absent.
    """

    dataset_dir = "oxford_flowers"
    other_dirs = ("flowers-102", "OxfordFlowers", "flowers102", "oxford-flowers")
    image_dirs = ("jpg",)
    split_file = "split_zhou_OxfordFlowers.json"
    counts = (4093, 1633, 2463)
    classes = 102

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        if path := layout.find("cat_to_name.json"):
            names = {int(label) - 1: name for label, name in read_json(path).items()}
        else:
            from torchvision.datasets import Flowers102

            print("OxfordFlowers: no cat_to_name.json, class names are torchvision's")
            names = dict(enumerate(Flowers102.classes))
        files: dict[int, list[str]] = {}  # in order of first appearance, which the published shuffle follows
        labels = loadmat(layout.file("imagelabels.mat"), squeeze_me=True)["labels"].ravel()
        for number, label in enumerate(labels, start=1):
            files.setdefault(int(label) - 1, []).append(f"image_{number:05d}.jpg")
        return random_split(files, names)
