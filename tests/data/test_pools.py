"""Pools that are not the benchmark's: what is drawn, from plain lists and through train.main."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from conftest import CLASSES, result
from PIL import Image
from tiny_runs import BASE, KD
from trees import dataset_cfg

from dassl.data.datasets import Datum
from datasets.emoji import Emoji
from promptkd.data.pools import FOREIGN, PoolChange, drawn_foreign, imbalanced, without_classes
from promptkd.engine.pseudo_labels import PseudoLabel, described


def images(sizes: dict[str, int]) -> list[Datum]:
    names = sorted(sizes)
    return [Datum(f"{name}/{n}.png", names.index(name), 0, name) for name in names for n in range(sizes[name])]


def test_an_imbalanced_pool_falls_evenly_on_a_logarithmic_scale():
    items = images({name: 100 for name in "abcde"})
    kept = imbalanced(items, 16, 1)
    assert sorted(Counter(item.label for item in kept).values()) == [6, 12, 25, 50, 100]
    assert [item for item in items if item in kept] == kept, "the order of the list stays"
    assert kept == imbalanced(items, 16, 1) != imbalanced(items, 16, 2)
    assert sorted(Counter(item.label for item in imbalanced(images({"a": 3, "b": 3}), 1000, 1)).values()) == [1, 3]


def test_classes_are_dropped_whole():
    items = images({"a": 4, "b": 5, "c": 6, "d": 7})
    kept, names = without_classes(items, 2, 1)
    assert len(names) == 2 and {item.classname for item in kept} == set("abcd") - set(names)
    assert len({tuple(without_classes(items, 2, seed)[1]) for seed in range(9)}) > 1
    with pytest.raises(ValueError, match="DROP_CLASSES 3: the pool has images of 4 classes, drop 2 or fewer"):
        without_classes(items, 3, 1)


def test_foreign_images_are_a_share_of_the_whole():
    others = [Datum(f"other/{n}.png", 3) for n in range(40)]
    added = drawn_foreign(others, 70, 0.3, 1)
    assert len(added) == 30 and all(item.label == FOREIGN and item.classname == "" for item in added)
    assert len({item.impath for item in added}) == 30
    with pytest.raises(ValueError, match=r"needs 70 foreign images beside 70, there are 40: set 0.363 or less"):
        drawn_foreign(others, 70, 0.5, 1)
    assert len(drawn_foreign(others, 70, 0.363, 1)) == 40


def test_changes_go_together_and_say_so():
    items = images({"a": 40, "b": 40, "c": 40, "d": 40})
    change = PoolChange(4, 1, 0.5, "")
    kept, about = change.apply(items, 1, lambda source: [Datum(f"{source}{n}", 0) for n in range(200)])
    assert sorted(about["per_class"].values()) == [10, 20, 40] and len(about["dropped"]) == 1
    assert about["foreign"] == 70 and about["foreign_from"] == "shipped with the data set" and len(kept) == 140
    assert not PoolChange() and not PoolChange(foreign_from="x") and PoolChange(foreign_share=0.1)
    unlabelled = [Datum("a.png", -1), Datum("b.png", -1)]
    with pytest.raises(ValueError, match="these have no labels"):
        PoolChange(imbalance=2).apply(unlabelled, 1, lambda source: [])


def test_a_foreign_image_has_no_right_label():
    chosen = [PseudoLabel(0, 0, 0.9), PseudoLabel(1, 1, 0.8), PseudoLabel(2, 1, 0.7)]
    about = described(chosen, [0, FOREIGN, -1], ["a", "b"])
    assert about["accuracy"] == 50 and about["foreign"] == 1


def test_emoji_ships_pictures_of_other_things(tmp_path: Path):
    paths = Emoji(dataset_cfg(tmp_path)).other_images()
    assert len(paths) == len(set(paths)) == 337 and {Path(path).parent.name for path in paths} == {
        "face", "heart", "weather"
    }  # fmt: skip
    codes = {Path(path).stem.rsplit("-", 1)[0] for path in paths}
    own = {path.stem.rsplit("-", 1)[0] for path in (tmp_path / "emoji" / "images").rglob("*.png")}
    assert not codes & own, "none of them is a picture of the data set"
    with Image.open(paths[0]) as image:
        assert image.size == (64, 64)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["emoji", "emoji_others"]


@pytest.fixture
def others(tmp_path: Path) -> str:
    folder = tmp_path / "others" / "inner"
    folder.mkdir(parents=True)
    for number in range(40):
        Image.new("RGB", (36, 40), (6 * number, 90, 200)).save(folder / f"{number}.png")
    return str(tmp_path / "others")


def words_of(trainer: str, clips: dict[str, str]) -> list[str]:
    if trainer == "PromptKD":
        return [*KD, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAINER.PROMPTKD.EVALUATE_TEACHER", "False"]
    if trainer == "CoOp_KDPL":
        return [*BASE, "TRAINER.KDPL.TEACHER", clips["teacher"]]
    return ["DATASET.SUBSAMPLE_CLASSES", "base", f"TRAINER.{trainer.upper()}.SHOTS", "3"]


@pytest.mark.parametrize("trainer", ["PromptKD", "UPL", "TFUP", "TFUPT", "CoOp_KDPL"])
def test_every_method_learns_from_a_changed_pool(run, tmp_path: Path, clips, others: str, trainer: str):
    words = words_of(trainer, clips)
    change = ["POOL.IMBALANCE", "4", "POOL.DROP_CLASSES", "1", "POOL.FOREIGN_SHARE", "0.3", "POOL.FOREIGN_FROM", others]
    run(trainer, tmp_path / "plain", *words, epochs=1)
    run(trainer, tmp_path / "changed", *words, *change, epochs=1)
    plain, changed = result(tmp_path / "plain"), result(tmp_path / "changed")
    about = changed["seen"]["pool"]
    assert about["imbalance"] == 4 and len(about["dropped"]) == 1 and about["foreign_from"] == others
    assert changed["seen"]["images"] == sum(about["per_class"].values()) + about["foreign"]
    assert changed["unlabelled_images"] == changed["seen"]["images"]
    assert plain["config_hash"] != changed["config_hash"] and "pool" not in plain["seen"]
    assert not any(key.startswith("POOL.") for key in plain["settings"]), "a run as before is the run of before"
    assert changed["settings"]["POOL.FOREIGN_SHARE"] == 0.3 and changed["transductive"] == plain["transductive"]
    assert set(changed["metrics"]) == set(plain["metrics"]), "dropped classes are tested all the same"
    if trainer == "UPL":
        assert "foreign" in changed["seen"]["pseudo_labels"]


def test_the_other_classes_of_a_data_set_make_it_transductive(run, tmp_path: Path, clips):
    words = [*words_of("CoOp_KDPL", clips), "POOL.FOREIGN_SHARE", "0.4"]
    run("CoOp_KDPL", tmp_path / "run", *words, "POOL.FOREIGN_FROM", "other_classes", epochs=1)
    found = result(tmp_path / "run")
    assert found["transductive"] and found["seen"]["pool"]["foreign"] == 8
    with pytest.raises(ValueError, match="no foreign images: EuroSAT ships none; set POOL.FOREIGN_FROM to a folder"):
        run("CoOp_KDPL", tmp_path / "x", *words)
    whole = [*words_of("PromptKD", clips), "POOL.FOREIGN_SHARE", "0.4", "POOL.FOREIGN_FROM", "other_classes"]
    with pytest.raises(ValueError, match="all classes of EuroSAT are in the pool"):
        run("PromptKD", tmp_path / "x", *whole)


def test_what_a_pool_cannot_be(run, tmp_path: Path, clips):
    upl = words_of("UPL", clips)
    for words, message in (
        (["POOL.IMBALANCE", "0.5"], "POOL.IMBALANCE 0.5: set 1 or more"),
        (["POOL.FOREIGN_SHARE", "0.99"], "POOL.FOREIGN_SHARE 0.99"),
        (["POOL.DROP_CLASSES", "4"], "the pool has images of 5 classes, drop 3 or fewer"),
        (["POOL.FOREIGN_SHARE", "0.1", "POOL.FOREIGN_FROM", str(tmp_path / "none")], "is no folder"),
    ):
        with pytest.raises(ValueError, match=message):
            run("UPL", tmp_path / "x", *upl, *words)
    with pytest.raises(ValueError, match="CoOp learns from no images without labels"):
        run("CoOp", tmp_path / "x", "POOL.IMBALANCE", "2")
    with pytest.raises(ValueError, match=r"IMAGES test: POOL.\* is of training images"):
        run("TFUP", tmp_path / "x", "POOL.IMBALANCE", "2", "TRAINER.TFUP.IMAGES", "test")


def test_stored_features_of_another_pool_are_others(run, tmp_path: Path, clips, capsys):
    words = [*words_of("TFUP", clips), "TRAINER.TFUP.FEATURE_CACHE", str(tmp_path / "kept")]
    run("TFUP", tmp_path / "plain", *words)
    run("TFUP", tmp_path / "changed", *words, "POOL.IMBALANCE", "4")
    assert "read from" not in capsys.readouterr().out
    assert len(CLASSES) == 5 and len(list((tmp_path / "kept").glob("*/view-*"))) == 2
