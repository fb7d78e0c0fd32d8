"""Data set trees as other people have them: Kaggle's, torchvision's, a mirror's; each made from the published one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import trees
from scipy.io import loadmat, savemat
from trees import dataset_cfg, write_image, write_lines

from dassl.data.datasets import DATASET_REGISTRY
from promptkd import guests
from promptkd.data.benchmark import BenchmarkDataset

PARTS = ("train", "test")

guests.register_datasets()


def load(name: str, root: Path, **options) -> BenchmarkDataset:
    return DATASET_REGISTRY.get(name)(dataset_cfg(root, **options))


def items(data: BenchmarkDataset, part: str = "test") -> list[tuple[str, int, str]]:
    """Items with paths relative to the data set's folder."""
    folder = data.layout.folder
    return [(Path(d.impath).relative_to(folder).as_posix(), d.label, d.classname) for d in getattr(data.full, part)]


def nest(*moves: tuple[str, str]):
    def move(root: Path) -> None:
        for source, target in moves:
            (root / "moving").mkdir()
            shutil.move(root / source, root / "moving" / "it")
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(root / "moving" / "it", root / target)
            (root / "moving").rmdir()

    return move


def flat_val(folder: Path, images: Path) -> dict[str, str]:
    """Empty the class folders of val; returns file stem -> wnid."""
    wnids = {}
    for path in sorted(images.glob("*/*")):
        wnids[path.stem] = path.parent.name
        path.rename(images / path.name)
    for path in images.iterdir():
        if path.is_dir():
            path.rmdir()
    return wnids


def kaggle_imagenet(root: Path) -> None:
    nest(("imagenet/images", "imagenet/ILSVRC/Data/CLS-LOC"))(root)
    folder = root / "imagenet"
    wnids = flat_val(folder, folder / "ILSVRC/Data/CLS-LOC/val")
    lines = [f"{file},{wnid} 1 2 3 4 {wnid} 5 6 7 8" for file, wnid in sorted(wnids.items(), reverse=True)]
    write_lines(folder / "LOC_val_solution.csv", ["ImageId,PredictionString", *lines])


def devkit_imagenet(root: Path) -> None:
    nest(("imagenet/images/train", "imagenet/train"), ("imagenet/images/val", "imagenet/val"))(root)
    folder = root / "imagenet"
    (folder / "images").rmdir()
    wnids = flat_val(folder, folder / "val")
    order = ["n04008634", "n01443537", "n02487347", "n01440764"]  # the devkit's ids are not in wnid order
    synsets = np.array(
        [(number, wnid, "words") for number, wnid in enumerate(order, 1)],
        dtype=[("ILSVRC2012_ID", object), ("WNID", object), ("words", object)],
    ).reshape(-1, 1)
    devkit = folder / "ILSVRC2012_devkit_t12" / "data"
    devkit.mkdir(parents=True)
    savemat(devkit / "meta.mat", {"synsets": synsets})
    truth = [str(order.index(wnid) + 1) for _, wnid in sorted(wnids.items())]
    write_lines(devkit / "ILSVRC2012_validation_ground_truth.txt", truth)


def hugging_face_imagenet(root: Path) -> None:
    val = root / "imagenet" / "images" / "val"
    for file, wnid in flat_val(root / "imagenet", val).items():
        (val / f"{file}.JPEG").rename(val / f"{file}_{wnid}.JPEG")


def named_imagenet(root: Path) -> None:
    for path in (root / "imagenet" / "images").glob("*/n0*"):
        path.rename(path.with_name(trees.WNIDS[path.name].title()))


def cars_by_class(root: Path) -> None:
    data = load("StanfordCars", root)
    folder = root / "stanford_cars"
    for part in ("train", "val", "test"):
        for file, label, _ in items(data, part):
            target = "test" if part == "test" else "train"
            name = trees.CARS[label].replace("/", "-")
            path = folder / "car_data" / "car_data" / target / name / Path(file).name
            path.parent.mkdir(parents=True, exist_ok=True)
            (folder / file).rename(path)
    write_lines(folder / "names.csv", trees.CARS)
    for path in ("cars_train", "cars_test", "devkit"):
        shutil.rmtree(folder / path)
    for path in ("split_built_StanfordCars.json", "cars_test_annos_withlabels.mat"):
        (folder / path).unlink()


def kaggle_cars(root: Path) -> None:
    nest(
        ("stanford_cars/cars_train", "stanford_cars/cars_train/cars_train"),
        ("stanford_cars/cars_test", "stanford_cars/cars_test/cars_test"),
        ("stanford_cars/devkit", "stanford_cars/car_devkit/devkit"),
    )(root)
    folder = root / "stanford_cars"
    (folder / "cars_test_annos_withlabels.mat").rename(folder / "cars_test_annos_withlabels (1).mat")


def kaggle_flowers(root: Path) -> None:
    """The same files in train, valid (by number of the class) and test (flat)."""
    folder = root / "oxford_flowers"
    for number, label in enumerate(loadmat(folder / "imagelabels.mat")["labels"].ravel(), start=1):
        part = ("train", "train", "valid", "test")[number % 4]
        place = folder / "flower_data" / part / ("" if part == "test" else str(label))
        place.mkdir(parents=True, exist_ok=True)
        (folder / "jpg" / f"image_{number:05d}.jpg").rename(place / f"image_{number:05d}.jpg")
    (folder / "jpg").rmdir()


