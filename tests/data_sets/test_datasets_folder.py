"""Folder: a user's own labelled images, in every state that they come in."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from trees import dataset_cfg, write_class_tree, write_image, write_json, write_lines

from dassl.config import get_cfg_default
from dassl.data import DataManager
from datasets.folder import Folder
from datasets.unlabeled import Unlabeled
from promptkd.data.folders import walk_images
from promptkd.data.loading.user_images import UserImages


def parts(data: Folder) -> dict[str, list[tuple[str, int, str]]]:
    return {
        part: [(Path(d.impath).relative_to(data.layout.root).as_posix(), d.label, d.classname) for d in items]
        for part, items in vars(data.full).items()
    }


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Names with spaces and accents, a nested folder, several formats."""
    root = tmp_path / "mes images à moi"
    for name, suffix in (("lymph node", ".png"), ("épithélium", ".webp"), ("adipose", ".tiff"), ("stroma", ".bmp")):
        for index in range(4):
            write_image(root / "train" / name / f"{name} {index}{suffix}")
        write_image(root / "train" / name / "deeper" / "still" / "x.jpg")
        write_image(root / "test" / name / "t.gif")
    return root


CLASSES = ["adipose", "lymph node", "stroma", "épithélium"]


def test_train_and_test_folders(labelled: Path):
    data = Folder(dataset_cfg(labelled))
    assert data.classnames == data.all_classnames == CLASSES
    assert {part: len(items) for part, items in parts(data).items()} == {"train": 20, "val": 0, "test": 4}
    assert parts(data)["train"][:2] == [
        ("train/adipose/adipose 0.tiff", 0, "adipose"),
        ("train/adipose/adipose 1.tiff", 0, "adipose"),
    ]
    assert ("train/lymph node/deeper/still/x.jpg", 1, "lymph node") in parts(data)["train"]
    assert all(Path(d.impath).is_file() for d in data.train_x)
    write_image(labelled / "valid" / "adipose" / "v.png")
    assert parts(Folder(dataset_cfg(labelled)))["val"] == [("valid/adipose/v.png", 0, "adipose")]


def test_few_shot_and_groups(labelled: Path):
    data = Folder(dataset_cfg(labelled, shots=2, subsample="new"))
    assert data.classnames == CLASSES[2:] and Counter(d.label for d in data.train_x) == {0: 2, 1: 2}
    assert [d.classname for d in data.test] == CLASSES[2:]
    stored = json.loads(Path(data.fewshot.path).read_text(encoding="utf-8"))
    assert {name for _, _, name in stored["train"]} == set(CLASSES)
    assert [d.impath for d in Folder(dataset_cfg(labelled, shots=2, subsample="new")).train_x] == [
        d.impath for d in data.train_x
    ]


def test_without_test_images_nothing_is_tested(labelled: Path):
    shutil.rmtree(labelled / "test")
    data = Folder(dataset_cfg(labelled))
    assert data.full.test == [] and data.test == data.train_x


def test_classes_without_test_images_are_said(labelled: Path, capsys: pytest.CaptureFixture[str]):
    shutil.rmtree(labelled / "test" / "stroma")
    assert len(Folder(dataset_cfg(labelled)).full.test) == 3
    assert "1 of 4 classes have no test images: 'stroma'" in capsys.readouterr().out


def test_class_folders_in_the_root_are_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_class_tree(tmp_path, {"cat": 10, "dog": 20})
    data = Folder(dataset_cfg(tmp_path, shots=1))
    assert {part: len(items) for part, items in parts(data).items()} == {"train": 15, "val": 6, "test": 9}
    assert "split built" in capsys.readouterr().out
    again = Folder(dataset_cfg(tmp_path, shots=1))  # split_fewshot/ is now there, and no class
    assert parts(again) == parts(data) and "split built" not in capsys.readouterr().out


ROWS = [("a 1.png", "cat", "train"), ("b.png", "dog", "Training"), ("c.png", "dog", "valid"), ("d.png", "cat", "TEST")]


