"""`promptkd classes`: rows by the teacher's text encoder beside the run's, which stay; what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import CLASSES
from PIL import Image
from tiny_runs import KD, SRC
from torch.nn.functional import normalize

from promptkd.deploy import class_editing, classes, export, opening
from promptkd.deploy.classifier import Classifier
from promptkd.deploy.exporting import published
from promptkd.model.class_edits import EDITED_NAME, vectors_in_use
from promptkd.model.class_vectors import FILE_NAME, ClassVectors
from promptkd.teacher.teacher import load_teacher


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("classes")


@pytest.fixture
def student(run, clips, folder):
    """A student of a PromptSRC run; trained once, and without edits at the start of each test."""
    if not (folder / "student").is_dir():
        run("PromptSRC", folder / "teacher", *SRC, epochs=1, backbone=clips["teacher"])
        taught = ["TRAINER.PROMPTKD.TEACHER", str(folder / "teacher")]
        run("PromptKD", folder / "student", *KD, *taught, epochs=1)
    class_editing.restore(folder / "student")
    return folder / "student"


def names(directory: Path) -> list[str]:
    return list(class_editing.read_classes(directory).classnames)


def test_an_added_class_is_the_teachers_row_of_its_name(student, folder, capsys):
    before = (student / FILE_NAME).read_bytes()
    assert classes.main([str(student), "--add", "snow leopard", "Lynx"]) == 0
    shown = capsys.readouterr()
    assert str(student / EDITED_NAME) in shown.err and "snow leopard" in shown.out and "added" in shown.out
    vectors = vectors_in_use(student)
    assert vectors.classnames == (*CLASSES, "snow leopard", "Lynx")
    teacher = load_teacher(str(folder / "teacher"), ["snow leopard", "Lynx"])
    assert torch.allclose(vectors.features[-2:], normalize(teacher.vectors.features), atol=1e-5)
    assert torch.equal(vectors.features[:5], ClassVectors.load(student / FILE_NAME).features)
    assert (student / FILE_NAME).read_bytes() == before
    assert vectors.source["made_by"] == "PromptSRC on " + teacher.about["backbone"]
    model = Classifier(student)
    assert model.classnames == vectors.classnames
    assert len(model.predict(Image.new("RGB", (40, 40)), top=9)) == 7


def test_names_go_and_change_and_come_back(student, capsys):
    assert classes.main([str(student), "--add", "lynx"]) == 0
    assert classes.main([str(student), "--rename", "River=Stream", "lynx=wild cat", "--remove", "Forest"]) == 0
    capsys.readouterr()
    assert classes.main([str(student), "--json"]) == 0
    origins = {entry["class"]: entry["origin"] for entry in json.loads(capsys.readouterr().out)}
    assert "Forest" not in origins and "lynx" not in origins
    assert (origins["Stream"], origins["wild cat"], origins[CLASSES[0]]) == ("renamed from River", "added", "trained")
    trained = ClassVectors.load(student / FILE_NAME)
    assert torch.equal(vectors_in_use(student).select(["Stream"]).features, trained.select(["River"]).features)
    assert classes.main([str(student), "--rename", "Stream=River", "--remove", "wild cat", "--add", "Forest"]) == 0
    back = vectors_in_use(student).select(CLASSES)
    assert torch.allclose(back.features, trained.features, atol=1e-6), "the teacher encodes it as it was"
    assert classes.main([str(student), "--restore"]) == 0
    assert names(student) == CLASSES and not (student / EDITED_NAME).exists()


def test_an_evaluation_keeps_the_classes_that_were_trained(student, run, folder):
    measured = json.loads((student / "results.json").read_text())["metrics"]
    assert classes.main([str(student), "--remove", "River", "--add", "lynx"]) == 0
    run("PromptKD", folder / "evaluated", *KD, "TRAINER.PROMPTKD.TEACHER", str(folder / "teacher"), "--eval-only",
        f"--model-dir={student}")  # fmt: skip
    assert json.loads((folder / "evaluated" / "results.json").read_text())["metrics"] == measured


def test_teachers_of_each_kind_encode(student, run, clips, folder):
    """A published file, which says neither its CLIP nor its words; a CLIP's name with a template; the run itself."""
    file = published.write(folder / "teacher", folder / "published")
    taught = ["TRAINER.PROMPTKD.TEACHER", str(file), "TRAINER.PROMPTKD.TEACHER_NAME", clips["teacher"]]
    taught += ["TRAINER.PROMPTKD.EVALUATE_TEACHER", "False"]
    run("PromptKD", folder / "of_published", *KD, *taught, epochs=1)
    template = ["TEMPLATE", "art of | a {}.", "TRAINER.PROMPTKD.EVALUATE_TEACHER", "False"]
    run("PromptKD", folder / "of_clip", *KD, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], *template, epochs=1)
    for directory in (folder / "of_published", folder / "of_clip", folder / "teacher"):
        assert classes.main([str(directory), "--add", "lynx"]) == 0
        assert names(directory) == [*CLASSES, "lynx"]
        class_editing.restore(directory)
    assert classes.main([str(student), "--add", "lynx"]) == 0
    same = vectors_in_use(student).features[-1]
    made = class_editing.edited(folder / "of_published", ["lynx"]).features[-1]
    assert torch.allclose(made, same, atol=1e-5)


