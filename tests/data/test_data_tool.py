"""tools/data.py: check in every state of a data set, few-shot lists, what there is to download."""

import contextlib
import importlib
import io
import json
import multiprocessing
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest
from domain_trees import DOMAIN_WRITERS
from programs import start
from trees import WRITERS, dataset_cfg, write_class_tree, write_dtd, write_eurosat, write_image, write_json

from dassl.data.datasets import DATASET_REGISTRY
from datasets.dtd import DescribableTextures
from datasets.eurosat import EuroSAT
from promptkd.data import command as data
from promptkd.data.download import sources
from promptkd.data.download.parts import is_present
from promptkd.data.download.sources import PARTS
from promptkd.data.formats import image_suffixes
from promptkd.home import ROOT, shown_command


def check(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, dict]:
    """Exit code, screen and JSON report of a check."""
    command = ["check", *map(str, arguments)]
    code = data.main(command)
    shown = capsys.readouterr().out
    assert data.main([*command, "--json"]) == code
    return code, shown, json.loads(capsys.readouterr().out)[0]


def test_right(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    write_eurosat(tmp_path)
    EuroSAT(dataset_cfg(tmp_path))
    folder = tmp_path / "eurosat"
    (folder / "split_built_EuroSAT.json").rename(folder / "split_zhou_EuroSAT.json")
    monkeypatch.setattr(EuroSAT, "counts", (50, 20, 30))
    capsys.readouterr()
    code, shown, report = check(capsys, "eurosat", "--root", tmp_path, "--decode")
    assert code == 0 and shown.startswith("EuroSAT: ok\n") and len(shown.splitlines()) == 5
    assert "train 50, val 20, test 30" in shown and "10: Annual Crop Land, Forest" in shown
    assert report["whole"] and report["split"] == "split_zhou_EuroSAT.json" and report["get"] == []


@pytest.mark.parametrize("name", WRITERS)
def test_every_small_tree_would_start(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    WRITERS[name](tmp_path)
    code, shown, report = check(capsys, name, "--root", tmp_path)
    assert code == 0 and f"{name}: would start" in shown and "than published: a subset, or half extracted" in shown
    assert not report["whole"] and len(shown.splitlines()) <= 24
    assert report["get"][0].startswith(f"images of {name}"), "those that are missing"


def test_empty_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code, shown, report = check(capsys, "dtd", "--root", tmp_path)
    assert code == 1 and "would NOT start" in shown
    assert "no folder dtd/images with images in it under" in report["problems"][0]
    assert "dtd-r1.0.1.tar.gz -> ." in report["get"][0] and "split_zhou_DescribableTextures.json" in report["get"][1]
    assert f"{shown_command('data')} download DescribableTextures --root {tmp_path}" in shown
    code, shown, _ = check(capsys, "dtd", "--root", tmp_path / "none")
    assert code == 1 and "is not a folder" in shown


def test_images_in_two_splits_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_dtd(tmp_path)
    items = [("banded/banded_1.jpg", 0, "banded"), ("zigzagged/zigzagged_1.jpg", 1, "zigzagged")]
    split = {"train": items, "val": items[:1], "test": items}
    write_json(split, tmp_path / "dtd" / "split_zhou_DescribableTextures.json")
    code, shown, _ = check(capsys, "dtd", "--root", tmp_path)
    assert code == 0 and "3 images are in train and in val or test" in shown


def test_half_extracted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_dtd(tmp_path)
    DescribableTextures(dataset_cfg(tmp_path))
    (tmp_path / "dtd" / "split_built_DescribableTextures.json").rename(
        tmp_path / "dtd" / "split_zhou_DescribableTextures.json"
    )
    for path in sorted((tmp_path / "dtd" / "images").glob("*/*.jpg"))[10:]:
        path.unlink()
    code, shown, report = check(capsys, "dtd", "--root", tmp_path)
    assert code == 1 and "20 of 30 images are missing" in report["problems"]
    assert report["missing"] == 20 and len(report["missing_first"]) == 10 and "and 10 more" in shown
    assert len(report["get"]) == 1 and report["get"][0].startswith("images of DescribableTextures (626 MB): https://")


def test_wrong_split_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_dtd(tmp_path)
    split = tmp_path / "dtd" / "split_zhou_DescribableTextures.json"
    parts = ("train", "val", "test")
    write_json({part: [[f"River/{part}.jpg", 0, "River"], [f"Sea/{part}.jpg", 1, "Sea"]] for part in parts}, split)
    code, _, report = check(capsys, "dtd", "--root", tmp_path)
    assert code == 1 and report["problems"] == ["6 of 6 images are missing"]
    assert report["missing_first"][0] == "River/test.jpg"
    split.write_text("<html>quota exceeded</html>")
    code, _, report = check(capsys, "dtd", "--root", tmp_path)
    assert code == 1 and "split_zhou_DescribableTextures.json is a web page" in report["problems"][0]


def test_corrupt_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_eurosat(tmp_path)
    folder = tmp_path / "eurosat" / "2750" / "Forest"
    (folder / "Forest_1.jpg").write_bytes((folder / "Forest_1.jpg").read_bytes()[:200])
    (folder / "Forest_2.jpg").write_bytes(b"")
    assert check(capsys, "EuroSAT", "--root", tmp_path)[0] == 0
    code, shown, report = check(capsys, "EuroSAT", "--root", tmp_path, "--decode")
    assert code == 1 and "2 images do not decode; replace them, or set DATASET.SKIP_BAD_IMAGES True" in shown
    assert {Path(path).name for path in report["undecodable"]} == {"Forest_1.jpg", "Forest_2.jpg"}
    assert "Forest_2.jpg (empty file)" in shown


def check_as_nobody(*arguments: object) -> tuple[int, str]:
    """The exit code and the output of `check` in a process that may read only what everyone may."""

    def check_here(results: SimpleQueue) -> None:
        data.names = lambda: known
        if os.geteuid() == 0:  # who may read everything, whatever the modes are
            os.setgroups([]), os.setgid(65534), os.setuid(65534)
        shown, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(errors):
            code = data.main(["check", *map(str, arguments)])
        results.put((code, shown.getvalue(), errors.getvalue()))

    # What the command imports and what it reads from configs/ may lie in a folder of its owner's alone.
    known = data.names()
    image_suffixes()
    importlib.import_module("promptkd.data.report")
    fork = multiprocessing.get_context("fork")
    results = fork.SimpleQueue()
    process = fork.Process(target=check_here, args=(results,))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    code, shown, errors = results.get()
    assert errors == ""
    return code, shown


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A root that everyone can reach, outside pytest's own folders, which only their owner can."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        root = Path(name)
        root.chmod(0o777)
        write_eurosat(root)
        yield root
        for folder in ("eurosat", "eurosat/2750", "eurosat/2750/Forest"):
            (root / folder).chmod(0o755)


@pytest.mark.parametrize("folder", ["eurosat", "eurosat/2750", "eurosat/2750/Forest"])
def test_unreadable_folder(locked: Path, folder: str):
    (locked / folder).chmod(0)
    code, shown = check_as_nobody("eurosat", "--root", locked)
    assert code == 1 and shown.startswith("EuroSAT: would NOT start")
    problem = next(line for line in shown.splitlines() if "problem" in line)
    assert f"{locked / folder}" in problem and "see its permissions" in problem
    assert "  get" not in shown, "it is there: there is nothing to download"


def test_unreadable_folder_among_all(locked: Path):
    (locked / "eurosat").chmod(0)
    code, shown = check_as_nobody("all", "--root", locked)
    assert code == 1 and len(shown.splitlines()) == 32 and "eurosat cannot be read" in shown
    code, shown = check_as_nobody("eurosat", "--root", locked, "--json")
    assert code == 1 and "see its permissions" in json.loads(shown)[0]["problems"][0]


def test_a_fault_of_one_data_set_leaves_the_others(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    write_dtd(tmp_path)
    write_eurosat(tmp_path)
    monkeypatch.setattr(EuroSAT, "build", lambda layout: {}["what"])
    assert data.main(["check", "all", "--root", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "KeyError: 'what'" in shown and re.search("DescribableTextures +would start", shown)


def test_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_dtd(tmp_path)
    assert data.main(["check", "all", "--root", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    of_domains = sum(len(DATASET_REGISTRY.get(name).places) for name in DOMAIN_WRITERS)
    assert len(lines) == 2 + len(WRITERS) + of_domains == 32
    assert sum("would NOT start" in line for line in lines) == 29


def test_own_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_class_tree(tmp_path / "train", {"cat": 3, "dog": 2})
    code, shown, report = check(capsys, "Folder", "--root", tmp_path)
    assert code == 0 and shown.startswith("Folder: ok") and report["counts"] == {"train": 5, "val": 0, "test": 0}
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    code, _, report = check(capsys, "unlabeled", "--root", tmp_path, "--classnames", "names.txt")
    assert code == 0 and report["classnames"] == ["cat", "dog"]
    (tmp_path / "train" / "cow").mkdir()
    code, _, report = check(capsys, "folder", "--root", tmp_path)
    assert code == 1 and "cow has no images" in report["problems"][0]


def test_names_give_the_terminal_no_orders(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_class_tree(tmp_path / "train", {"cat": 3, "dog": 2})
    (tmp_path / "names.json").write_text(json.dumps(["cat\x1b[2J", "a\n  problem   none", "dog"]))
    code, shown, _ = check(capsys, "unlabeled", "--root", tmp_path, "--classnames", "names.json")
    assert r"3: cat\x1b[2J, a\n  problem   none, dog" in shown and code == 0
    assert not any(line.startswith("  problem") for line in shown.splitlines())


def test_names(tmp_path: Path):
    for name in ("oxford_flowers", "OxfordFlowers", "OXFORDFLOWERS"):
        assert data.resolve(name) == "OxfordFlowers"
    assert data.resolve("caltech-101") == data.resolve("caltech101") == "Caltech101"
    with pytest.raises(ValueError, match="no data set is called 'eurosta'; did you mean EuroSAT?"):
        data.main(["check", "eurosta", "--root", str(tmp_path)])


def test_command_line(tmp_path: Path):
    """As a script, from another directory: one line and exit code 1."""
    words = ["fewshot", "dtd", "--root", tmp_path, "--shots", "1"]
    run = start(tmp_path, sys.executable, ROOT / "tools/data.py", *words)
    assert run.returncode == 1 and run.stderr.startswith("error: DescribableTextures: no folder dtd/images")
    assert len(run.stderr.splitlines()) == 1


def test_fewshot(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    write_dtd(tmp_path)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "lists" / "dtd.json"
    assert data.main(["fewshot", "dtd", "--root", str(tmp_path), "--shots", "2", "--seed", "3", "--out", str(out)]) == 0
    content = json.loads(out.read_text())
    dataset = DescribableTextures(dataset_cfg(tmp_path, shots=2, seed=3))
    paths = [Path(d.impath).relative_to(dataset.layout.images).as_posix() for d in dataset.train_x]
    assert [file for file, _, _ in content["train"]] == paths
    assert Counter(name for _, _, name in content["val"]) == dict.fromkeys(dataset.classnames, 2)
    assert content["sha256"] == dataset.fewshot.sha256 and content["split_sha256"] == dataset.split_sha256
    assert data.main(["fewshot", "dtd", "--root", str(tmp_path), "--shots", "1"]) == 0
    assert (tmp_path / "DescribableTextures_shots1_seed1.json").is_file()
    with pytest.raises(ValueError, match="no few-shot list for 0 shots"):
        data.main(["fewshot", "dtd", "--root", str(tmp_path), "--shots", "0"])


@pytest.mark.parametrize("name", ["StanfordCars", "UCF101"])
def test_lists_that_only_a_built_split_needs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Such as the Kaggle copy of Cars without the devkit: what to get is said, unless the published split is there."""
    WRITERS[name](tmp_path)
    kind = DATASET_REGISTRY.get(name)
    kind(dataset_cfg(tmp_path))
    lists = ["stanford_cars/devkit", "stanford_cars/cars_test_annos_withlabels.mat", "ucf101/ucfTrainTestlist"]
    for path in (tmp_path / path for path in lists if (tmp_path / path).exists()):
        path.rename(tmp_path / f"gone {path.name}")
    capsys.readouterr()
    code, shown, report = check(capsys, name, "--root", tmp_path)
    assert code == 1 and len(report["problems"]) == 1 and "is not in" in report["problems"][0]
    needed = [line for line in report["get"] if "needed only without the published split" in line]
    assert len(needed) == (2 if name == "StanfordCars" else 1)
    folder = tmp_path / kind.dataset_dir
    (folder / f"split_built_{name}.json").rename(folder / f"split_zhou_{name}.json")
    code, shown, report = check(capsys, name, "--root", tmp_path)
    assert code == 0 and not any("needed only" in line for line in report["get"])


def test_sources_name_known_places():
    assert set(PARTS) == set(WRITERS) | set(DOMAIN_WRITERS)
    for name, parts in PARTS.items():
        assert parts[0].holds_images, f"{name}: the images come first"
        for part in parts:
            assert part.sources or part.note
            for source in part.sources:
                assert source.url.startswith(("https://", "http://", "gdrive:")), source
                assert len(source.md5) in (0, 32) and len(source.sha256) in (0, 64)
    assert sources.PARTS["EuroSAT"][0].sources[0].url.startswith("https://madm.dfki.de/"), "the authors' own is first"


def test_images_only_are_counted_as_present(tmp_path: Path):
    part = PARTS["EuroSAT"][0]
    (tmp_path / "eurosat").mkdir()
    assert not is_present(part, EuroSAT, tmp_path)
    write_image(tmp_path / "EuroSAT" / "2750" / "River" / "1.jpg")
    assert is_present(part, EuroSAT, tmp_path)
    assert not is_present(PARTS["EuroSAT"][1], EuroSAT, tmp_path)
    river, sea = ["River/1.jpg", 0, "River"], ["SeaLake/1.jpg", 1, "Sea or Lake"]
    write_json(dict.fromkeys(("train", "val", "test"), [river]), tmp_path / "EuroSAT" / "split_zhou_EuroSAT.json")
    assert is_present(part, EuroSAT, tmp_path)
    write_json(dict.fromkeys(("train", "val", "test"), [river, sea]), tmp_path / "EuroSAT" / "split_zhou_EuroSAT.json")
    assert not is_present(part, EuroSAT, tmp_path), "images of the split are missing"
    (tmp_path / "EuroSAT" / "split_zhou_EuroSAT.json").unlink()
    write_json({}, tmp_path / "eurosat" / "split_zhou_EuroSAT.json")
    assert is_present(PARTS["EuroSAT"][1], EuroSAT, tmp_path)
