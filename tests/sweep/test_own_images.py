"""A user's own images without labels: distilled, predicted, by one command; and what bad input gets on the way.

Long because all of it is about the same few fixtures: a folder, a class list, tiny models and the command.
"""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import CLASSES, SIZE, result
from PIL import Image
from programs import VARIABLES, start
from tiny_runs import learned, same_bits
from trees import write_lines

import train
from datasets.emoji import Emoji
from promptkd.deploy import predict
from promptkd.home import ROOT
from promptkd.sweep import execute as executing
from promptkd.sweep import launch, own_images
from promptkd.sweep.jobs import Job
from promptkd.tables import command as collect

SCRIPT = ROOT / "scripts" / "promptkd" / "distill_folder.sh"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OUTPUT", str(tmp_path / "out"))


@pytest.fixture
def distil(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Path, str]]:
    """`distil(images, classes, words...)` -> the last run's directory and what was printed; runs in this process."""

    def here(job: Job, *_: object) -> int:
        assert Path(job.command[1]) == ROOT / "train.py"
        train.main(list(job.command[2:]))
        return 0

    monkeypatch.setattr(executing, "_process", here)

    def call(images: Path, classes: Path, *words: str) -> tuple[Path, str]:
        capsys.readouterr()
        code = launch.main(["folder", "PromptKD", str(images), str(classes), *words])
        shown = capsys.readouterr()
        assert code == 0, shown.err
        student = [line for line in shown.out.splitlines() if line.startswith("Student ")][-1]
        return Path(student.removeprefix("Student").strip()), shown.out

    return call