def write_list(path: Path, prefix: str) -> None:
    """The same four images as a comma, semicolon or tab separated file, as JSON objects or as a split file."""
    rows = [(f"{prefix}{file}", name, part) for file, name, part in ROWS]
    if path.name == "comma.csv":
        write_lines(path, ["path,class,split", *(",".join(row) for row in rows)])
    elif path.name == "semicolon.csv":  # as spreadsheets write it: with a byte order mark, and Windows line ends
        text = "\r\n".join(["\ufeffSplit;Path;Class", *(f"{part};{file};{name}" for file, name, part in rows)])
        path.write_bytes(text.encode())
    elif path.suffix == ".tsv":
        write_lines(path, ["class\tpath\tsplit", *(f"{name}\t{file}\t{part}" for file, name, part in rows)])
    elif path.name == "rows.json":
        write_json([dict(zip(("path", "class", "split"), row, strict=True)) for row in rows], path)
    else:
        lists = {part: [] for part in ("train", "val", "test")}
        for (file, name, _), part in zip(rows, ("train", "train", "val", "test"), strict=True):
            lists[part].append([file, ["cat", "dog"].index(name), name])
        write_json(lists, path)


@pytest.mark.parametrize("file", ["comma.csv", "semicolon.csv", "tab.tsv", "rows.json", "split.json"])
@pytest.mark.parametrize("prefix", ["", "photos\\", "./photos/", "{root}/photos/"])
def test_list_of_files(tmp_path: Path, file: str, prefix: str):
    for name, _, _ in ROWS:
        write_image(tmp_path / ("photos" if prefix else ".") / name)
    write_list(tmp_path / file, prefix.format(root=tmp_path))
    if file == "split.json" and "root" in prefix:
        with pytest.raises(ValueError, match="leaves the image folder"):
            Folder(dataset_cfg(tmp_path, FILES=file))
        return
    data = Folder(dataset_cfg(tmp_path, FILES=file))
    at = "photos/" if prefix else ""
    assert parts(data) == {
        "train": [(f"{at}a 1.png", 0, "cat"), (f"{at}b.png", 1, "dog")],
        "val": [(f"{at}c.png", 1, "dog")],
        "test": [(f"{at}d.png", 0, "cat")],
    }


def test_list_without_splits_is_split(tmp_path: Path):
    lines = ["path,class"]
    for index in range(20):
        write_image(tmp_path / f"{index}.png")
        lines.append(f"{index}.png,{'cat' if index % 2 else 'dog'}")
    write_lines(tmp_path / "files.csv", lines)
    data = Folder(dataset_cfg(tmp_path, FILES=str(tmp_path / "files.csv")))
    assert {part: len(items) for part, items in parts(data).items()} == {"train": 10, "val": 4, "test": 6}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,class,split", "a.png,,train"], "files.csv, row 1: no class; the columns are path, class, split"),
        (["picture,class", "a.png,cat"], "row 1: no path; the columns are picture, class"),
        (["path,class,split", "a.png,cat,dev"], "row 1: split 'dev'; choose one of train, val, test"),
        (["path,class,split", "a.png,cat,train", "./a.png,dog,test"], "row 2: a.png is in row 1 already"),
        (["path,class", "../a.png,cat"], "row 1: ../a.png is outside DATASET.ROOT"),
        (["path,class", "/etc/a.png,cat"], "row 1: /etc/a.png is outside DATASET.ROOT"),
        (["path,class,split", "a.png,cat,", "b.png,cat,train"], "1 rows have no split and others have one"),
        (["path,class,split", "a.png,cat,train", "b.png,dog,train"], "1 of 2 images of the split .*: b.png"),
        (["path,class,split", "a.png,cat,train"], "1 class .cat.; a classifier needs two"),
        (["path,class,split", "a.png,cat,test"], "the train split is empty"),
        (["path,class,split"], "lists no images"),
        (["path,class", "a.png,cat, black"], r"row 1: 3 cells and 2 columns .path, class.; quote a value that holds"),
        (["path,class,split", "a.png,cat"], "row 1: 2 cells and 3 columns"),
        (["path,class,class", "a.png,cat,dog"], "files.csv has 1 columns twice: class"),
    ],
)
def test_wrong_lists(tmp_path: Path, lines: list[str], message: str):
    write_image(tmp_path / "a.png")
    write_lines(tmp_path / "files.csv", lines)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        Folder(dataset_cfg(tmp_path, FILES="files.csv"))
    assert "\n" not in str(error.value)


