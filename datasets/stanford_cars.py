"""Stanford Cars (Krause et al., 2013): 196 models of cars."""

import csv
from collections.abc import Mapping
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import BenchmarkDataset, Layout
from promptkd.data.folders import list_folders, list_images
from promptkd.data.reading import read_lines, read_mat
from promptkd.data.splits import Item, Listing, split_trainval


@DATASET_REGISTRY.register()
class StanfordCars(BenchmarkDataset):
    """Official test list; a fifth of the official training list of each class is validation.

    Layouts, besides the published one (which is torchvision's too):
        Kaggle, doubled: `cars_train/cars_train/*.jpg`, `cars_test/cars_test/*.jpg`, `car_devkit/devkit/*.mat`.
        Kaggle, by class: `car_data/car_data/{train,test}/<class name>/*.jpg` or one `car_data/` less, `names.csv`. The
            files keep their numbers, so that the published split file fits this layout as well.
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
            doubled = f"cars_{part}/cars_{part}"
            if images.name == "cars_train" and (folder / doubled).is_dir():
                moved[f"cars_{part}"] = doubled
            for place in ("car_data/car_data", "car_data") if images.name == "car_data" else ():
                if (by_class := folder / place / part).is_dir():
                    for name in list_folders(by_class):
                        for file in list_images(by_class / name):
                            moved.setdefault(f"cars_{part}/{file}", f"{place}/{part}/{name}/{file}")
        return Layout(root, folder, folder, moved)

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        by_class = {file: place for file, place in layout.moved.items() if "/" in file}
        if by_class:
            names = _names_of_csv(layout.file("names.csv", "car_data/names.csv"))
            train, test = (_items_by_class(by_class, names, part) for part in ("train", "test"))
        else:
            meta = layout.file("devkit/cars_meta.mat", "car_devkit/devkit/cars_meta.mat", "cars_meta.mat")
            names = [str(name) for name in read_mat(meta, "class_names")]
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
    for entry in read_mat(annotations, "annotations", ("fname", "class")):
        label = int(entry["class"]) - 1
        if not 0 <= label < len(names):
            raise ValueError(f"{annotations}: class {label + 1} of {entry['fname']} is none of {len(names)} classes")
        items.append((f"cars_{part}/{entry['fname']}", label, _class_name(names[label])))
    return items


def _names_of_csv(path: Path) -> list[str]:
    return [row[0] for row in csv.reader(read_lines(path))]


def _items_by_class(by_class: Mapping[str, str], names: list[str], part: str) -> list[Item]:
    # A folder name cannot hold the "/" of "Ram C/V Cargo Van Minivan 2012".
    labels = {name.replace("/", "-"): label for label, name in enumerate(names)}
    items = []
    for file, place in by_class.items():
        if not file.startswith(f"cars_{part}/"):
            continue
        folder = Path(place).parent
        if folder.name not in labels:
            raise ValueError(f"StanfordCars: folder {folder} is not a class of names.csv")
        label = labels[folder.name]
        items.append((file, label, _class_name(names[label])))
    return sorted(items)  # by file, which is the order of the official lists
