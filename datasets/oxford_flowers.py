"""Oxford Flowers 102 (Nilsback and Zisserman, 2008)."""

import logging
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import BenchmarkDataset, Layout
from promptkd.data.folders import walk_images
from promptkd.data.reading import read_mat, read_numbered_names
from promptkd.data.splits import Listing, random_split
from promptkd.home import shown_command

log = logging.getLogger("promptkd.datasets")


@DATASET_REGISTRY.register()
class OxfordFlowers(BenchmarkDataset):
    """Split per class 50/20/30; the data set's own `setid.mat` is not used. torchvision's folder is `flowers-102/`.

    Kaggle's copies have the same files in `{train,valid,test}/<number>/`: the images are looked up there, and the split
    is the published one or made of `imagelabels.mat` all the same.

    Class names are those of `cat_to_name.json`, {"1": "pink primrose", ...}; torchvision's list where it is absent.
    """

    dataset_dir = "oxford_flowers"
    other_dirs = ("flowers-102", "OxfordFlowers", "flowers102", "oxford-flowers", "flower_data")
    image_dirs = ("jpg", ".", "flower_data", "dataset")
    split_file = "split_zhou_OxfordFlowers.json"
    counts = (4093, 1633, 2463)
    classes = 102

    @classmethod
    def holds_images(cls, folder: Path) -> bool:
        """Whether a folder has the images: `jpg` with any content, or parts with a folder for each number."""
        return super().holds_images(folder) if folder.name == "jpg" else (folder / "train" / "1").is_dir()

    @classmethod
    def layout_at(cls, root: Path, folder: Path, images: Path) -> Layout:
        if images.name == "jpg":
            return Layout(root, folder, images)
        moved = {path.rpartition("/")[2]: path for path in walk_images(images)}
        return Layout(root, folder, images, moved)

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        if path := layout.find("cat_to_name.json"):
            names = read_numbered_names(path)
        else:
            path = Path("the list of torchvision")
            names = dict(enumerate(_names_of_torchvision(layout)))
        files: dict[int, list[str]] = {}  # in order of first appearance, which the published shuffle follows
        for number, label in enumerate(read_mat(layout.file("imagelabels.mat"), "labels"), start=1):
            files.setdefault(int(label) - 1, []).append(f"image_{number:05d}.jpg")
        if absent := sorted(str(label + 1) for label in files if label not in names):
            raise ValueError(f"{path} does not name {len(absent)} of {len(files)} classes: {', '.join(absent[:10])}")
        return random_split(files, names)


def _names_of_torchvision(layout: Layout) -> list[str]:
    """The class names in torchvision's Flowers102; raises FileNotFoundError where it has none."""
    from torchvision.datasets import Flowers102

    names = getattr(Flowers102, "classes", None)
    if names is None:  # before torchvision 0.22
        raise FileNotFoundError(
            f"cat_to_name.json is not in {layout.folder}, and this torchvision does not know the names either; "
            f"{shown_command('data')} check oxford_flowers says where to get it"
        )
    log.info("OxfordFlowers: no cat_to_name.json, class names are torchvision's")
    return names