def test_a_folder_in_a_list_is_no_image(tmp_path: Path):
    write_image(tmp_path / "a.png")
    (tmp_path / "b").mkdir()
    write_lines(tmp_path / "files.csv", ["path,class,split", "a.png,cat,train", "b,dog,train"])
    with pytest.raises(ValueError, match="b is a folder, not an image"):
        Folder(dataset_cfg(tmp_path, FILES="files.csv"))


def test_cells_that_spreadsheets_write(tmp_path: Path):
    """Quoted delimiters and line ends, cells that hold nothing, columns of other things."""
    for name in ("a, b.png", "c.png"):
        write_image(tmp_path / name)
    lines = ["path,class,note,split,", '"a, b.png","cat, black","two\nlines",train,', "c.png,dog,,train,,", ",,,,"]
    write_lines(tmp_path / "files.csv", lines)
    assert parts(Folder(dataset_cfg(tmp_path, FILES="files.csv")))["train"] == [
        ("a, b.png", 0, "cat, black"),
        ("c.png", 1, "dog"),
    ]


def test_classes_in_json_rows(tmp_path: Path):
    for name in ("0.png", "1.png"):
        write_image(tmp_path / name)
    rows = [{"path": f"{label}.png", "class": label, "split": "train"} for label in (0, 1)]
    write_json(rows, tmp_path / "files.json")
    assert [d.classname for d in Folder(dataset_cfg(tmp_path, FILES="files.json")).train_x] == ["0", "1"]
    for value in (["cat"], True, 1.5):
        write_json([{**rows[0], "class": value}, rows[1]], tmp_path / "files.json")
        with pytest.raises(ValueError, match="row 1: class is .*; it has to be one word or number"):
            Folder(dataset_cfg(tmp_path, FILES="files.json"))


def test_split_file_keeps_its_labels(tmp_path: Path):
    for name in "abcd":
        write_image(tmp_path / f"{name}.png")

    def load(*classes: tuple[int, str], **options) -> Folder:
        train = [[f"{file}.png", *pair] for file, pair in zip("abcd", classes, strict=False)]
        write_json({"train": train, "val": [], "test": []}, tmp_path / "split.json")
        return Folder(dataset_cfg(tmp_path, FILES="split.json", **options))

    data = load((2, "ant"), (0, "zebra"), (1, "cow"), (2, "ant"))
    assert data.all_classnames == ["zebra", "cow", "ant"] and [d.label for d in data.train_x] == [2, 0, 1, 2]
    assert load((2, "ant"), (0, "zebra"), (1, "cow"), subsample="base").classnames == ["zebra", "cow"]
    write_json({"ant": "an ant", "cow": "a cow", "zebra": "a zebra"}, tmp_path / "classnames.json")
    assert load((2, "ant"), (0, "zebra"), (1, "cow")).all_classnames == ["a zebra", "a cow", "an ant"]
    for classes, message in (
        ([(0, "cat"), (1, "cat"), (2, "dog"), (3, "dog")], "cannot tell apart: 'cat' = 'cat'"),
        ([(0, "cat"), (0, "dog")], "label 0 is named both 'cat' and 'dog'"),
        ([(1, "cat"), (3, "dog")], "labels are not 0..1"),
    ):
        with pytest.raises(ValueError, match=message):
            load(*classes)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("classnames.json", '{"adipose": "fat", "lymph node": "lymph node tissue", "stroma": "s", "épithélium": "e"}'),
        ("classnames.txt", "stroma s\nlymph node\tlymph node tissue\n\nadipose fat\népithélium e\nextra folder"),
    ],
)
def test_class_names(labelled: Path, file: str, content: str):
    (labelled / file).write_text(content, encoding="utf-8")
    data = Folder(dataset_cfg(labelled))
    assert data.classnames == ["fat", "lymph node tissue", "s", "e"]
    (labelled / file).rename(labelled / "other.names" if file.endswith("txt") else labelled / "other.json")
    named = "other.names" if file.endswith("txt") else str(labelled / "other.json")
    assert Folder(dataset_cfg(labelled, CLASSNAMES=named)).classnames == data.classnames


