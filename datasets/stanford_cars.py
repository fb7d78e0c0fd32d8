"""Stanford Cars (Krause et al., 2013): 196 models of cars."""

import csv
from pathlib import Path

from scipy.io import loadmat

from dassl.data.datasets import DATASET_REGISTRY
from datasets.base import BenchmarkDataset, Layout
from datasets.images import list_folders, list_images
from datasets.splits import Item, Listing, split_trainval


@DATASET_REGISTRY.register()
class StanfordCars(BenchmarkDataset):
    """Official test list; a fifth of the official training list of each class is validation.

    Layouts, besides the published one (which is torchvision's too):
        Kaggle, doubled: `cars_train/cars_train/*.jpg`, `cars_test/cars_test/*.jpg`, `car_devkit/devkit/*.mat`.
        Kaggle, by class: `car_data/car_data/{train,test}/<class name>/*.jpg`, `names.csv`. The files keep their
            numbers, so that the published split file fits this layout as well.
    """

    dataset_dir = "stanford_cars"
    other_dirs = ("StanfordCars", "stanford-cars", "stanford-cars-dataset", "stanford-car-dataset-by-classes-folder")
    image_dirs = ("cars_train", "car_data")
    split_file = "split_zhou_StanfordCars.json"
    counts = (6509, 1635, 8041)
    classes = 196

    @classmethod
    def layout_at(cls, root: Path, folder: Path, images: Path) -> Layout:
        moved = {}
        for part in ("train", "test"):
            doubled, by_class = f"cars_{part}/cars_{part}", folder / "car_data" / "car_data" / part
            if images.name == "cars_train" and (folder / doubled).is_dir():
                moved[f"cars_{part}"] = doubled
            elif images.name == "car_data" and by_class.is_dir():
                for name in list_folders(by_class):
                    for file in list_images(by_class / name):
                        moved[f"cars_{part}/{file}"] = f"car_data/car_data/{part}/{name}/{file}"
        return Layout(root, folder, folder, moved)

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        if (layout.folder / "car_data").is_dir():
            names = _names_of_csv(layout.file("names.csv", "car_data/names.csv"))
            train, test = (_items_by_class(layout, names, part) for part in ("train", "test"))
        else:
            meta = layout.file("devkit/cars_meta.mat", "car_devkit/devkit/cars_meta.mat", "cars_meta.mat")
            names = [str(name) for name in loadmat(meta, squeeze_me=True)["class_names"].ravel()]
            folders = ("devkit/", "car_devkit/devkit/", "")
            train = _items(layout.file(*(f"{d}cars_train_annos.mat" for d in folders)), names, "train")
            # The devkit's own cars_test_annos.mat has no classes.
            test = _items(layout.file(*(f"{d}cars_test_annos_withlabels*.mat" for d in folders)), names, "test")
        return Listing(*split_trainval(train), test)


def _class_name(name: str) -> str:
    """The year is moved to the front: "Audi TTS Coupe 2012" is "2012 Audi TTS Coupe"."""
    model, _, year = name.rpartition(" ")
    return f"{year} {model}"


def _items(annotations: Path, names: list[str], part: str) -> list[Item]:
    """Items of a .mat file, whose `annotations` hold fname and class (from 1)."""
    items = []
    for entry in loadmat(annotations, squeeze_me=True)["annotations"].ravel():
        label = int(entry["class"]) - 1
        items.append((f"cars_{part}/{entry['fname']}", label, _class_name(names[label])))
    return items


def _names_of_csv(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as lines:
        return [row[0] for row in csv.reader(lines) if row]


def _items_by_class(layout: Layout, names: list[str], part: str) -> list[Item]:
    # A folder name cannot hold the "/" of "Ram C/V Cargo Van Minivan 2012".
    labels = {name.replace("/", "-"): label for label, name in enumerate(names)}
    folder, items = layout.folder / "car_data" / "car_data" / part, []
    for name in list_folders(folder):
        if name not in labels:
            raise ValueError(f"StanfordCars: folder {folder / name} is not a class of names.csv")
        label = labels[name]
        items += [(f"cars_{part}/{file}", label, _class_name(names[label])) for file in list_images(folder / name)]
    return sorted(items)  # by file, which is the order of the official lists
