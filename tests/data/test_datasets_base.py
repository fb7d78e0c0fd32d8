import json
import random
from pathlib import Path

import pytest
from parity_data import replay_splits
from trees import dataset_cfg, write_class_tree, write_image

from dassl.data.datasets import Datum
from datasets.eurosat import EuroSAT
from promptkd.data.benchmark import BenchmarkDataset, check_listing
from promptkd.data.splits import (
    Listing,
    base_new_labels,
    digest,
    draw_few_shot,
    random_split,
    read_split,
    split_trainval,
    subsample_classes,
)
from promptkd.files import write_json

GOLDEN = Path(__file__).parents[1] / "recorded" / "splits"
FOLDERS = sorted(EuroSAT.renamed)


@pytest.fixture
def eurosat(tmp_path: Path) -> Path:
    write_class_tree(tmp_path / "eurosat" / "2750", dict.fromkeys(FOLDERS, 10))
    return tmp_path


def relative(data: BenchmarkDataset, datums: list[Datum]) -> list[tuple[str, int, str]]:
    return [(Path(d.impath).relative_to(data.layout.images).as_posix(), d.label, d.classname) for d in datums]


def test_published_picks_are_reproduced():
    lines = replay_splits(GOLDEN)
    assert len(lines) == 9
    assert [line for line in lines if not line[1]] == []


def test_replay_notices_a_difference(tmp_path: Path):
    golden = json.loads((GOLDEN / "splits.json").read_text())
    golden["fewshot"]["shots2_seed1"]["val"].reverse()
    golden["dataset"]["CoOp_new_0shot"]["classnames"][0] = "Meadow"
    golden["random_split"]["raw_listdir"]["seed"] += 1
    folder = tmp_path / "data" / "eurosat"
    folder.mkdir(parents=True)
    (folder / "split_zhou_EuroSAT.json").write_bytes((GOLDEN / "data/eurosat/split_zhou_EuroSAT.json").read_bytes())
    (tmp_path / "splits.json").write_text(json.dumps(golden))
    wrong = [name for name, ok, _ in replay_splits(tmp_path) if not ok]
    assert wrong == ["fewshot/shots2_seed1", "dataset/CoOp_new_0shot", "random_split/raw_listdir"]


def test_split_is_built_kept_and_read_again(eurosat: Path, capsys: pytest.CaptureFixture[str]):
    first = EuroSAT(dataset_cfg(eurosat))
    out = capsys.readouterr().out
    assert "split built from the files on disk" in out
    assert "50 train / 20 val / 30 test images, published are 13,500 train / 5,400 val / 8,100 test" in out
    kept = eurosat / "eurosat" / "split_built_EuroSAT.json"
    assert [len(part) for part in read_split(kept)] == [50, 20, 30]
    second = EuroSAT(dataset_cfg(eurosat))
    assert "split built" not in capsys.readouterr().out
    assert relative(second, second.train_x) == relative(first, first.train_x)
    # one random state runs through the classes, whatever the global one is
    rng = random.Random(1)
    for label, folder in enumerate(FOLDERS):
        names = sorted(f"{folder}/{folder}_{i}.jpg" for i in range(1, 11))
        rng.shuffle(names)
        assert [d[0] for d in relative(first, first.full.train) if d[1] == label] == names[:5]
    assert first.classnames[2] == "Herbaceous Vegetation Land"


def test_half_extracted_split_is_not_kept_for_ever(eurosat: Path, capsys: pytest.CaptureFixture[str]):
    EuroSAT(dataset_cfg(eurosat))
    write_class_tree(eurosat / "eurosat" / "2750", {"River": 20})
    data = EuroSAT(dataset_cfg(eurosat))
    assert "the files on disk changed" in capsys.readouterr().out
    assert sum(d.classname == "River" for d in data.train_x) == 10


def test_damaged_split_that_was_built_is_built_again(eurosat: Path, capsys: pytest.CaptureFixture[str]):
    first = EuroSAT(dataset_cfg(eurosat))
    kept = eurosat / "eurosat" / "split_built_EuroSAT.json"
    kept.write_text('{"train": [')
    assert relative(EuroSAT(dataset_cfg(eurosat)), first.train_x) == relative(first, first.train_x)
    assert "split built" in capsys.readouterr().out and len(read_split(kept).train) == 50


