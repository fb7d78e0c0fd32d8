"""Published data sets that miss something, or whose lists are damaged or of another data set: one line says what."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import trees
from other_layouts import cars_by_class, devkit_imagenet, flat_val, kaggle_imagenet, load
from scipy.io import savemat
from trees import WRITERS, write_image, write_json, write_lines


def break_tree(name: str, root: Path, path: str) -> None:
    target = root / path
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()


@pytest.mark.parametrize(
    ("name", "gone", "message"),
    [
        ("ImageNet", "imagenet/classnames.txt", "classnames.txt or imagenet/classnames.txt is not in"),
        ("ImageNet", "imagenet/images/val", "no folder .*val; it holds the 50,000 test images"),
        ("ImageNet", "imagenet/images/train/n01440764", "1 classes of val are not in train: n01440764"),
        ("ImageNetA", "imagenet-adversarial/classnames.txt", "classnames.txt .*is not in"),
        ("OxfordPets", "oxford_pets/annotations/test.txt", "annotations/test.txt is not in"),
        ("OxfordPets", "oxford_pets/images/Bengal_3.jpg", r"1 of 24 images of the split are not under .*Bengal_3\.jpg"),
        ("StanfordCars", "stanford_cars/cars_test_annos_withlabels.mat", r"cars_test_annos_withlabels.* is not in"),
        ("StanfordCars", "stanford_cars/cars_test", r"6 of 21 images .* cars_test/00001\.jpg"),
        ("OxfordFlowers", "oxford_flowers/imagelabels.mat", "imagelabels.mat is not in"),
        ("FGVCAircraft", "fgvc_aircraft/images_variant_val.txt", "images_variant_val.txt is not in"),
        ("SUN397", "sun397/Training_01.txt", "Training_01.txt or Partitions/Training_01.txt is not in"),
        ("UCF101", "ucf101/ucfTrainTestlist/classInd.txt", "classInd.txt is not in"),
        ("EuroSAT", "eurosat/2750", "no folder eurosat/2750"),
        ("Food101", "food-101/images", "no folder food-101/images"),
        ("ImageNetV2", "imagenetv2/imagenetv2-matched-frequency-format-val/1", "labels are not 0..2; first odd one: 1"),
    ],
)
def test_what_is_missing_is_named(name: str, gone: str, message: str, tmp_path: Path):
    WRITERS[name](tmp_path)
    break_tree(name, tmp_path, gone)
    with pytest.raises((FileNotFoundError, ValueError), match=message) as error:
        load(name, tmp_path)
    assert "\n" not in str(error.value)


def test_flowers_without_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    trees.write_flowers(tmp_path)
    (tmp_path / "oxford_flowers" / "cat_to_name.json").unlink()
    data = load("OxfordFlowers", tmp_path)
    assert data.classnames == ["pink primrose", "hard-leaved pocket orchid", "canterbury bells"]
    assert "class names are torchvision's" in capsys.readouterr().out


def test_flowers_without_names_and_without_torchvisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from torchvision.datasets import Flowers102

    trees.write_flowers(tmp_path)
    (tmp_path / "oxford_flowers" / "cat_to_name.json").unlink()
    monkeypatch.delattr(Flowers102, "classes")
    with pytest.raises(FileNotFoundError, match="cat_to_name.json is not in .*, and this torchvision does not know"):
        load("OxfordFlowers", tmp_path)


CELL = np.array(["Audi 2000", "BMW 2001"], dtype=object)
DAMAGED = {
    "FGVCAircraft a page": ("fgvc_aircraft/images_variant_val.txt", "<html>moved</html>", "is a web page"),
    "FGVCAircraft a variant": (
        "fgvc_aircraft/variants.txt",
        "707-320\nF/A-18",
        "'Cessna 172' is none of the 2 classes",
    ),
    "FGVCAircraft one word": ("fgvc_aircraft/images_variant_val.txt", "0000007", "a line has to be 2 words or more"),
    "FGVCAircraft UTF-16": ("fgvc_aircraft/variants.txt", "707-320".encode("utf-16"), "variants.txt is not UTF-8 text"),
    "SUN397 short": ("sun397/ClassName.txt", "/a/abbey", "'a/apartment_building/outdoor' is none of the 1 classes"),
    "OxfordPets no number": ("oxford_pets/annotations/test.txt", "Bengal_1 x 1 1", "the 2. a number, not 'Bengal_1 x"),
    "UCF101 no number": ("ucf101/ucfTrainTestlist/classInd.txt", "ApplyEyeMakeup 1", "the 1. a number"),
    "UCF101 a class": (
        "ucf101/ucfTrainTestlist/testlist01.txt",
        "Yo/v_Yo_g01_c01.avi",
        "'Yo' is none of the 3 classes",
    ),
    "StanfordCars empty": (
        "stanford_cars/devkit/cars_meta.mat",
        "",
        "cars_meta.mat is no MATLAB file that can be read",
    ),
    "StanfordCars other": ("stanford_cars/devkit/cars_meta.mat", {"x": 1}, "cars_meta.mat has no variable class_names"),
    "StanfordCars field": (
        "stanford_cars/devkit/cars_train_annos.mat",
        {"annotations": np.array([("1.jpg",)], dtype=[("fname", object)])},
        "annotations has no class; it is another file",
    ),
    "StanfordCars few": (
        "stanford_cars/devkit/cars_meta.mat",
        {"class_names": CELL},
        "class 3 of 00001.jpg is none of 2",
    ),
    "OxfordFlowers list": ("oxford_flowers/cat_to_name.json", '["rose"]', 'is not {"1": "pink primrose", ...}'),
    "OxfordFlowers short": ("oxford_flowers/cat_to_name.json", '{"1": "rose"}', "does not name 2 of 3 classes: 2, 3"),
    "Food101 split": (
        "food-101/split_zhou_Food101.json",
        '{"train": 1, "val": [], "test": []}',
        "train is 1, not a list",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_lists_are_named(case: str, tmp_path: Path):
    name = case.split()[0]
    file, content, message = DAMAGED[case]
    WRITERS[name](tmp_path)
    if isinstance(content, dict):
        savemat(tmp_path / file, content)
    else:
        (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as error:
        load(name, tmp_path)
    assert message in str(error.value) and str(tmp_path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\ufeffImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1 2 3 4\n", "the class of 7 images"),
        ("Id,Prediction\n1,2\n", "has no column ImageId, PredictionString; its columns are id, prediction"),
        (f"ImageId,PredictionString\na,{'x' * 200_000}\n", "LOC_val_solution.csv, line 2: field larger than"),
    ],
)
def test_damaged_kaggle_list(content: str, message: str, tmp_path: Path):
    trees.write_imagenet(tmp_path)
    kaggle_imagenet(tmp_path)
    (tmp_path / "imagenet" / "LOC_val_solution.csv").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load("ImageNet", tmp_path)


def test_damaged_devkit(tmp_path: Path):
    trees.write_imagenet(tmp_path)
    devkit_imagenet(tmp_path)
    folder = tmp_path / "imagenet" / "ILSVRC2012_devkit_t12" / "data"
    truth = folder / "ILSVRC2012_validation_ground_truth.txt"
    whole = truth.read_text()
    truth.write_text(whole.replace("1", "77"))
    with pytest.raises(ValueError, match="ground_truth.txt: '77' is none of the 4 class numbers"):
        load("ImageNet", tmp_path)
    (folder / "meta.mat").write_bytes(b"")
    with pytest.raises(ValueError, match="meta.mat is no MATLAB file"):
        load("ImageNet", tmp_path)
    (folder / "meta.mat").unlink()
    with pytest.raises(FileNotFoundError, match="meta.mat is not there; it is in the ILSVRC2012 devkit"):
        load("ImageNet", tmp_path)


def test_flat_val_that_nothing_explains(tmp_path: Path):
    trees.write_imagenet(tmp_path)
    flat_val(tmp_path, tmp_path / "imagenet" / "images" / "val")
    with pytest.raises(FileNotFoundError, match="val has no class folders; put LOC_val_solution.csv"):
        load("ImageNet", tmp_path)
    write_lines(tmp_path / "imagenet" / "LOC_val_solution.csv", ["ImageId,PredictionString"])
    with pytest.raises(ValueError, match="does not say the class of 8 images of val, such as ILSVRC2012_val_00000001"):
        load("ImageNet", tmp_path)


@pytest.mark.parametrize(("folder", "message"), [("zebra", "neither a wnid nor a class"), ("missile", "2 classes")])
def test_imagenet_folder_of_no_one_class(folder: str, message: str, tmp_path: Path):
    trees.write_imagenet(tmp_path)
    trees.write_classnames(tmp_path / "imagenet", {**trees.WNIDS, "n03773504": "missile"})
    write_image(tmp_path / "imagenet" / "images" / "train" / folder / "1.JPEG")
    with pytest.raises(ValueError, match=message):
        load("ImageNet", tmp_path)


def test_cars_by_class_with_a_folder_of_no_class(tmp_path: Path):
    trees.write_cars(tmp_path)
    cars_by_class(tmp_path)
    write_image(tmp_path / "stanford_cars" / "car_data" / "car_data" / "test" / "Trabant 601 1969" / "9.jpg")
    with pytest.raises(ValueError, match="Trabant 601 1969 is not a class of names.csv"):
        load("StanfordCars", tmp_path)


def test_wrong_lines_in_classnames(tmp_path: Path):
    trees.write_sketch(tmp_path)
    write_lines(tmp_path / "imagenet-sketch" / "classnames.txt", ["n01440764 tench", "0 goldfish"])
    with pytest.raises(ValueError, match="a line is not a wnid and a name: '0 goldfish'"):
        load("ImageNetSketch", tmp_path)


def test_split_file_of_another_data_set(tmp_path: Path):
    trees.write_food101(tmp_path)
    split = {part: [[f"pizza/{part}.jpg", 0, "pizza"]] for part in ("train", "val", "test")}
    write_json(split, tmp_path / "food-101" / "split_zhou_Food101.json")
    with pytest.raises(FileNotFoundError, match="3 of 3 images of the split are not under"):
        load("Food101", tmp_path)