# Each has to give the same items as the published layout, up to where the files lie.
OTHER_LAYOUTS = {
    "Caltech101 torchvision": nest(("caltech-101", "caltech101")),
    "OxfordPets torchvision": nest(("oxford_pets", "oxford-iiit-pet")),
    "OxfordFlowers torchvision": nest(("oxford_flowers", "flowers-102")),
    "Food101 mirror": nest(("food-101", "food101/food-101")),
    "FGVCAircraft torchvision": nest(("fgvc_aircraft", "fgvc-aircraft-2013b/data")),
    "FGVCAircraft mirror": nest(("fgvc_aircraft", "fgvc_aircraft/fgvc_aircraft")),
    "SUN397 Partitions": nest(
        ("sun397/ClassName.txt", "sun397/Partitions/ClassName.txt"),
        ("sun397/Training_01.txt", "sun397/Partitions/Training_01.txt"),
        ("sun397/Testing_01.txt", "sun397/Partitions/Testing_01.txt"),
    ),
    "SUN397 one folder": nest(("sun397", "it"), ("it/SUN397/a", "it/a"), ("it/SUN397/w", "it/w"), ("it", "SUN397")),
    "DescribableTextures torchvision": nest(("dtd", "dtd/dtd")),
    "EuroSAT torchvision": nest(),
    "EuroSAT of Zenodo": nest(("eurosat/2750", "eurosat/EuroSAT_RGB")),
    "EuroSAT of Zenodo twice its name": nest(("eurosat/2750", "eurosat/EuroSAT_RGB/EuroSAT_RGB")),
    "EuroSAT of Zenodo, in the root": nest(("eurosat/2750", "EuroSAT_RGB")),
    "EuroSAT in the root": nest(("eurosat/2750", "2750")),
    "EuroSAT Kaggle": nest(("eurosat/2750", "EuroSAT")),
    "Caltech101 in the root": nest(("caltech-101/101_ObjectCategories", "101_ObjectCategories")),
    "Caltech101 Kaggle": nest(("caltech-101/101_ObjectCategories", "moved"), ("moved", "caltech-101/caltech-101")),
    "OxfordPets Kaggle": nest(
        ("oxford_pets/images", "oxford_pets/images/images"),
        ("oxford_pets/annotations", "oxford_pets/annotations/annotations"),
    ),
    "OxfordFlowers Kaggle": kaggle_flowers,
    "DescribableTextures twice its name": nest(("dtd/images", "dtd/images/images")),
    "Food101 Kaggle": nest(("food-101", "food41")),
    "ImageNetV2 in the root": nest(
        ("imagenetv2/classnames.txt", "imagenet/classnames.txt"),
        ("imagenetv2/imagenetv2-matched-frequency-format-val", "imagenetv2-matched-frequency-format-val"),
    ),
    "UCF101 lists beside the frames": nest(
        *((f"ucf101/ucfTrainTestlist/{name}", f"ucf101/{name}") for name in ("classInd.txt", "trainlist01.txt")),
    ),
    "StanfordCars Kaggle": kaggle_cars,
    "StanfordCars by class": cars_by_class,
    "StanfordCars by class, one folder less": lambda root: (
        cars_by_class(root),
        nest(*((f"stanford_cars/car_data/car_data/{part}", f"stanford_cars/car_data/{part}") for part in PARTS))(root),
    ),
    "StanfordCars with a stray folder": lambda root: write_image(root / "stanford_cars/car_data/x/1.jpg"),
    "ImageNet torchvision": nest(("imagenet/images/train", "imagenet/train"), ("imagenet/images/val", "imagenet/val")),
    "ImageNet Kaggle": kaggle_imagenet,
    "ImageNet Kaggle as it is": lambda root: (
        kaggle_imagenet(root),
        nest(("imagenet", "imagenet-object-localization-challenge"))(root),
    ),
    "ImageNet devkit": devkit_imagenet,
    "ImageNet class names": named_imagenet,
    "ImageNetA archive": nest(
        ("imagenet-adversarial/classnames.txt", "imagenet/classnames.txt"),
        ("imagenet-adversarial/imagenet-a", "imagenet-a"),
    ),
    "ImageNetR archive": nest(
        ("imagenet-rendition/classnames.txt", "imagenet/classnames.txt"),
        ("imagenet-rendition/imagenet-r", "imagenet-r"),
    ),
    "ImageNetSketch archive": nest(("imagenet-sketch/images", "imagenet-sketch/sketch")),
    "ImageNetV2 archive": nest(
        ("imagenetv2/classnames.txt", "imagenet/classnames.txt"),
        ("imagenetv2/imagenetv2-matched-frequency-format-val", "imagenetv2/0to999"),
        ("imagenetv2/0to999", "imagenetv2/imagenetv2-matched-frequency-format-val"),
    ),
}