def test_published_split_file_wins(eurosat: Path):
    EuroSAT(dataset_cfg(eurosat))
    items = [(f"{f}/{f}_{i}.jpg", label, f.upper()) for label, f in enumerate(FOLDERS) for i in (1, 2)]
    split = {"train": items[::2], "val": items[::2], "test": items[1::2]}
    write_json(eurosat / "eurosat" / "split_zhou_EuroSAT.json", split)
    data = EuroSAT(dataset_cfg(eurosat))
    assert relative(data, data.test) == items[1::2]
    assert data.split_source == "split_zhou_EuroSAT.json"


def test_windows_paths_in_a_split_file_are_read(tmp_path: Path):
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": [["a\\b.jpg", 0, "a"]], "val": [], "test": []}))
    assert read_split(path).train == [("a/b.jpg", 0, "a")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "has no list train, val, test"),
        ('{"train": [], "val": []}', "has no list test"),
        ('{"train": [["a.jpg", "cat"]], "val": [], "test": []}', "train[0] is ['a.jpg', 'cat']"),
        ('{"train": [["a.jpg", 0.5, "cat"]], "val": [], "test": []}', "train[0]"),
        ('{"train": [["a.jpg", Infinity, "cat"]], "val": [], "test": []}', "Infinity, which is not finite"),
        ('{"train": 3, "val": [], "test": []}', "train is 3, not a list of [path, label, class name]"),
        ('{"train": [], "val": [], "test": [], "train": []}', "has 'train' twice in one object"),
        ('{"train": [], "val": [["../a.jpg", 0, "cat"]], "test": []}', "leaves the image folder"),
        ('{"train": [], "val": [["C:\\\\a.jpg", 0, "cat"]], "test": []}', "leaves the image folder"),
    ],
)
def test_damaged_split_file(tmp_path: Path, content: str, message: str):
    path = tmp_path / "split.json"
    path.write_text(content)
    with pytest.raises(ValueError) as error:
        read_split(path)
    assert message in str(error.value) and "split.json" in str(error.value) and "\n" not in str(error.value)


def test_class_groups_exposed_and_full(eurosat: Path):
    data = EuroSAT(dataset_cfg(eurosat, shots=2, subsample="new"))
    assert data.classnames == [EuroSAT.renamed[f] for f in FOLDERS[5:]] == list(data.lab2cname.values())
    assert data.num_classes == 5 and {d.label for d in data.train_x} == set(range(5)) and len(data.train_x) == 10
    assert len(data.val) == 10 and len(data.test) == 15
    assert [len(part) for part in (data.full.train, data.full.val, data.full.test)] == [50, 20, 30]
    assert [len(part) for part in (data.chosen.train, data.chosen.val, data.chosen.test)] == [20, 20, 30]
    assert data.all_classnames == [EuroSAT.renamed[f] for f in FOLDERS]
    assert data.groups == {"all": list(range(10)), "base": [0, 1, 2, 3, 4], "new": [5, 6, 7, 8, 9]}
    assert {d.label for d in data.full.test} == set(range(10))


def test_odd_number_of_classes():
    assert base_new_labels(5) == ([0, 1, 2], [3, 4])
    data = [Datum(__file__, label, 3, f"c{label}") for label in (4, 0, 3, 3)]
    new = subsample_classes(data, [Datum(__file__, label, 0, "x") for label in range(5)], subsample="new")
    assert [(d.label, d.domain, d.classname) for d in new[0]] == [(1, 3, "c4"), (0, 3, "c3"), (0, 3, "c3")]
    with pytest.raises(ValueError, match="'novel'; choose one of all, base, new"):
        subsample_classes(data, subsample="novel")
    with pytest.raises(ValueError, match="only 1 class"):
        subsample_classes(data[:1], subsample="new")


def test_few_shot_list_is_stored_and_read(eurosat: Path):
    state = random.getstate()
    first = EuroSAT(dataset_cfg(eurosat, shots=2, seed=3))
    assert random.getstate() == state
    stored = Path(first.fewshot.path)
    assert stored.parent == eurosat / "eurosat" / "split_fewshot" and stored.name.startswith("shot_2-seed_3-")
    content = json.loads(stored.read_text())
    assert content["train"][0][0].startswith("AnnualCrop/") and content["shots"] == 2 and content["seed"] == 3
    # what is stored is what is used: exchange one image for another of its class
    replaced = next(i for i in relative(first, first.full.train) if list(i) not in content["train"] and i[1] == 0)
    content["train"][0] = list(replaced)
    stored.write_text(json.dumps(content))
    second = EuroSAT(dataset_cfg(eurosat, shots=2, seed=3))
    assert relative(second, second.train_x)[0] == replaced
    assert second.fewshot.sha256 != first.fewshot.sha256
    # an image of another class, a repeated image, a missing one
    for bad in (["River/River_1.jpg", 8, "River"], content["train"][1], ["AnnualCrop/none.jpg", 0, "Annual Crop Land"]):
        stored.write_text(json.dumps({**content, "train": [bad, *content["train"][1:]]}))
        with pytest.raises(ValueError, match="delete it"):
            EuroSAT(dataset_cfg(eurosat, shots=2, seed=3))


