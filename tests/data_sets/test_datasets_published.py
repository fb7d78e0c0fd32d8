"""Each published data set from a small tree in its real layout, and from the other layouts that people have."""

import json
import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
import trees
from other_layouts import (
    OTHER_LAYOUTS,
    hugging_face_imagenet,
    items,
    load,
)
from trees import WRITERS, write_image

from datasets import imagenet
from promptkd import guests
from promptkd.data.benchmark import BenchmarkDataset
from promptkd.files import write_json

guests.register_datasets()

CONFIGS = Path(__file__).parents[2] / "configs" / "datasets"
# name -> (class names, number of train, val and test images) of the trees
EXPECTED = {
    "ImageNet": (["tench", "goldfish", "macaque", "missile"], (12, 0, 8)),
    "Caltech101": (["face", "airplane", "ant", "yin_yang"], (20, 8, 12)),
    "OxfordPets": (["abyssinian", "american_bulldog", "bengal"], (12, 3, 9)),
    "StanfordCars": (
        ["2000 AM General Hummer SUV", "2012 Acura RL Sedan", "2012 Ram C/V Cargo Van Minivan"],
        (12, 3, 6),
    ),
    "OxfordFlowers": (["pink primrose", "hard-leaved orchid", "canterbury bells"], (15, 6, 9)),
    "Food101": (["apple_pie", "waffles"], (10, 4, 6)),
    "FGVCAircraft": (["707-320", "Cessna 172", "F/A-18"], (6, 3, 6)),
    "SUN397": (["abbey", "outdoor apartment_building", "barrel_storage wine_cellar"], (12, 3, 9)),
    "DescribableTextures": (["banded", "polka-dotted", "zigzagged"], (15, 6, 9)),
    "EuroSAT": (
        ["Annual Crop Land", "Forest", "Herbaceous Vegetation Land", "Highway or Road", "Industrial Buildings"]
        + ["Pasture Land", "Permanent Crop Land", "Residential Buildings", "River", "Sea or Lake"],
        (50, 20, 30),
    ),
    "UCF101": (["Apply_Eye_Makeup", "Handstand_Pushups", "Tai_Chi"], (12, 3, 9)),
    "ImageNetV2": (["tench", "goldfish", "macaque", "missile"], (8, 0, 8)),
    "ImageNetSketch": (["tench", "goldfish", "macaque", "missile"], (4, 0, 4)),
    "ImageNetA": (["goldfish", "missile"], (4, 0, 4)),
    "ImageNetR": (["goldfish", "missile"], (4, 0, 4)),
}
TEST_ONLY = {"ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR"}
NO_SPLIT_FILE = {"ImageNet", "FGVCAircraft", *TEST_ONLY}


def everything(data: BenchmarkDataset) -> list[list[tuple[str, int, str]]]:
    return [[(Path(d.impath).name, d.label, d.classname) for d in part] for part in vars(data.full).values()]


@pytest.mark.parametrize("name", WRITERS)
def test_published_layout(name: str, tmp_path: Path):
    WRITERS[name](tmp_path)
    names, sizes = EXPECTED[name]
    data = load(name, tmp_path)
    assert data.classnames == data.all_classnames == names
    assert data.num_classes == len(names) and data.lab2cname == dict(enumerate(names))
    assert tuple(len(part) for part in vars(data.full).values()) == sizes
    assert [len(data.train_x), len(data.val), len(data.test)] == list(sizes)
    assert all(Path(d.impath).is_file() for part in vars(data.full).values() for d in part)
    if name not in TEST_ONLY:
        paths = [d.impath for part in vars(data.full).values() for d in part]
        assert len(set(paths)) == len(paths), "an image is in two splits"
    again = load(name, tmp_path)
    assert everything(again) == everything(data) and again.split_sha256 == data.split_sha256