def test_folder_whose_name_begins_with_another(tmp_path: Path):
    write_class_tree(tmp_path / "train", {"sea": 1, "sea lion": 1})
    write_lines(tmp_path / "classnames.txt", ["sea open water", "sea lion marine mammal"])
    assert Folder(dataset_cfg(tmp_path)).classnames == ["open water", "marine mammal"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("classnames.txt", "fat\nlymph node tissue\ns\ne", "does not name 3 of 4 class folders: adipose, stroma"),
        ("classnames.json", '["fat", "lymph", "s", "e"]', "is not a map of class folders to names"),
        ("classnames.json", '{"adipose": "fat"', "is not JSON"),
        ("classnames.json", '{"adipose": "fat", "adipose": "lymph"}', "has 'adipose' twice in one object"),
        ("classnames.txt", "stroma s\nadipose fat\nadipose lymph", "names 'adipose' both 'fat' and 'lymph'"),
        ("classnames.json", '{"adipose": "a", "lymph node": "b", "stroma": "c", "épithélium": "C"}', "'c' = 'C'"),
    ],
)
def test_wrong_class_names(labelled: Path, file: str, content: str, message: str):
    (labelled / file).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        Folder(dataset_cfg(labelled))


def test_empty_class_folder(labelled: Path):
    (labelled / "train" / "none").mkdir()
    with pytest.raises(ValueError, match="none has no images .it is empty.; fill or remove it"):
        Folder(dataset_cfg(labelled))
    (labelled / "train" / "none" / "clip.mp4").touch()
    with pytest.raises(ValueError, match=r"it holds .mp4 files"):
        Folder(dataset_cfg(labelled))


@pytest.mark.parametrize("names", [("Cat", "cat"), ("big_cat", "big cat"), ("café", "cafe\u0301")])
def test_class_folders_that_are_one_name_for_clip(tmp_path: Path, names: tuple[str, str]):
    for name in names:
        write_image(tmp_path / "train" / name / "1.png")
    with pytest.raises(ValueError, match="cannot tell apart"):
        Folder(dataset_cfg(tmp_path))


def test_folders_that_do_not_fit(labelled: Path, capsys: pytest.CaptureFixture[str]):
    write_image(labelled / "train" / "stray.png")
    Folder(dataset_cfg(labelled))
    assert "left out 1 images beside the class folders of" in capsys.readouterr().out
    write_image(labelled / "test" / "Adipose" / "1.png")
    with pytest.raises(ValueError, match="classes of test are not in train: Adipose"):
        Folder(dataset_cfg(labelled))
    shutil.rmtree(labelled / "train")
    with pytest.raises(ValueError, match="has a folder test and no folder train"):
        Folder(dataset_cfg(labelled))
    with pytest.raises(ValueError, match="has no class folders; for images without labels set DATASET.NAME Unlabeled"):
        Folder(dataset_cfg(labelled / "test" / "stroma"))
    with pytest.raises(FileNotFoundError, match="is neither in"):
        Folder(dataset_cfg(labelled, FILES="nothing.csv"))
    with pytest.raises(FileNotFoundError, match="set it with --root"):
        Folder(dataset_cfg(labelled / "none"))


def test_folders_beside_the_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_class_tree(tmp_path / "train", {"steam": 2, "diesel": 2})
    write_class_tree(tmp_path, {"car": 1, "plane": 1})
    (tmp_path / "README.txt").write_text("mine")
    (tmp_path / "split_fewshot").mkdir()
    Folder(dataset_cfg(tmp_path))
    message = "Folder: classes are the folders in train; left out beside them: car, plane\n"
    assert message in capsys.readouterr().out
    write_image(tmp_path / "test" / "1.jpg")
    with pytest.raises(ValueError, match="test has no class folders; .*, and rename test where that is a class"):
        Folder(dataset_cfg(tmp_path))
    shutil.rmtree(tmp_path / "test")
    write_class_tree(tmp_path / "Training", {"steam": 1})
    with pytest.raises(ValueError, match="has both Training and train; put what is train into one of them"):
        Folder(dataset_cfg(tmp_path))


def test_one_class_only(tmp_path: Path):
    write_class_tree(tmp_path / "train", {"cat": 3})
    with pytest.raises(ValueError, match="1 class .cat.; a classifier needs two"):
        Folder(dataset_cfg(tmp_path))