def test_few_shot_key_follows_what_it_depends_on(eurosat: Path):
    def path(**options: int) -> str:
        return EuroSAT(dataset_cfg(eurosat, **options)).fewshot.path

    paths = {path(shots=1, seed=1), path(shots=2, seed=1), path(shots=1, seed=2)}
    write_image(eurosat / "eurosat" / "2750" / "River" / "River_11.jpg")
    paths.add(path(shots=1, seed=1))
    assert len(paths) == 4


def test_seeds(eurosat: Path):
    def picks(seed: int, shots: int = 2) -> list[tuple[str, int, str]]:
        data = EuroSAT(dataset_cfg(eurosat, shots=shots, seed=seed))
        return relative(data, data.train_x)

    assert picks(0) == picks(0) != picks(1)
    before = set((eurosat / "eurosat" / "split_fewshot").iterdir())
    assert len({tuple(picks(-1)) for _ in range(5)}) > 1
    assert set((eurosat / "eurosat" / "split_fewshot").iterdir()) == before
    assert EuroSAT(dataset_cfg(eurosat, shots=2, seed=-1)).fewshot.path is None
    assert EuroSAT(dataset_cfg(eurosat, shots=0)).fewshot is None
    assert len(picks(1, shots=100)) == 50  # a class with fewer keeps what it has


def test_folder_that_cannot_be_written_to(eurosat: Path, monkeypatch, capsys: pytest.CaptureFixture[str]):
    def refuse(path: Path, value: object, indent: int) -> None:
        raise PermissionError(13, "Permission denied")

    expected = [d.impath for d in EuroSAT(dataset_cfg(eurosat, shots=2)).train_x]
    for path in [*(eurosat / "eurosat" / "split_fewshot").iterdir(), *(eurosat / "eurosat").glob("split_built*")]:
        path.unlink()
    capsys.readouterr()
    monkeypatch.setattr("promptkd.data.splits.write_json", refuse)
    data = EuroSAT(dataset_cfg(eurosat, shots=2))
    assert [d.impath for d in data.train_x] == expected and data.fewshot.path is None
    out = capsys.readouterr().out
    assert out.count("cannot be written to (Permission denied)") == 2


def test_draw_and_split_against_plain_loops():
    items = [(f"{i}.jpg", i % 3, f"c{i % 3}") for i in (5, 4, 3, 2, 1, 0, 8, 7, 6, 11, 10)]
    random.seed(7)
    expected = []
    for label in (2, 1, 0):
        group = [item for item in items if item[1] == label]
        expected += random.sample(group, 4) if len(group) >= 4 else group
    assert draw_few_shot(items, 4, random.Random(7)) == expected
    random.seed(7)
    train, val = [], []
    for label in (2, 1, 0):
        group = [item for item in items if item[1] == label]
        random.shuffle(group)
        val += group[:1]
        train += group[1:]
    assert split_trainval(items, 0.2, 7) == (train, val)
    thirteen = random_split({0: [str(i) for i in range(13)]}, {0: "c"})
    assert [len(part) for part in thirteen] == [6, 3, 4]
    with pytest.raises(ValueError, match="'c' has 2 images, too few"):
        random_split({0: ["a", "b"]}, {0: "c"})