@pytest.mark.parametrize("name", sorted(set(WRITERS) - TEST_ONLY))
def test_few_shot_of_base_and_new(name: str, tmp_path: Path):
    WRITERS[name](tmp_path)
    names = EXPECTED[name][0]
    half = -(-len(names) // 2)
    for subsample, chosen in (("base", names[:half]), ("new", names[half:]), ("all", names)):
        data = load(name, tmp_path, shots=2, seed=2, subsample=subsample)
        assert data.classnames == chosen
        assert Counter(d.label for d in data.train_x) == dict.fromkeys(range(len(chosen)), 2)
        assert {d.impath for d in data.train_x} <= {d.impath for d in data.full.train}
        assert [d.classname for d in data.test] == [d.classname for d in data.full.test if d.classname in chosen]
        assert data.fewshot.path and not Path(data.fewshot.path).is_relative_to(data.layout.images / "train")
    random.seed(2)
    expected = []
    for label in dict.fromkeys(d.label for d in data.full.train):
        expected += random.sample([d.impath for d in data.full.train if d.label == label], 2)
    assert [d.impath for d in data.chosen.train] == expected


@pytest.mark.parametrize("name", sorted(TEST_ONLY))
def test_test_sets_ignore_shots(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    WRITERS[name](tmp_path)
    data = load(name, tmp_path, shots=1)
    assert [d.impath for d in data.train_x] == [d.impath for d in data.test]
    assert data.fewshot is None and "DATASET.NUM_SHOTS 1 does not apply" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(set(WRITERS) - NO_SPLIT_FILE))
def test_published_split_file_is_read(name: str, tmp_path: Path):
    """The file's own lists count, not the rule: here with its parts exchanged and its classes renamed."""
    WRITERS[name](tmp_path)
    built = load(name, tmp_path)
    lists = [
        [(Path(d.impath).relative_to(built.layout.images).as_posix(), d.label, f"x {d.classname}") for d in part]
        for part in (built.full.test, built.full.val, built.full.train)
    ]
    write_json(built.layout.folder / built.split_file, dict(zip(("train", "val", "test"), lists, strict=True)))
    data = load(name, tmp_path)
    assert [len(part) for part in vars(data.full).values()] == [len(part) for part in lists]
    assert [d.impath for d in data.test] == [d.impath for d in built.full.train]
    assert data.classnames == [f"x {name}" for name in built.classnames]


def test_every_data_set_has_a_config_and_back():
    from yacs.config import CfgNode

    configs = {path.stem: CfgNode.load_cfg(path.open()).DATASET.NAME for path in CONFIGS.glob("*.yaml")}
    assert set(EXPECTED) <= set(configs.values())
    assert len(set(configs.values())) == len(configs)
    published = "imagenet caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat"
    assert set(f"{published} ucf101 imagenetv2 imagenet_sketch imagenet_a imagenet_r".split()) <= set(configs)


def test_class_counts_and_labels_against_files(tmp_path: Path):
    """Labels of the sets whose lists say them, image by image."""
    for write in (trees.write_pets, trees.write_cars, trees.write_flowers, trees.write_aircraft, trees.write_sun397):
        write(tmp_path)
    pets = load("OxfordPets", tmp_path)
    assert items(pets)[:3] == [(f"images/Abyssinian_{i}.jpg", 0, "abyssinian") for i in (6, 7, 8)]
    assert items(pets)[3] == ("images/Bengal_6.jpg", 2, "bengal")
    cars = load("StanfordCars", tmp_path)
    assert items(cars)[:2] == [
        ("cars_test/00001.jpg", 2, "2012 Ram C/V Cargo Van Minivan"),
        ("cars_test/00002.jpg", 1, "2012 Acura RL Sedan"),
    ]
    flowers = load("OxfordFlowers", tmp_path)
    label_of = dict(item[:2] for part in ("train", "val", "test") for item in items(flowers, part))
    assert [label_of[f"jpg/image_{i:05d}.jpg"] for i in (1, 2, 3, 4, 12, 21)] == [1, 1, 0, 1, 0, 2]
    assert items(flowers, "train")[0][1] == 1  # classes run in order of first appearance
    aircraft = load("FGVCAircraft", tmp_path)
    assert items(aircraft, "val") == [
        ("images/0000007.jpg", 2, "F/A-18"),
        ("images/0000008.jpg", 1, "Cessna 172"),
        ("images/0000009.jpg", 0, "707-320"),
    ]
    sun = load("SUN397", tmp_path)
    assert items(sun)[3] == (
        "SUN397/a/apartment_building/outdoor/sun_000000000000005.jpg",
        1,
        "outdoor apartment_building",
    )


@pytest.mark.parametrize("folder", ["Junk", "annualcrop"])
def test_eurosat_has_no_other_classes(folder: str, tmp_path: Path):
    trees.write_eurosat(tmp_path)
    trees.write_class_tree(tmp_path / "eurosat" / "2750", {folder: 10})
    with pytest.raises(ValueError, match=f"folders that are no class: {folder}; take them out .classes are AnnualCrop"):
        load("EuroSAT", tmp_path)


@pytest.mark.parametrize("name", WRITERS)
def test_another_number_of_classes_is_said(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    WRITERS[name](tmp_path)
    load(name, tmp_path)
    message = f"{name}: {len(EXPECTED[name][0])} classes in "
    assert (message in capsys.readouterr().out) == (name != "EuroSAT"), "EuroSAT's tree has all ten"


def test_trainval_rule_of_pets(tmp_path: Path):
    trees.write_pets(tmp_path)
    random.seed(1)
    train, val = [], []
    for label, breed in ((0, "Abyssinian"), (2, "Bengal"), (1, "american_bulldog")):
        group = [(f"images/{breed}_{i}.jpg", label, breed.lower()) for i in range(1, 6)]
        random.shuffle(group)
        val += group[:1]
        train += group[1:]
    data = load("OxfordPets", tmp_path)
    assert (items(data, "train"), items(data, "val")) == (train, val)


def test_caltech_leaves_out_two_folders(tmp_path: Path):
    trees.write_caltech101(tmp_path)
    files = [file for part in everything(load("Caltech101", tmp_path)) for file, _, _ in part]
    assert len(files) == 40 and not any("BACKGROUND" in file or "easy" in file for file in files)


ARCHIVES = ("EuroSAT of Zenodo", "EuroSAT of Zenodo, in the root", "Caltech101 Kaggle", "OxfordFlowers Kaggle")


def test_an_archive_that_is_still_packed_is_said(tmp_path: Path):
    (tmp_path / "caltech-101").mkdir()
    for name in ("101_ObjectCategories.tar.gz", "Annotations.tar"):
        (tmp_path / "caltech-101" / name).touch()
    with pytest.raises(
        FileNotFoundError, match=r"unpack 101_ObjectCategories.tar.gz, Annotations.tar in .*caltech-101"
    ):
        load("Caltech101", tmp_path)


def write_both(layout: str, root: Path) -> tuple[BenchmarkDataset, str]:
    """Writes a data set to root/published and, in another layout, to root/other; the published one, and its name."""
    name = layout.split()[0]
    for place in ("published", "other"):
        WRITERS[name](root / place)
    OTHER_LAYOUTS[layout](root / "other")
    return load(name, root / "published"), name


@pytest.mark.parametrize("layout", OTHER_LAYOUTS)
def test_other_layout_gives_the_same_items(layout: str, tmp_path: Path):
    expected, name = write_both(layout, tmp_path)
    data = load(name, tmp_path / "other")
    assert data.classnames == expected.classnames
    assert everything(data) == everything(expected)
    assert all(Path(d.impath).is_file() for part in vars(data.full).values() for d in part)


@pytest.mark.parametrize("layout", ["StanfordCars Kaggle", "StanfordCars by class", "SUN397 one folder", *ARCHIVES])
def test_published_split_file_fits_other_layouts(layout: str, tmp_path: Path):
    published, name = write_both(layout, tmp_path)
    folder = load(name, tmp_path / "other").layout.folder
    kept = next((tmp_path / "published").rglob("split_built_*.json"))
    shutil.copy(kept, folder / published.split_file)
    data = load(name, tmp_path / "other")
    assert data.split_source == published.split_file and everything(data) == everything(published)


def test_hugging_face_imagenet(tmp_path: Path):
    trees.write_imagenet(tmp_path)
    expected = Counter(label for _, label, _ in items(load("ImageNet", tmp_path)))
    hugging_face_imagenet(tmp_path)
    data = load("ImageNet", tmp_path)
    assert Counter(d.label for d in data.test) == expected
    assert all(trees.WNIDS[Path(d.impath).stem[-9:]] == d.classname for d in data.test)


def test_imagenet_reads_only_folders_that_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trees.write_imagenet(tmp_path)
    first = load("ImageNet", tmp_path)
    stored = (tmp_path / "imagenet" / "scan_ImageNet.json").read_text()
    assert str(tmp_path) not in stored
    read = []

    def list_images(folder: Path) -> list[str]:
        if folder.name != "val":  # that has no images of its own, which is looked up
            read.append(folder.name)
        return real(folder)

    real = imagenet.list_images
    monkeypatch.setattr(imagenet, "list_images", list_images)
    assert everything(load("ImageNet", tmp_path)) == everything(first)
    assert read == []
    write_image(tmp_path / "imagenet" / "images" / "train" / "n02487347" / "new.JPEG")
    assert len(load("ImageNet", tmp_path).train_x) == 13 and read == ["n02487347"]
    shutil.rmtree(tmp_path / "imagenet" / "images" / "train" / "n01440764")
    shutil.rmtree(tmp_path / "imagenet" / "images" / "val" / "n01440764")
    data = load("ImageNet", tmp_path)
    assert data.classnames == ["goldfish", "macaque", "missile"] and read == ["n02487347"]
    stored = tmp_path / "imagenet" / "scan_ImageNet.json"
    whole = json.loads(stored.read_text())
    for damage in ("", *({**whole, "train": odd} for odd in ([], {"n01443537": []}, {"n01443537": {"files": 3}}))):
        read.clear()
        stored.write_text(json.dumps(damage)[:-1])
        assert everything(load("ImageNet", tmp_path)) == everything(data) and len(read) == 6
        stored.write_text(json.dumps(damage))
        assert everything(load("ImageNet", tmp_path)) == everything(data) and len(read) == 12


def test_imagenet_notices_a_file_under_an_old_time(tmp_path: Path):
    """rsync and tar set a folder's time back; its number of entries tells."""
    trees.write_imagenet(tmp_path)
    load("ImageNet", tmp_path)
    folder = tmp_path / "imagenet" / "images" / "train" / "n02487347"
    time = folder.stat().st_mtime_ns
    write_image(folder / "new.JPEG")
    os.utime(folder, ns=(time, time))
    assert len(load("ImageNet", tmp_path).train_x) == 13


def many_wnids(root: Path) -> None:
    """A root where 1,000 class folders have an image each in train and in val, and no classnames.txt."""
    source = write_image(root / "one.JPEG")
    for number in range(1000):
        for part in ("train", "val"):
            (folder := root / "imagenet" / part / f"n{number:08d}").mkdir(parents=True)
            os.link(source, folder / "1.JPEG")


def test_names_of_a_thousand_wnids(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    many_wnids(tmp_path)
    data = load("ImageNet", tmp_path)
    assert data.classnames[:2] == ["tench", "goldfish"] and len(set(data.classnames)) == 998
    assert "class names are open_clip's, for 1,000 folders named by wnid" in capsys.readouterr().out
    folder = tmp_path / "imagenetv2"
    folder.mkdir()
    (tmp_path / "imagenet" / "val").rename(folder / "imagenetv2-matched-frequency-format-val")
    for path in (folder / "imagenetv2-matched-frequency-format-val").iterdir():
        path.rename(path.with_name(path.name[-4:]))
    data = load("ImageNetV2", tmp_path)
    assert [(Path(d.impath).parent.name, d.label, d.classname) for d in data.test[:2]] == [
        ("0000", 0, "tench"),
        ("0001", 1, "goldfish"),
    ]


def test_classnames_with_a_byte_order_mark_and_one_twice(tmp_path: Path):
    trees.write_sketch(tmp_path)
    names = tmp_path / "imagenet-sketch" / "classnames.txt"
    names.write_text("\ufeff" + names.read_text(), encoding="utf-8")
    assert load("ImageNetSketch", tmp_path).classnames[0] == "tench"
    names.write_text(names.read_text(encoding="utf-8-sig") + "n01440764 cod\n")
    with pytest.raises(ValueError, match="names n01440764 both 'tench' and 'cod'"):
        load("ImageNetSketch", tmp_path)


def test_flat_images_beside_sorted_ones_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    trees.write_imagenet(tmp_path)
    write_image(tmp_path / "imagenet" / "images" / "val" / "ILSVRC2012_val_00000009.JPEG")
    assert len(load("ImageNet", tmp_path).test) == 8
    assert "left out 1 images beside the class folders of" in capsys.readouterr().out


def test_published_equal_names_of_imagenet(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    trees.write_sketch(tmp_path)
    trees.write_classnames(tmp_path / "imagenet-sketch", {**trees.WNIDS, "n02487347": "missile"})
    assert load("ImageNetSketch", tmp_path).classnames == ["tench", "goldfish", "missile", "missile"]
    assert "cannot tell apart, as published: 'missile' = 'missile'" in capsys.readouterr().out
