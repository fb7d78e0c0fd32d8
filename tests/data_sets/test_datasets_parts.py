"""Parts of a split under the names that archives give them, and folders that look like parts and are not known."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import dataset_cfg, write_class_tree, write_image

from datasets.folder import Folder
from promptkd.data.part_names import alike, longer_parts, part_in, plain_part

CLASSES = {"forest": 10, "sea": 10, "street": 10}


@pytest.mark.parametrize(
    "names",
    [
        {"train": "seg_train", "test": "seg_test"},
        {"train": "seg_train/seg_train", "test": "seg_test/seg_test"},
        {"train": "training_set", "test": "test_set"},
        {"train": "training_set/training_set", "test": "test_set/test_set"},
        {"train": "training", "val": "validation", "test": "testing"},
        {"train": "training", "val": "validation", "test": "evaluation"},
        {"train": "train_images", "val": "val_images", "test": "test_images"},
        {"train": "Train", "test": "Test"},
        {"train": "TRAIN", "test": "TEST"},
        {"train": "TrainImages", "test": "TestImages"},
        {"train": "train2017", "val": "val2017"},
        {"train": "imgs-train", "val": "imgs-dev", "test": "imgs-test"},
        {"train": "train", "test": "test_set"},
        {"train": "Training Data", "test": "Testing Data"},
        {"train": "flowers.train", "test": "flowers.test"},
        {"train": "trainset", "val": "valset", "test": "testset"},
        {"train": "train_data"},
    ],
)
def test_parts(names: dict[str, str], tmp_path: Path):
    for name in names.values():
        write_class_tree(tmp_path / name, CLASSES)
    data = Folder(dataset_cfg(tmp_path))
    assert data.classnames == list(CLASSES)
    for part in ("train", "val", "test"):
        items = getattr(data.full, part)
        assert len(items) == (30 if part in names else 0)
        assert all(d.impath.startswith(f"{tmp_path}/{names[part]}/") for d in items)


def test_parts_beside_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("seg_train", "seg_test"):
        write_class_tree(tmp_path / name, CLASSES)
    write_image(tmp_path / "seg_pred" / "1.jpg")
    assert Folder(dataset_cfg(tmp_path)).classnames == list(CLASSES)
    out = capsys.readouterr().out
    assert "parts are seg_train (train), seg_test (test)" in out and "left out beside them: seg_pred" in out
    write_class_tree(tmp_path / "train_seg", CLASSES)
    with pytest.raises(ValueError, match="seg_train and train_seg are both train"):
        Folder(dataset_cfg(tmp_path))


def test_classes_of_such_names_stay_classes(tmp_path: Path):
    for name in ("bullet_train", "test tube", "training shoe", "validation stamp"):
        write_class_tree(tmp_path, {name: 10})
        write_image(tmp_path / name / "more" / "1.jpg")
    assert len(Folder(dataset_cfg(tmp_path)).classnames) == 4


@pytest.mark.parametrize(("names", "remedy"), [(("a", "b"), "rename them"), (("cat", "dog"), "put the parts above")])
def test_folders_alike_are_refused(names: tuple[str, str], remedy: str, tmp_path: Path):
    inside = dict.fromkeys(("train", "test"), 5) if names[0] == "cat" else CLASSES
    for name in names:
        write_class_tree(tmp_path / name, inside)
    with pytest.raises(
        ValueError, match=rf"all 2 folders in .* \({', '.join(names)}\) hold the same folders .*{remedy}"
    ):
        Folder(dataset_cfg(tmp_path))
    for name in names:  # images beside the folders: these are classes
        write_class_tree(tmp_path, {name: 4})
    assert Folder(dataset_cfg(tmp_path)).classnames == list(names)


def test_one_folder_around_all(tmp_path: Path):
    write_class_tree(tmp_path / "archive" / "train", CLASSES)
    write_class_tree(tmp_path / "archive" / "test", CLASSES)
    with pytest.raises(ValueError, match=r"one folder, archive, with test, train in it.*; set --root .*/archive"):
        Folder(dataset_cfg(tmp_path))


def test_words():
    assert part_in("seg_train") == ("train", "seg") and part_in("val2017") == ("val", "")
    assert part_in("train_test_split")[0] == "" and part_in("forest") == ("", "forest")
    assert plain_part(" Validation") == "val" and plain_part("dev") == ""
    assert longer_parts({"bullet_train": ["a"], "test tube": ["a"]}) == {}
    assert longer_parts({"x_train": ["a", "b"], "x_test": ["c", "d"]}) == {}
    assert alike({"a": ["x", "y"], "b": ["x", "y", "z", "w"]}) == []
    assert alike({"a": ["x", "y", "z"], "b": ["x", "y", "z", "w"]}) == ["x", "y", "z"]