def test_interrupted_write_keeps_the_old_file(tmp_path: Path):
    path = tmp_path / "split.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1} and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        (([], [("a", 0, "a")], [("a", 0, "a")]), "the train split is empty (0 train / 1 val / 1 test"),
        (([("a", 0, "a")], [], [("a", 0, "a")]), "the val split is empty"),
        (([("a", 1, "a")], [("a", 1, "a")], [("a", 1, "a")]), "labels are not 0..0"),
        (([("a", 0, "a")],) * 3, "1 class (a); a classifier needs two"),
        (([("a", 0, "a"), ("b", 1, " ")],) * 3, "class 1 has an empty name"),
        (([("a", 0, "a"), ("b", 2, "b")],) * 3, "labels are not 0..1; first odd one: 1"),
        (([("a", 0, "Caf\u00e9"), ("b", 1, "cafe\u0301")],) * 3, "cannot tell apart: 'Caf\u00e9'"),
        (([("a", 0, "a"), ("b", 0, "b")],) * 3, "label 0 is named both 'a' and 'b'"),
        (([("a", 0, "a"), ("b", 1, "b")], [("a", 0, "a")], [("a", 0, "a")]), "1 of 2 classes have no test images: 'b'"),
        (([("a", 0, "Big_cat"), ("b", 1, "big  cat")],) * 3, "cannot tell apart: 'Big_cat' = 'big  cat'"),
    ],
)
def test_listing_checks(listing: tuple, message: str):
    with pytest.raises(ValueError) as error:
        check_listing("Some", Listing(*listing))
    assert message in str(error.value)


def test_names_that_are_published_equal_are_said_not_refused(capsys: pytest.CaptureFixture[str]):
    check_listing("Some", Listing(*([("a", 0, "sunglasses"), ("b", 1, "sunglasses")],) * 3), same_names_allowed=True)
    assert "'sunglasses' = 'sunglasses'" in capsys.readouterr().out


def test_wrong_roots(tmp_path: Path, eurosat: Path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder; set it with --root"):
        EuroSAT(dataset_cfg(tmp_path / "nowhere"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match="no folder eurosat/2750 or .*with .*empty .it holds nothing"):
        EuroSAT(dataset_cfg(empty))
    (empty / "eurosat" / "EuroSAT_RGB").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="eurosat holds EuroSAT_RGB"):
        EuroSAT(dataset_cfg(empty))
    # the data set's own folder as root, and a doubled folder, are understood
    expected = [d.impath for d in EuroSAT(dataset_cfg(eurosat)).test]
    assert [d.impath for d in EuroSAT(dataset_cfg(eurosat / "eurosat")).test] == expected
    (eurosat / "eurosat").rename(eurosat / "inner")
    (eurosat / "eurosat").mkdir()
    (eurosat / "inner").rename(eurosat / "eurosat" / "eurosat")
    assert len(EuroSAT(dataset_cfg(eurosat)).test) == 30


def test_missing_images_are_named(eurosat: Path):
    EuroSAT(dataset_cfg(eurosat))
    kept = eurosat / "eurosat" / "split_built_EuroSAT.json"
    kept.rename(eurosat / "eurosat" / "split_zhou_EuroSAT.json")
    (eurosat / "eurosat" / "2750" / "River" / "River_3.jpg").unlink()
    for path in (eurosat / "eurosat" / "2750" / "Forest").iterdir():
        path.unlink()
    (eurosat / "eurosat" / "2750" / "Forest").rmdir()
    with pytest.raises(FileNotFoundError) as error:
        EuroSAT(dataset_cfg(eurosat))
    text = str(error.value)
    assert "11 of 100 images of the split are not under" in text and text.endswith("Forest/Forest_9.jpg, ...")
    assert "\n" not in text


def test_bad_images_are_left_out_only_where_asked(eurosat: Path, capsys: pytest.CaptureFixture[str]):
    folder = eurosat / "eurosat" / "2750" / "River"
    write_image(folder / "River_1.jpg", size=(64, 64))
    cut = (folder / "River_1.jpg").read_bytes()
    (folder / "River_1.jpg").write_bytes(cut[: len(cut) // 2])
    (folder / "River_2.jpg").write_bytes(b"")
    assert sum(map(len, vars(EuroSAT(dataset_cfg(eurosat)).full).values())) == 100
    capsys.readouterr()
    data = EuroSAT(dataset_cfg(eurosat, SKIP_BAD_IMAGES=True))
    assert sum(map(len, vars(data.full).values())) == 98
    out = capsys.readouterr().out
    assert "left out River/River_1.jpg (OSError: " in out
    assert "left out River/River_2.jpg (empty file)" in out


def test_digest_covers_paths_labels_names_and_places():
    a, b = ("a", 0, "x"), ("b", 0, "x")
    digests = {digest([a], [b]), digest([b], [a]), digest([a, b], []), digest([("a", 1, "x")], [b])}
    assert len(digests) == 4
    assert digest([a], [b]) == digest([("a", 0, "x")], [("b", 0, "x")])
