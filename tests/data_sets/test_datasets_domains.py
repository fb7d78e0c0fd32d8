"""Office-31, Office-Home, VisDA-17 and DomainNet: their layouts, one domain a run, and what bad input gets."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from domain_trees import (
    DOMAIN_WRITERS,
    write_classes,
    write_domainnet,
    write_office31,
    write_office_home,
    write_visda17,
)
from other_layouts import load
from trees import write_image

import train
from dassl.data.datasets import DATASET_REGISTRY
from promptkd import guests
from promptkd.data import command as data
from promptkd.data.benchmark import BenchmarkDataset
from promptkd.data.domains import DomainDataset
from promptkd.data.download.parts import is_present
from promptkd.data.download.sources import PARTS
from promptkd.home import ROOT
from promptkd.results.settings import dataset_name, fingerprint
from promptkd.sweep import recipes

guests.register_datasets()
FILES = {"Office31": "office31", "OfficeHome": "office_home", "VisDA17": "visda17", "DomainNet": "domainnet"}
CLASSES = {
    "Office31": ["back_pack", "bike", "desk_chair"],
    "OfficeHome": ["alarm_clock", "backpack", "table", "tv"],
    "VisDA17": ["aeroplane", "bicycle", "bus"],
    "DomainNet": ["aircraft_carrier", "t-shirt", "The_Eiffel_Tower"],
}
EVERY = [(name, domain) for name, file in FILES.items() for domain in recipes.DOMAINS[file]]


def kind_of(name: str) -> type[DomainDataset]:
    kind = DATASET_REGISTRY.get(name)
    assert issubclass(kind, DomainDataset)
    return kind


def stems(data: BenchmarkDataset, part: str = "test") -> list[tuple[str, int]]:
    return [("/".join(Path(d.impath).parts[-2:]).lower(), d.label) for d in getattr(data.full, part)]


@pytest.mark.parametrize("name, domain", EVERY)
def test_a_domain_of_the_published_layout(name: str, domain: str, tmp_path: Path):
    DOMAIN_WRITERS[name](tmp_path)
    found = load(name, tmp_path, DOMAIN=domain)
    assert found.classnames == found.all_classnames == CLASSES[name]
    assert {d.label: d.classname for d in found.test} == dict(enumerate(CLASSES[name])) == found.lab2cname
    assert all(Path(d.impath).is_file() for part in vars(found.full).values() for d in part)
    folder = kind_of(name).places[domain]
    assert all(any(f"/{place}/" in d.impath for place in folder) for d in found.train_x), "another domain's images"
    if name == "DomainNet":
        assert not found.tests_what_trains and len(found.full.test) == 6
        assert len(found.full.train) == (8 if domain == "painting" else 12)
        assert found.num_classes == 3, "a class without training images stays a class"
    else:
        assert found.tests_what_trains and [d.impath for d in found.train_x] == [d.impath for d in found.test]
    new = load(name, tmp_path, DOMAIN=domain, subsample="new")
    assert new.classnames == CLASSES[name][2:] and {d.label for d in new.test} == set(range(len(new.classnames)))


def test_the_launcher_knows_the_same_domains():
    for name, file in FILES.items():
        assert set(kind_of(name).places) == set(recipes.DOMAINS[file])
        assert (ROOT / "configs" / "datasets" / f"{file}.yaml").is_file()


@pytest.mark.parametrize("name", ["Office31", "OfficeHome", "VisDA17"])
def test_held_out_images_are_not_trained_on(name: str, tmp_path: Path):
    DOMAIN_WRITERS[name](tmp_path)
    domain = next(iter(kind_of(name).places))
    found = load(name, tmp_path, shots=2, DOMAIN=domain, DOMAIN_TEST="held_out")
    parts = [{d.impath for d in part} for part in vars(found.full).values()]
    assert not parts[0] & parts[2] and not parts[1] & parts[2] and all(parts) and not found.tests_what_trains
    assert Counter(d.label for d in found.train_x) == dict.fromkeys(range(len(CLASSES[name])), 2)
    assert (found.layout.folder / f"split_built_{name}-{domain}.json").is_file()
    whole = load(name, tmp_path, DOMAIN=domain)
    assert sum(map(len, parts)) == len(whole.full.test)


LAYOUTS = {  # how people have them -> what makes it of a written tree
    "OfficeHome archive": lambda root: (root / "office_home").rename(root / "OfficeHomeDataset_10072016"),
    "OfficeHome archive in its folder": lambda root: shutil.move(
        shutil.move(root / "office_home", root / "x") and root / "x", (root / "office_home").mkdir() or
        root / "office_home" / "OfficeHomeDataset_10072016"
    ),
    "OfficeHome Dassl": lambda root: [
        path.rename(path.with_name(path.name.lower().replace(" ", "_")))
        for path in [*(root / "office_home").glob("*/*"), *(root / "office_home").glob("*")] if path.is_dir()
    ],
    "Office31 Dassl": lambda root: [shutil.rmtree(root / "office31"), write_office31(root, inner=".")],
    "Office31 archive": lambda root: (root / "office31").rename(root / "domain_adaptation_images"),
    "VisDA17 without lists": lambda root: [path.unlink() for path in root.glob("visda17/*/image_list.txt")],
    "DomainNet lists beside": lambda root: [
        path.rename(root / "domainnet" / path.name) for path in (root / "domainnet" / "splits").iterdir()
    ],
    "DomainNet each in a folder of its name": lambda root: [
        shutil.move(shutil.move(root / "domainnet" / name, root / "x") and root / "x",
                    (root / "domainnet" / name).mkdir() or root / "domainnet" / name / name)
        for name in recipes.DOMAINS["domainnet"]
    ],
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_layouts_give_the_same(layout: str, tmp_path: Path):
    name = layout.split(" ")[0]
    DOMAIN_WRITERS[name](tmp_path)
    domain = list(kind_of(name).places)[-1]
    published = load(name, tmp_path, DOMAIN=domain)
    LAYOUTS[layout](tmp_path)
    again = load(name, tmp_path, DOMAIN=domain)
    assert again.classnames == published.classnames and Counter(stems(again)) == Counter(stems(published))
    inner = again.layout.folder
    assert load(name, inner, DOMAIN=domain).classnames == published.classnames, "the folder itself is the root"


@pytest.mark.parametrize(
    "word, says",
    [
        ("", "OfficeHome has 4 domains, name one as DATASET.DOMAIN: art, clipart, product, real_world"),
        ("arts", "DATASET.DOMAIN 'arts' is no domain of OfficeHome: did you mean art? There are art, clipart"),
        ("quickdraw", "is no domain of OfficeHome: There are art, clipart, product, real_world"),
    ],
)
def test_an_unknown_domain(word: str, says: str, tmp_path: Path):
    write_office_home(tmp_path)
    with pytest.raises(ValueError, match="DATASET.DOMAIN") as error:
        load("OfficeHome", tmp_path, DOMAIN=word)
    assert says in str(error.value)


def test_a_missing_domain_is_named(tmp_path: Path):
    write_office_home(tmp_path)
    shutil.rmtree(tmp_path / "office_home" / "Art")
    with pytest.raises(
        FileNotFoundError, match="OfficeHome-art: no folder office_home/art or office_home/Art with"
    ) as e:
        load("OfficeHome", tmp_path, DOMAIN="art")
    assert "office_home holds Clipart, ImageInfo.csv, Product, Real World" in str(e.value)
    load("OfficeHome", tmp_path, DOMAIN="clipart")


def test_a_half_extracted_domain(tmp_path: Path):
    write_office_home(tmp_path)
    shutil.rmtree(tmp_path / "office_home" / "Product" / "TV")
    with pytest.raises(ValueError, match=r"Product lacks 1 class folders that \S+ has \(TV\): it is half extracted"):
        load("OfficeHome", tmp_path, DOMAIN="product")
    for domain in ("art", "real_world"):
        load("OfficeHome", tmp_path, DOMAIN=domain)


def test_images_of_a_list_that_are_missing(tmp_path: Path):
    write_domainnet(tmp_path)
    write_visda17(tmp_path)
    shutil.rmtree(tmp_path / "domainnet" / "sketch" / "t-shirt")
    (tmp_path / "visda17" / "validation" / "bus" / "00003.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="DomainNet-sketch: 6 of 18 images of the split are not under"):
        load("DomainNet", tmp_path, DOMAIN="sketch")
    with pytest.raises(FileNotFoundError, match=r"VisDA17-real: 1 of 60 images .*bus/00003.jpg"):
        load("VisDA17", tmp_path, DOMAIN="real")


@pytest.mark.parametrize(
    "line, says",
    [
        ("real/t-shirt/x.jpg 1", "'real/t-shirt/x.jpg' is not clipart/<class>/<image>; get the list again"),
        ("clipart/../x.jpg 1", "is not clipart/<class>/<image>"),
        ("clipart/t-shirt/x.jpg one", "a line has to be 2 words or more, the 2. a number"),
        ("clipart/axe/x.jpg 1", "label 1 is named both 't-shirt' and 'axe'"),
        ("clipart/axe/x.jpg 7", "no list has an image of class 3; get the lists again"),
    ],
)
def test_a_damaged_list(line: str, says: str, tmp_path: Path):
    write_domainnet(tmp_path)
    write_image(tmp_path / "domainnet/clipart/axe/x.jpg")
    with (tmp_path / "domainnet/splits/clipart_train.txt").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    with pytest.raises(ValueError) as error:
        load("DomainNet", tmp_path, DOMAIN="clipart")
    assert says in str(error.value)


def test_a_class_that_a_domain_lacks_altogether_keeps_its_number(tmp_path: Path):
    write_domainnet(tmp_path)
    for part in ("train", "test"):
        path = tmp_path / f"domainnet/splits/painting_{part}.txt"
        path.write_text("".join(line for line in path.open() if "t-shirt" not in line))
    found = load("DomainNet", tmp_path, DOMAIN="painting")
    assert found.classnames == CLASSES["DomainNet"] and {d.label for d in found.test} == {0, 2}


@pytest.mark.parametrize("name", FILES)
def test_check_shows_each_domain(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    DOMAIN_WRITERS[name](tmp_path)
    assert data.main(["check", FILES[name], "--root", str(tmp_path), "--json"]) == 0
    reports = json.loads(capsys.readouterr().out)
    assert [report["name"] for report in reports] == [f"{name}-{domain}" for domain in kind_of(name).places]
    assert all(report["ok"] and not report["whole"] and report["get"] for report in reports)
    domain = next(iter(kind_of(name).places))
    for words in ([f"{FILES[name]}_{domain}"], [name, "--domain", domain.upper()]):
        assert data.main(["check", *words, "--root", str(tmp_path)]) == 0
        assert f"{name}-{domain}: would start" in capsys.readouterr().out
    shutil.rmtree(tmp_path / FILES[name])
    assert data.main(["check", FILES[name], "--root", str(tmp_path), "--json"]) == 1
    missing = json.loads(capsys.readouterr().out)
    assert all(report["get"] and "no folder" in report["problems"][0] for report in missing)


def test_only_the_missing_parts_are_to_get(tmp_path: Path):
    write_classes(tmp_path / "domainnet" / "clipart", {"axe": 1})
    images, *lists = (part for part in PARTS["DomainNet"] if part.domain == "clipart")
    assert is_present(images, kind_of("DomainNet"), tmp_path) and len(lists) == 2
    assert not any(is_present(part, kind_of("DomainNet"), tmp_path) for part in lists)
    assert not is_present(PARTS["OfficeHome"][0], kind_of("OfficeHome"), tmp_path)
    write_office_home(tmp_path)
    assert is_present(PARTS["OfficeHome"][0], kind_of("OfficeHome"), tmp_path)


def configure(*words: str, trainer: str = "TFUPT", recipe: str = "vit_b16_ep30", file: str = "office31"):
    files = ["--dataset-config-file", str(ROOT / f"configs/datasets/{file}.yaml")]
    files += ["--config-file", str(ROOT / f"configs/trainers/{trainer}/{recipe}.yaml")]
    return train.configure(train.parser().parse_args(["--trainer", trainer, "--seed", "1", *files, *words]))


def test_a_domain_has_one_name_in_results_however_it_is_written():
    one, other = (configure("DATASET.DOMAIN", word, file="office_home") for word in ("Real World", "real_world"))
    assert dataset_name(one) == dataset_name(other) == "OfficeHome-real_world" and fingerprint(one) == fingerprint(
        other
    )
    art = configure("DATASET.DOMAIN", "art", file="office_home")
    held_out = configure("DATASET.DOMAIN", "art", "DATASET.DOMAIN_TEST", "held_out", file="office_home")
    assert len({fingerprint(one), fingerprint(art), fingerprint(held_out)}) == 3
    assert dataset_name(held_out) == "OfficeHome-art-held_out"
    eurosat, given = configure(file="eurosat"), configure("DATASET.DOMAIN", "art", file="eurosat")
    assert dataset_name(given) == "EuroSAT" and fingerprint(eurosat) == fingerprint(given)


def test_published_options_of_a_data_set_and_of_a_domain():
    amazon, dslr = configure("DATASET.DOMAIN", "amazon"), configure("DATASET.DOMAIN", "dslr")
    assert amazon.OPTIM.LR == dslr.OPTIM.LR == 0.05
    assert (amazon.TRAINER.TFUPT.TRAINING_PROPORTION, dslr.TRAINER.TFUPT.TRAINING_PROPORTION) == (0.75, 0.5)
    assert configure("DATASET.DOMAIN", "art", file="office_home").OPTIM.LR == 0.012


def test_labels_of_test_images_train_nothing():
    words = ("DATASET.DOMAIN", "art")
    with pytest.raises(ValueError, match="CoOp learns from labels, and the training images of OfficeHome are its test"):
        configure(*words, trainer="CoOp", recipe="mini", file="office_home")
    configure(*words, "DATASET.DOMAIN_TEST", "held_out", trainer="CoOp", recipe="mini", file="office_home")
    configure("--eval-only", "--model-dir", "x", *words, trainer="CoOp", recipe="mini", file="office_home")
    configure("DATASET.DOMAIN", "real", trainer="CoOp", recipe="mini", file="domainnet")
    with pytest.raises(ValueError, match="learn on another data set and evaluate here"):
        configure(trainer="CoOp", recipe="mini", file="imagenet_a")
