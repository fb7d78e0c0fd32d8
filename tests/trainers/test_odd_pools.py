"""What odd pools, labellers and vocabularies get, through the command line: handled, or one line before training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import CLASSES, SIZE, result, tiny_config, write_clip
from PIL import Image

from promptkd.engine.command import command_line

WORDS = {
    "UPL": ["TRAINER.UPL.PREC", "fp32", "TRAINER.UPL.N_CTX", "2"],
    "TFUP": ["TRAINER.TFUP.PREC", "fp32"],
    "TFUPT": ["TRAINER.TFUPT.PREC", "fp32", "TRAINER.TFUPT.WARMUP_EPOCHS", "1", "OPTIM.NAME", "adamw"],
}
SHOTS = {"UPL": ["SHOTS"], "TFUP": ["SHOTS"], "TFUPT": ["SHOTS", "TRAINING_SHOTS"]}
KDPL = ["TRAINER.COOP.PREC", "fp32", "TRAINER.COOP.N_CTX", "2", "TRAINER.KDPL.CLASS_AGNOSTIC", "True"]


@pytest.fixture
def command(argv, tmp_path: Path, capsys):
    """`command(trainer, words...)` -> exit code, standard output and errors of train.py; its directory is `run`."""

    def start(trainer: str, *words: str, epochs: int = 2) -> tuple[int, str, str]:
        code = command_line(argv(trainer, tmp_path / "run", *WORDS.get(trainer, []), *words, epochs=epochs))
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return start


def folder(place: Path, images: int) -> list[str]:
    """Words for a pool of equal images of nobody knows what."""
    place.mkdir()
    for number in range(images):
        Image.new("RGB", (40, 40), (10, 200, 30)).save(place / f"{number}.png")
    return ["DATASET.NAME", "Unlabeled", "DATASET.ROOT", str(place)]


@pytest.mark.parametrize("trainer", WORDS)
def test_more_images_a_class_than_there_are(trainer: str, command, tmp_path: Path):
    wanted = [word for key in SHOTS[trainer] for word in (f"TRAINER.{trainer}.{key}", "5000")]
    code, out, err = command(trainer, *wanted)
    labels = result(tmp_path / "run")["seen"]["pseudo_labels"]
    count = (labels["all"] if trainer == "TFUP" else labels)["count"]
    assert code == 0 and err == "" and count == (30 if trainer == "UPL" else 30 * len(CLASSES))
    said = "have fewer than 5000 images" if trainer == "UPL" else "5000 images a class are wanted and there are 30"
    assert said in out


@pytest.mark.parametrize("images", [1, 12])
@pytest.mark.parametrize("trainer", WORDS)
def test_all_similarities_equal(trainer: str, images: int, command, tmp_path: Path):
    """Equal images, and one alone: nothing is divided by zero, and classes without images are named."""
    words = folder(tmp_path / "pool", images)
    (tmp_path / "pool" / "classnames.txt").write_text("\n".join(CLASSES) + "\n")
    code, out, err = command(trainer, *words)
    assert code == 0 and err == ""
    seen = result(tmp_path / "run")["seen"]
    assert seen["images"] == images and result(tmp_path / "run")["metrics"] == {}
    if trainer == "TFUP":
        assert seen["pseudo_labels"]["all"]["per_class"] == dict.fromkeys(CLASSES, min(images, 9))
    else:
        assert len(seen["pseudo_labels"]["classes_without"]) == 4 and "are predicted for no image" in out
    if trainer != "TFUP":
        state = next((tmp_path / "run").glob("*/model.pth.tar-2"))
        tensors = torch.load(state, weights_only=True, map_location="cpu")["state_dict"].values()
        assert all(torch.isfinite(value).all() for value in tensors)


@pytest.mark.parametrize("trainer", WORDS)
def test_a_pool_without_a_class_list(trainer: str, command, tmp_path: Path):
    code, _, err = command(trainer, *folder(tmp_path / "pool", 2))
    assert code == 1 and len(err.splitlines()) == 1
    assert "no class list; put classnames.txt, one name a line, into" in err
    assert not (tmp_path / "run" / "config.yaml").exists(), "the directory is free"


def test_a_labelling_clip_of_another_input_size(command, clips, tmp_path: Path):
    config = tiny_config(24)
    config["vision_cfg"]["image_size"] = 2 * SIZE
    other = write_clip(tmp_path / "other.safetensors", config, 3)
    code, _, err = command("UPL", "TRAINER.UPL.LABELLERS", f"{clips['student']},{other}")
    assert code == 0 and err == ""
    seen = result(tmp_path / "run")["seen"]
    assert seen["pseudo_labels"]["labellers"] == [clips["student"], str(other)] and seen["pseudo_labels"]["count"]


@pytest.mark.parametrize(
    ("trainer", "words", "says"),
    [
        (
            "UPL",
            ["TRAINER.UPL.LABELLERS", "RN50,ViT-B/16,RN50"],
            "LABELLERS names RN50 twice, which would count double",
        ),
        (
            "CoOp_KDPL",
            [*KDPL, "TRAINER.KDPL.CONCEPTS", "twice.txt"],
            "more than once, first 'dog': leave each once",
        ),
        ("CoOp_KDPL", [*KDPL, "TRAINER.KDPL.CONCEPTS", "none.txt"], "has 0 names: a vocabulary needs 2 to 100,000"),
    ],
)
def test_names_that_stand_twice_or_not_at_all(trainer: str, words, says: str, command, clips, tmp_path: Path):
    (tmp_path / "twice.txt").write_text("cat\ndog\n\nDog\n")
    (tmp_path / "none.txt").write_text("# names of things\n")
    words = [str(tmp_path / word) if word.endswith(".txt") else word for word in words]
    code, _, err = command(trainer, *words, "TRAINER.KDPL.TEACHER", clips["teacher"])
    assert code == 1 and len(err.splitlines()) == 1 and says in err
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_teacher_that_lacks_a_name(command, argv, clips, tmp_path: Path):
    """A student of PromptKD knows the classes whose vectors its run left, and no concepts."""
    teacher = ["TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAINER.PROMPTKD.PROMPT_DEPTH_VISION", "2"]
    assert command_line(argv("PromptKD", tmp_path / "student", *teacher, epochs=1)) == 0
    (tmp_path / "names.txt").write_text("Forest\nFrost\nRiver\n")
    words = [*KDPL, "TRAINER.KDPL.CONCEPTS", str(tmp_path / "names.txt")]
    code, _, err = command("CoOp_KDPL", *words, "TRAINER.KDPL.TEACHER", str(tmp_path / "student"))
    assert code == 1 and len(err.splitlines()) == 1 and "no class vector for 1 of 3 classes, first 'Frost'" in err
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_what_learned_elsewhere_is_not_transductive_here(command, argv, data_root: str, tmp_path: Path):
    """UPL saw no image of the data set that it is only evaluated on."""
    assert command_line(argv("UPL", tmp_path / "source", *WORDS["UPL"], epochs=1)) == 0
    assert result(tmp_path / "source")["transductive"]
    images = Path(data_root) / "eurosat" / "2750"
    elsewhere = ["DATASET.NAME", "Folder", "DATASET.ROOT", str(images)]
    code, _, err = command("UPL", "--eval-only", f"--model-dir={tmp_path / 'source'}", *elsewhere)
    found = result(tmp_path / "run")
    assert code == 0 and err == "" and found["learned_on"] == "EuroSAT" and found["protocol"] == "cross"
    assert not found["transductive"] and found["seen"] is None