def test_a_file_of_the_same_teachers_vectors_takes_its_place(student, folder, capsys):
    other = folder / "more.safetensors"
    class_editing.edited(student, ["lynx", "puma"]).save(other)
    assert classes.main([str(student), "--add", "puma", "--vectors", str(other)]) == 0
    assert names(student)[-1] == "puma"
    assert classes.main([str(student), "--add", "cat", "--vectors", str(folder / "teacher" / FILE_NAME)]) == 1
    assert "first 'cat'" in capsys.readouterr().err


def test_what_does_not_fit_is_one_line_and_changes_nothing(student, run, clips, folder, capsys):
    if not (folder / "other").is_dir():
        run("PromptSRC", folder / "other", *SRC, epochs=2, seed=2, backbone=clips["teacher"])
        run("ZeroshotCLIP", folder / "zero")
        run("CoOp", folder / "csc", "TRAINER.COOP.CSC", "True", "DATASET.NUM_SHOTS", "2", epochs=1)
    capsys.readouterr()
    for words, message in (
        (["--add", "River"], "the class 'River' is there already"),
        (["--add", "sea_or_lake"], "the class 'sea_or_lake' is there already, as 'Sea or Lake'"),
        (["--add", "lynx", "lynx"], "the class 'lynx' is there already"),
        (["--add", " "], "a class without a name"),
        (["--add", "caf\udce9"], "are not UTF-8"),
        (["--add", "word " * 90], "too long for context length 77"),
        (["--remove", "Rivers"], "no class 'Rivers' to remove; closest: 'River'"),
        (["--remove", *CLASSES[1:]], "1 class is left"),
        (["--rename", "River"], "write OLD=NEW"),
        (["--rename", "River=Forest"], "is there already"),
        (["--rename", "Stream=Brook"], "no class 'Stream' to rename"),
        (["--restore", "--add", "lynx"], "--restore undoes all changes"),
        (["--teacher", clips["teacher"]], "give --add NAME"),
        (["--add", "lynx", "--teacher", str(folder / "gone")], "encodes no names for this run"),
        (["--add", "lynx", "--teacher", str(folder / "other")], "is not the one of this run: it encodes"),
        (["--add", "lynx", "--teacher", clips["student"]], "its vectors have 16 channels"),
        (["--add", "lynx", "--teacher", clips["teacher"]], "is not the one of this run"),
        (["--add", "lynx", "--vectors", str(folder / "zero" / FILE_NAME)], "is by another teacher (made_by"),
        (["--add", "lynx", "--vectors", str(folder / "other" / FILE_NAME)], "is by another teacher (weights"),
        (["--add", "lynx", "--vectors", str(student / "config.yaml")], "holds no class vectors that can be used"),
    ):
        assert classes.main([str(student), *words]) == 1, words
        error = capsys.readouterr().err
        assert message in error and error.startswith("error: ") and len(error.splitlines()) == 1, (words, error)
        assert not (student / EDITED_NAME).exists(), words
    assert classes.main([str(folder / "csc"), "--add", "lynx"]) == 1
    assert "without class vectors for any class" in capsys.readouterr().err
    assert classes.main([str(folder / "nothing")]) == 1
    assert "is no folder" in capsys.readouterr().err


def test_an_export_has_the_edited_classes_and_is_not_edited_itself(student, folder, capsys):
    assert classes.main([str(student), "--add", "lynx"]) == 0
    assert export.main([str(student), str(folder / "exported"), "--format", "safetensors"]) == 0
    assert Classifier(student).classnames == opening.load(folder / "exported").classnames == (*CLASSES, "lynx")
    assert classes.main([str(folder / "exported"), "--add", "puma"]) == 1
    assert "edit its run, and export that again" in capsys.readouterr().err


def test_a_teacher_that_moved_is_asked_for(student, folder, capsys):
    (folder / "teacher").rename(folder / "moved")
    try:
        assert classes.main([str(student), "--add", "lynx"]) == 1
        assert "if it has moved, give its new place with --teacher" in capsys.readouterr().err
        assert classes.main([str(student), "--add", "lynx", "--teacher", str(folder / "moved")]) == 0
    finally:
        (folder / "moved").rename(folder / "teacher")


def test_edits_of_a_run_that_was_trained_again_are_not_used(student, capsys):
    assert classes.main([str(student), "--add", "lynx"]) == 0
    trained = ClassVectors.load(student / FILE_NAME)
    kept = (student / FILE_NAME).read_bytes()
    ClassVectors(trained.classnames, trained.features.flip(0), trained.logit_scale, trained.source).save(
        student / FILE_NAME
    )
    try:
        with pytest.raises(ValueError, match="was made from other class vectors .* --restore"):
            Classifier(student)
    finally:
        (student / FILE_NAME).write_bytes(kept)


@pytest.mark.parametrize(
    "edits", ["[]", '{"added": 1}', "{", '{"made_from": 1, "added": [], "removed": [], "renamed": {}}']
)
def test_damaged_edits_are_one_line(student, capsys, edits):
    vectors = ClassVectors.load(student / FILE_NAME)
    ClassVectors(vectors.classnames, vectors.features, vectors.logit_scale, {"edits": edits}).save(
        student / EDITED_NAME
    )
    assert classes.main([str(student)]) == 1
    error = capsys.readouterr().err
    assert "edits" in error and "--restore" in error and len(error.splitlines()) == 1