@pytest.fixture
def tiny(clips: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options of tiny models; the teacher is zero-shot."""
    monkeypatch.setenv("TEACHER", clips["teacher"])
    options = {"MODEL.BACKBONE.NAME": clips["student"], "INPUT.SIZE": f"({SIZE}, {SIZE})", "OPTIM.MAX_EPOCH": "2"}
    options |= {"DATALOADER.NUM_WORKERS": "0", "USE_CUDA": "False", "VERBOSE": "False"}
    options |= {"DATALOADER.TRAIN_X.BATCH_SIZE": "4", "TRAINER.PROMPTKD.PROMPT_DEPTH_VISION": "2"}
    return [word for pair in options.items() for word in pair]


@pytest.fixture
def pool(data_root: str, tmp_path: Path) -> Path:
    """The training images of `data_root`, flat but for one folder, without their labels, under an awkward path."""
    pool = tmp_path / "photos à trier 写真"
    (pool / "más").mkdir(parents=True)
    source = Path(data_root) / "eurosat"
    rows = json.loads((source / "split_zhou_EuroSAT.json").read_text())["train"]
    random.Random(3).shuffle(rows)
    for number, (path, _, _) in enumerate(rows):
        shutil.copy(source / "2750" / path, pool / ("más" if number < 3 else ".") / f"photo {number:02d}.jpg")
    return pool


@pytest.fixture
def labelled_test(data_root: str, tmp_path: Path) -> Path:
    """The test images of `data_root`, a folder for each class, named as the classes but for case and `_`."""
    source, folder = Path(data_root) / "eurosat", tmp_path / "labelled test"
    for path, _, name in json.loads((source / "split_zhou_EuroSAT.json").read_text())["test"]:
        (folder / name.replace(" ", "_").lower()).mkdir(parents=True, exist_ok=True)
        shutil.copy(source / "2750" / path, folder / name.replace(" ", "_").lower())
    return folder


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    write_lines(tmp_path / "my classes.txt", CLASSES)
    return tmp_path / "my classes.txt"


def rows_of(directory: Path) -> list[dict[str, str]]:
    with (directory / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# From images and class names to a student


def test_without_labels_there_are_predictions_and_no_metrics(distil, tiny, pool, classes, tmp_path, capsys):
    directory, out = distil(pool, classes, *tiny)
    content = result(directory)
    assert content["metrics"] == {} and (content["train_images"], content["unlabelled_images"]) == (30, 30)
    assert content["dataset"] == "Unlabeled" and content["transductive"] and content["seed"] == 1
    rows = rows_of(directory)
    photos = {path.relative_to(pool).as_posix() for path in pool.rglob("*.jpg")}
    assert {row["path"] for row in rows} == photos and len(rows) == 30
    assert {row["label"] for row in rows} == {""} and {row["prediction"] for row in rows} <= set(CLASSES)
    assert directory.parent.parent == tmp_path / "out" / "own" and directory.parent.name.startswith(f"{pool.name}-")
    assert f"Predictions  {directory / 'predictions.csv'} (30 images without labels)" in out
    assert f"tools/predict.py '{directory}' photo.jpg" in out and "Accuracy" not in out

    assert collect.main([str(tmp_path / "out")]) == 1  # there is nothing to put into a table, and that is said
    assert "results.json" in capsys.readouterr().err
    images = [str(pool / row["path"]) for row in rows[:4]]
    assert predict.main([str(directory), *images, "--json", "--top", "1"]) == 0
    answers = [json.loads(line)["top"][0] for line in capsys.readouterr().out.splitlines()]
    assert [one["class"] for one in answers] == [row["prediction"] for row in rows[:4]]
    assert [one["probability"] for one in answers] == pytest.approx([float(row["p1"]) for row in rows[:4]], abs=1e-4)


def test_a_run_is_done_once_and_again_where_anything_changed(distil, tiny, pool, classes, monkeypatch):
    first, _ = distil(pool, classes, *tiny)
    written = (first / "results.json").stat().st_mtime_ns
    again, out = distil(pool, classes, *tiny)
    assert again == first and f"Done already: {first}" in out
    moved = pool.rename(pool.with_name("moved")).rename(pool)  # the same images
    assert distil(moved, classes, *tiny)[0] == first
    places = [first, distil(pool, classes, *tiny, "TEMPLATE", "a satellite photo of {}.")[0]]
    monkeypatch.setenv("TEMPLATE", "a map of {}.")
    places.append(distil(pool, classes, *tiny)[0])
    assert result(places[-1])["settings"]["TEMPLATE"] == "a map of {}."
    monkeypatch.delenv("TEMPLATE")
    write_lines(classes, [*CLASSES[:4], "Sea"])
    places.append(distil(pool, classes, *tiny)[0])
    shutil.copy(pool / "photo 10.jpg", pool / "another.jpg")
    places.append(distil(pool, classes, "7", *tiny)[0])
    assert len({place.parent for place in places}) == 5 and places[-1].name == "seed7"
    assert (first / "results.json").stat().st_mtime_ns == written


def test_labelled_test_images_are_measured(distil, tiny, pool, classes, labelled_test, monkeypatch):
    monkeypatch.setenv("TEST_DIR", str(labelled_test))
    directory, out = distil(pool, classes, "2", "3", *tiny)
    assert directory.name == "seed3" and out.count("Student ") == 2
    content = result(directory)
    assert content["metrics"]["all"]["images"] == 15 and set(content["metrics"]["all"]["per_class"]) == set(CLASSES)
    teacher = content["teacher"]["metrics"]["all"]["accuracy"]
    accuracy = content["metrics"]["all"]["accuracy"]
    assert f"Accuracy     {accuracy:.1f} % of 15 labelled test images (teacher {teacher:.1f} %, student without" in out
    labelled = [row for row in rows_of(directory) if row["label"]]
    right = sum(row["label"] == row["prediction"] for row in labelled)
    assert len(labelled) == 15 and accuracy == pytest.approx(100 * right / 15)


def test_order_of_the_class_list_does_not_matter(distil, tiny, pool, classes):
    """Classes are told apart by name, never by their place: a silent wrong label would show here."""
    before = rows_of(distil(pool, classes, *tiny)[0])
    write_lines(classes, [CLASSES[i] for i in (3, 0, 4, 2, 1)])
    after = {row["path"]: row for row in rows_of(distil(pool, classes, *tiny)[0])}
    for row in before:
        names = {row[f"class{i}"]: float(row[f"p{i}"]) for i in range(1, 6)}
        assert max(names.values()) - min(names.values()) > 0.01
        other = {after[row["path"]][f"class{i}"]: float(after[row["path"]][f"p{i}"]) for i in range(1, 6)}
        assert names == pytest.approx(other, abs=2e-3)


@pytest.fixture(scope="module")
def teacher_run(run: Callable[..., float], clips: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PromptSRC run on the labelled images."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    depths = [f"TRAINER.PROMPTSRC.PROMPT_DEPTH_{side}" for side in ("VISION", "TEXT")]
    run("PromptSRC", folder, "DATASET.NUM_SHOTS", "4", depths[0], "2", depths[1], "2", backbone=clips["teacher"])
    return folder


def test_labelled_run_as_teacher(distil, tiny, pool, classes, labelled_test, teacher_run, monkeypatch):
    monkeypatch.setenv("TEACHER", os.path.relpath(teacher_run))
    monkeypatch.setenv("TEST_DIR", str(labelled_test))
    directory, out = distil(pool, classes, *tiny)
    teacher = result(directory)["teacher"]
    assert (teacher["trainer"], teacher["source"], teacher["dataset"]) == ("PromptSRC", str(teacher_run), "EuroSAT")
    assert teacher["metrics"]["all"]["accuracy"] == pytest.approx(result(teacher_run)["metrics"]["all"]["accuracy"])
    assert result(directory)["learned_on"] == "EuroSAT" and "WARNING: " not in out.partition("Running")[0]


def test_class_list_that_is_not_the_teachers_is_said(
    distil, tiny, pool, classes, teacher_run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TEACHER", str(teacher_run))
    write_lines(classes, ["annual_crop  land", "Forrest", "Highway or Road", "River", "Desert"])
    directory, out = distil(pool, classes, *tiny)
    assert (
        "WARNING: 2 of 5 classes are none of the 5 of the teacher's data set: 'Forrest' (did you mean 'Forest'?), "
        "'Desert'; it knows them by their names alone" in out
    )
    assert out.count("WARNING: 2 of 5") == 1
    options = [*tiny, "TRAINER.MODAL", "cross", "TRAINER.PROMPTKD.TEACHER", str(teacher_run)]
    unlabelled(pool, classes, "PromptKD", tmp_path / "by hand", options)
    assert "WARNING: 2 of 5 classes are none of the 5" in capsys.readouterr().out
    assert {row["prediction"] for row in rows_of(directory)} <= set(classes.read_text().splitlines())


# The other methods


def unlabelled(pool: Path, classes: Path, trainer: str, output: Path, tiny: list[str]) -> None:
    arguments = ["--root", str(pool), "--trainer", trainer, "--output-dir", str(output), "--seed", "1"]
    config = ["--dataset-config-file", "configs/datasets/unlabeled.yaml", "DATASET.CLASSNAMES", str(classes)]
    train.main([*arguments, *config, *tiny])


@pytest.mark.parametrize("trainer", ["CoOp", "PromptSRC"])
def test_methods_that_learn_from_labels_refuse(tiny, pool, classes, tmp_path, trainer):
    with pytest.raises(ValueError, match=f"{trainer} learns from labels, Unlabeled has none: use PromptKD") as error:
        unlabelled(pool, classes, trainer, tmp_path / "out", tiny)
    assert "\n" not in str(error.value)
    assert launch.main(["folder", trainer, str(pool), str(classes)]) == 1


def test_zero_shot_predicts(tiny, pool, classes, tmp_path):
    unlabelled(pool, classes, "ZeroshotCLIP", tmp_path / "zs", [*tiny, "TEMPLATE", "a satellite photo of {}."])
    content = result(tmp_path / "zs")
    assert content["metrics"] == {} and content["template"] == "a satellite photo of {}."
    assert len(rows_of(tmp_path / "zs")) == 30


@pytest.mark.parametrize("trainer", ["UPL", "TFUP", "TFUPT"])
def test_methods_that_label_images_themselves(trainer, tmp_path, monkeypatch, capsys):
    """Emoji without names or folders, the bundled student: predictions of each image, and how to go on."""
    with zipfile.ZipFile(Emoji.archive) as archive:
        split = json.loads(archive.read("emoji/split_zhou_Emoji.json"))["train"][::15]
        (tmp_path / "flat").mkdir()
        for number, (path, _, _) in enumerate(split):
            (tmp_path / "flat" / f"{number}.png").write_bytes(archive.read(f"emoji/images/{path}"))
    names = sorted({name for _, _, name in split})
    write_lines(tmp_path / "classes.txt", names)
    monkeypatch.setattr(executing, "_process", lambda job, *_: train.main(list(job.command[2:])) or 0)
    words = ["MODEL.BACKBONE.NAME", "mini-student", "OPTIM.MAX_EPOCH", "2", "USE_CUDA", "False"]
    words += {"UPL": ["TRAINER.UPL.SHOTS", "2"], "TFUPT": ["TRAINER.TFUPT.WARMUP_EPOCHS", "1"]}.get(trainer, [])
    folder = ["folder", trainer, str(tmp_path / "flat")]
    assert launch.main([*folder, str(tmp_path / "classes.txt"), *words]) == 0
    out = capsys.readouterr().out
    run = Path(re.search(r"^Run +(.*)$", out, re.MULTILINE)[1])
    found = result(run)
    assert found["trainer"] == trainer and found["metrics"] == {} and found["seen"]["images"] == len(split)
    assert {row["prediction"] for row in rows_of(run)} <= set(names) and len(rows_of(run)) == len(split)
    assert ("To classify" in out) == (trainer != "TFUP")
    image = str(tmp_path / "flat" / "0.png")
    assert predict.main([str(run), image]) == (1 if trainer == "TFUP" else 0)
    assert trainer != "TFUP" or "is a TFUP run, which learns nothing" in capsys.readouterr().err
    assert launch.main(folder) == 1 and "two things are needed" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="no class list; put classnames.txt, one name a line") as error:
        mini = ["--config-file", f"configs/trainers/{trainer}/mini.yaml", "--output-dir", str(tmp_path / "x")]
        flags = ["--root", folder[2], "--trainer", trainer, "--seed", "1", *mini]
        train.main([*flags, "--dataset-config-file", "configs/datasets/unlabeled.yaml"])
    assert "\n" not in str(error.value)


# With labels and without them


def test_same_student_with_labels_and_without(distil, tiny, data_root, classes, labelled_test, tmp_path, monkeypatch):
    """PromptKD reads no labels: the same images under the same names give the same student to the last bit."""
    root = tmp_path / "labelled"
    for path, _, name in json.loads((Path(data_root) / "eurosat" / "split_zhou_EuroSAT.json").read_text())["train"]:
        (root / "train" / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(data_root) / "eurosat" / "2750" / path, root / "train" / name)
    labelled_test.rename(root / "test")
    for folder, name in zip(sorted((root / "test").iterdir()), CLASSES, strict=True):
        folder.rename(root / "test" / name)
    arguments = ["--root", str(root), "--trainer", "PromptKD", "--output-dir", str(tmp_path / "with"), "--seed", "1"]
    arguments += ["--dataset-config-file", "configs/datasets/folder.yaml", "--config-file"]
    arguments += ["configs/trainers/PromptKD/vit_b16_c2_ep20_batch8_4+4ctx_cross_datasets.yaml"]
    train.main([*arguments, "TRAINER.PROMPTKD.TEACHER", os.environ["TEACHER"], *tiny])
    labelled = result(tmp_path / "with")

    monkeypatch.setenv("TEST_DIR", "test")  # inside the images' folder: not trained on
    directory, _ = distil(root, classes, *tiny)
    assert result(directory)["unlabelled_images"] == labelled["unlabelled_images"] == 30
    assert result(directory)["metrics"] == labelled["metrics"]
    assert same_bits(learned(directory, 2), learned(tmp_path / "with", 2))


def test_emoji_without_labels(distil, tmp_path: Path, monkeypatch):
    """A flat folder with names that tell nothing, in another order: as good a student, within a few points."""
    kept = ["bird", "building", "flower"]
    write_lines(tmp_path / "classes.txt", kept)
    with zipfile.ZipFile(Emoji.archive) as archive:
        split = json.loads(archive.read("emoji/split_zhou_Emoji.json"))
        for part in ("train", "test"):
            items = [(file, name) for file, _, name in split[part] if name in kept]
            random.Random(1).shuffle(items)
            for number, (file, name) in enumerate(items):
                places = [tmp_path / "labelled" / part / name / Path(file).name]
                places += [tmp_path / "flat" / f"{number:03d}.png"] if part == "train" else []
                for place in places:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(archive.read(f"emoji/images/{file}"))
    options = {"MODEL.BACKBONE.NAME": "mini-student", "OPTIM.MAX_EPOCH": "6", "VERBOSE": "False", "USE_CUDA": "False"}
    options |= {"TRAINER.PROMPTKD.EVALUATE_TEACHER": "False"}
    words = [word for pair in options.items() for word in pair]
    arguments = ["--root", str(tmp_path / "labelled"), "--trainer", "PromptKD", "--seed", "1"]
    arguments += ["--dataset-config-file", "configs/datasets/folder.yaml", "--output-dir", str(tmp_path / "with")]
    arguments += ["--config-file", "configs/trainers/PromptKD/mini.yaml", "TRAINER.MODAL", "cross"]
    train.main([*arguments, "TRAINER.PROMPTKD.TEACHER", "mini-teacher", *words])

    monkeypatch.setenv("TEST_DIR", str(tmp_path / "labelled" / "test"))
    directory, _ = distil(tmp_path / "flat", tmp_path / "classes.txt", *words)  # TEACHER is mini-teacher by itself
    with_labels, without = (result(run)["metrics"]["all"]["accuracy"] for run in (tmp_path / "with", directory))
    assert result(directory)["teacher"]["source"] == "mini-teacher"
    assert with_labels > 50 and without > with_labels - 10


# What bad input gets


def png_bomb(path: Path) -> Path:
    """A PNG of a hundred bytes that says it has 2.5 billion pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"0")), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