def test_links_are_followed_once(tmp_path: Path):
    write_image(tmp_path / "store" / "deep" / "1.png")
    folder = tmp_path / "train" / "cat"
    folder.mkdir(parents=True)
    for link, target in (("a", "store"), ("b", "store/deep"), ("up", "train"), ("gone", "nowhere")):
        os.symlink(tmp_path / target, folder / link)
    os.symlink(tmp_path / "nowhere.png", folder / "broken.png")
    os.symlink(tmp_path / "store" / "deep" / "1.png", folder / "linked.png")
    assert walk_images(folder) == ["a/deep/1.png", "linked.png"]


def test_links_up_the_tree_bring_no_other_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for part in ("train", "test"):
        write_class_tree(tmp_path / part, {"cat": 2, "dog": 2})
    expected = parts(Folder(dataset_cfg(tmp_path)))
    os.symlink("../..", tmp_path / "train" / "cat" / "up")
    os.symlink("loop", tmp_path / "train" / "cat" / "loop")
    os.symlink("loop.png", tmp_path / "train" / "cat" / "loop.png")
    os.symlink(tmp_path / "gone.png", tmp_path / "train" / "cat" / "gone.png")
    os.symlink("test", tmp_path / "val")  # the same images under the same class
    listed = parts(Folder(dataset_cfg(tmp_path)))
    assert [listed[part] for part in ("train", "test")] == [expected[part] for part in ("train", "test")]
    assert len(listed["val"]) == 4
    out = capsys.readouterr().out
    assert f"left out 2 links in {tmp_path / 'train' / 'cat'} that lead to no file, such as gone.png" in out


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("train/kitten", "cat"),
        ("train/dog/linked.jpg", "../cat/cat_1.jpg"),
        ("train/dog/more", "../cat"),
        ("train/dog/more", "../../test"),
        ("test/dog/more", "../../train/cat"),
    ],
)
def test_one_file_in_two_classes_is_refused(tmp_path: Path, link: str, target: str):
    for part in ("train", "test"):
        write_class_tree(tmp_path / part, {"cat": 2, "dog": 2})
    os.symlink(target, tmp_path / link)
    with pytest.raises(ValueError, match=r"are the same file, .*, by a link; remove one of the two") as error:
        Folder(dataset_cfg(tmp_path))
    assert "'cat'" in str(error.value) and "\n" not in str(error.value)


def test_empty_files(labelled: Path, capsys: pytest.CaptureFixture[str]):
    (labelled / "train" / "stroma" / "zero.png").touch()
    for kind, extra in ((Folder, {}), (Unlabeled, {"CLASSNAMES": "names.txt"})):
        write_lines(labelled / "names.txt", CLASSES)
        with pytest.raises(ValueError, match="1 image files are empty: train/stroma/zero.png; remove them, or set"):
            kind(dataset_cfg(labelled, **extra))
        assert len(kind(dataset_cfg(labelled, SKIP_BAD_IMAGES=True, **extra)).train_x) == (20 if kind is Folder else 24)
        assert "left out train/stroma/zero.png (empty file)" in capsys.readouterr().out


def test_loader_reads_own_images(labelled: Path):
    cfg = get_cfg_default()
    cfg.DATASET.NAME, cfg.DATASET.ROOT = "Folder", str(labelled)
    cfg.DATALOADER.NUM_WORKERS, cfg.DATALOADER.TEST.BATCH_SIZE = 0, 4
    cfg.INPUT.SIZE, cfg.VERBOSE = (8, 8), False
    assert Folder.image_wrapper is Unlabeled.image_wrapper is UserImages
    manager = DataManager(cfg, dataset_wrapper=UserImages)
    batch = next(iter(manager.test_loader))
    assert batch["img"].shape == (4, 3, 8, 8) and batch["label"].tolist() == [0, 1, 2, 3]
    assert len(manager.train_loader_x.dataset) == 20
    cfg.DATALOADER.K_TRANSFORMS, cfg.DATALOADER.RETURN_IMG0 = 2, True
    manager = DataManager(cfg, dataset_wrapper=UserImages)
    item = manager.train_loader_x.dataset[0]
    assert len(item["img"]) == 2 and item["img0"].shape == (3, 8, 8) and item["index"] == 0