WRONG = {
    "nothing said": ([], "two things are needed, IMAGES CLASSES.txt"),
    "no images' folder": (["nowhere", "{classes}"], "nowhere is no folder of images"),
    "no class list": (["{pool}", "nowhere.txt"], "nowhere.txt is no class list"),
    "a folder as class list": (["{pool}", "{pool}"], "is no class list"),
    "no images": (["{empty}", "{classes}"], "empty and the folders in it hold no images"),
    "one class": (["{pool}", "{one}"], "1 class (cat); a classifier needs two at least"),
    "a class twice": (["{pool}", "{twice}"], "cannot tell apart: 'cat' = 'cat'"),
    "classes that differ in case": (["{pool}", "{case}"], "cannot tell apart: 'cat' = 'Cat'"),
    "no test folder": (["{pool}", "{classes}", "DATASET.TEST_DIR", "no"], "DATASET.TEST_DIR no is neither in"),
    "a key alone": (["{pool}", "{classes}", "1", "OPTIM.LR"], "stands alone: 'OPTIM.LR'"),
    "an unknown key": (["{pool}", "{classes}", "OPTIM.LRR", "1"], "OPTIM.LRR; closest: OPTIM.LR"),
    "what is said elsewhere": (["{pool}", "{classes}", "SEED", "1"], "SEED is said by the words after the class list"),
    "a seed twice": (["{pool}", "{classes}", "1", "1"], "seed 1 is given twice"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_command_lines_are_one_line(case: str, pool: Path, classes: Path, tmp_path: Path, capsys):
    words, message = WRONG[case]
    (tmp_path / "empty").mkdir()
    lists = {"one": ["cat"], "twice": ["cat", "dog", "cat"], "case": ["cat", "dog", "Cat"]}
    for name, lines in lists.items():
        write_lines(tmp_path / name, lines)
    places = {"pool": pool, "classes": classes, "empty": tmp_path / "empty"} | {n: tmp_path / n for n in lists}
    assert launch.main(["folder", "PromptKD", *(word.format(**places) for word in words)]) == 1
    shown = capsys.readouterr()
    assert message in shown.err and len(shown.err.splitlines()) == 1 and shown.out == ""
    assert not (tmp_path / "out").exists()


BAD = {
    "bomb": (lambda path: png_bomb(path), "decompression bomb"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:300]), "truncated"),
    "page": (lambda path: path.write_text("<html>"), "cannot identify image file"),
    "empty": (lambda path: path.write_bytes(b""), "1 image files are empty: photo 07.png"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_images_stop_a_run_or_are_left_out(kind: str, distil, tiny, pool, classes):
    spoil, why = BAD[kind]
    bad = pool / "photo 07.png"
    Image.open(pool / "photo 07.jpg").save(bad)
    (pool / "photo 07.jpg").unlink()
    spoil(bad)
    with pytest.raises((OSError, ValueError), match="photo 07.png.*DATASET.SKIP_BAD_IMAGES True") as error:
        executing.execute(own_images.jobs_of([str(pool), str(classes), *tiny])[0])
    assert why in str(error.value) and "\n" not in str(error.value)
    directory, out = distil(pool, classes, *tiny, "DATASET.SKIP_BAD_IMAGES", "True")
    assert len(rows_of(directory)) == 29 and "left out photo 07.png" in out


@pytest.mark.slow
def test_bad_image_that_a_worker_meets_is_one_line(pool: Path, classes: Path, clips, tmp_path: Path):
    """Through the shell and a loader's workers, whose errors come with their tracebacks."""
    png_bomb(pool / "bomb.png")
    places = {"TEACHER": clips["teacher"], "OUTPUT": str(tmp_path / "out"), "PYTHON": sys.executable}
    words = ["MODEL.BACKBONE.NAME", clips["student"], "INPUT.SIZE", f"({SIZE}, {SIZE})", "DATALOADER.NUM_WORKERS", "1"]
    words += ["OPTIM.MAX_EPOCH", "1", "VERBOSE", "False", "USE_CUDA", "False"]
    words += ["TRAINER.PROMPTKD.PROMPT_DEPTH_VISION", "2", "DATALOADER.TRAIN_X.BATCH_SIZE", "31"]
    run = start(tmp_path, "bash", SCRIPT, pool.name, classes.name, *words, **places)
    assert run.returncode == 1
    shown, _, ending = run.stdout.partition("FAILED ")
    lines = [line for line in shown.splitlines() if "rror" in line and not line.startswith("[")]
    assert len(lines) == 1 and lines[0].startswith(f'error: cannot read the image "{pool / "bomb.png"}" (Image size')
    assert "Traceback" not in run.stdout + run.stderr and "error: cannot read the image" in ending
    assert run.stderr == "error: 1 of 1 runs not done; the same command goes on with them\n"
    assert shown.startswith(f"Running: {tmp_path / 'out' / 'own' / pool.name}")


def test_one_image_is_read_as_those_of_a_data_set(tiny, pool, classes, tmp_path, capsys):
    """What tools.predict says does not depend on how the same picture is stored."""
    unlabelled(pool, classes, "ZeroshotCLIP", tmp_path / "run", tiny)
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[:15], pixels[15:, 20:] = (255, 0, 0), (0, 128, 255)  # no symmetry
    picture, folder = Image.fromarray(pixels), tmp_path / "stored"
    folder.mkdir()
    picture.save(folder / "plain.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    picture.transpose(Image.Transpose.ROTATE_90).save(folder / "turned é.png", exif=exif)
    picture.quantize(8).save(folder / "palette.png")
    picture.convert("RGBA").save(folder / "four channels.png")
    picture.convert("CMYK").save(folder / "cmyk.tiff")
    grey = np.asarray(picture.convert("L"))
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray((grey.astype(np.uint16) << 8) + 255).save(folder / "grey 16 bits.png")
    capsys.readouterr()
    assert predict.main([str(tmp_path / "run"), str(folder), "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    content = {Path(one["path"]).name: {top["class"]: top["probability"] for top in one["top"]} for one in answers}
    assert len(content) == 7
    for name, probabilities in content.items():
        other = "grey.png" if name.startswith("grey") else "plain.png"
        assert probabilities == pytest.approx(content[other], abs=1e-3), name
    assert content["plain.png"] != pytest.approx(content["grey.png"], abs=1e-3)

    bad = tmp_path / "bad"
    (bad / "nothing").mkdir(parents=True)
    (bad / "empty.jpg").touch()
    files = [png_bomb(bad / "bomb.png"), bad / "empty.jpg", bad / "nothing", bad / "gone.png", folder / "plain.png"]
    assert predict.main([str(tmp_path / "run"), *map(str, files), "--json"]) == 1
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    for line, file, why in zip(
        lines,
        files,
        ("decompression bomb", "the file is empty", "a folder without images", "No such file"),
        strict=False,
    ):
        assert line.startswith(f'error: cannot read the image "{file}" (') and why in line
    assert len(lines) == 4 and len(shown.out.splitlines()) == 1, "the good one is classified"
