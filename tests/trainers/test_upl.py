"""UPL: the choice of pseudo-labels, ensembles and their class vectors, runs through train.main."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import result
from PIL import Image
from tiny_runs import PROCESSES, torchrun
from torch.nn import functional as F

from promptkd.deploy.classifier import Classifier
from promptkd.engine import checkpoints
from promptkd.engine.pseudo_labels import PseudoLabel, described, most_confident
from promptkd.model.class_vectors import FILE_NAME, ClassVectors, cosine_logits
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.spec import PromptSpec
from promptkd.model.zoo import load_clip
from promptkd.teacher import cache_store


def naive_choice(probabilities: list[list[float]], paths: list[str], count: int) -> list[tuple[int, int]]:
    chosen = []
    for label in range(len(probabilities[0])):
        rows = [row for row, p in enumerate(probabilities) if max(range(len(p)), key=lambda c, p=p: p[c]) == label]
        rows.sort(key=lambda row, label=label: (-probabilities[row][label], paths[row]))
        chosen += [(row, label) for row in rows[:count]]
    return chosen


@pytest.mark.parametrize("count", [1, 3, 50])
def test_the_surest_images_of_each_class(count: int):
    torch.manual_seed(1)
    probabilities = (2 * torch.randn(40, 6)).softmax(-1)
    probabilities[:, 4] = 0  # a class that no image shows
    paths = [f"{row:03d}.jpg" for row in range(40)]
    chosen = most_confident(probabilities, paths, count)
    assert [(one.row, one.label) for one in chosen] == naive_choice(probabilities.tolist(), paths, count)
    assert not any(one.label == 4 for one in chosen) and len({one.row for one in chosen}) == len(chosen)


def test_equal_confidences_go_by_path():
    probabilities = torch.tensor([[0.9, 0.1]] * 4)
    chosen = most_confident(probabilities, ["d.jpg", "b.jpg", "a.jpg", "c.jpg"], 2)
    assert [one.row for one in chosen] == [2, 1]


def test_what_is_said_of_pseudo_labels():
    chosen = [PseudoLabel(0, 0, 0.9), PseudoLabel(2, 0, 0.8), PseudoLabel(3, 2, 0.7)]
    about = described(chosen, [0, 1, 1, 2], ["a", "b", "c"])
    assert about["count"] == 3 and about["accuracy"] == pytest.approx(200 / 3)
    assert about["per_class"] == {"a": 2, "b": 0, "c": 1} and about["classes_without"] == ["b"]
    assert described(chosen, [-1] * 4, ["a", "b", "c"])["accuracy"] is None


def test_a_mean_of_unit_vectors_gives_the_mean_of_the_logits(clips: dict[str, str], tmp_path: Path):
    torch.manual_seed(0)
    precision = Precision.choose("fp32", torch.device("cpu"))
    model = PromptedClip(load_clip(clips["student"]), PromptSpec(n_text=3, members=4), precision)
    names, images = ["cat", "polar bear", "dog"], torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        each = model.member_logits(images, model.member_features(names))  # (M, B, C)
        vectors = model.class_vectors(names)
        assert vectors.kind == "mean" and (vectors.features.norm(dim=-1) < 0.9999).any()
        vectors.save(tmp_path / FILE_NAME)
        stored = ClassVectors.load(tmp_path / FILE_NAME)
        assert stored.kind == "mean" and stored.select(["dog"]).to("cpu").kind == "mean"
        features = model.image_features(images)
        for logits in (stored.logits(features), model.classifier(names)(images)):
            assert torch.allclose(logits, each.mean(0), atol=1e-4)
        again = cosine_logits(features, F.normalize(vectors.features, dim=-1), model.logit_scale)
        assert not torch.allclose(again, each.mean(0), atol=1e-2), "normalised again it would be another classifier"


def test_files_without_a_kind_are_of_unit_vectors(tmp_path: Path):
    vectors = ClassVectors(("a", "b"), F.normalize(torch.randn(2, 4), dim=-1), 100.0)
    vectors.save(tmp_path / FILE_NAME)
    assert b'"kind"' not in (tmp_path / FILE_NAME).read_bytes()
    assert ClassVectors.load(tmp_path / FILE_NAME).kind == "unit"


WORDS = ["TRAINER.UPL.N_CTX", "3", "TRAINER.UPL.SHOTS", "2", "TRAINER.UPL.PREC", "fp32"]


def test_labels_trains_and_is_evaluated(run, tmp_path: Path, clips):
    run("UPL", tmp_path / "whole", *WORDS)
    found = result(tmp_path / "whole")
    seen = found["seen"]
    assert found["transductive"] and found["unlabelled_images"] == seen["images"] == 30 and seen["classes"] == "all"
    assert seen["pseudo_labels"]["count"] == found["train_images"] <= 10
    assert seen["pseudo_labels"]["labellers"] == [clips["student"]]
    assert 0 <= seen["pseudo_labels"]["accuracy"] <= 100
    state = checkpoints.read_checkpoint(tmp_path / "whole" / "prompt_learner" / "model.pth.tar-2")["state_dict"]
    assert set(state) == {"ctx"} and state["ctx"].shape == (3, 32)
    run("UPL", tmp_path / "again", "--eval-only", f"--model-dir={tmp_path / 'whole'}", *WORDS)
    assert result(tmp_path / "again")["metrics"] == found["metrics"]


def test_base_to_new_labels_all_classes_or_base(run, tmp_path: Path):
    base = ["DATASET.SUBSAMPLE_CLASSES", "base"]
    run("UPL", tmp_path / "all", *WORDS, *base, epochs=1)
    run("UPL", tmp_path / "base", *WORDS, *base, "TRAINER.UPL.UNLABELLED", "base", epochs=1)
    whole, half = result(tmp_path / "all"), result(tmp_path / "base")
    assert whole["transductive"] and not half["transductive"]
    assert (whole["unlabelled_images"], half["unlabelled_images"]) == (30, 18)
    assert set(whole["metrics"]) == set(half["metrics"]) == {"base", "new", "hm"}


def test_an_ensemble_is_one_file_of_class_vectors(run, tmp_path: Path, clips, data_root):
    labellers = ["TRAINER.UPL.LABELLERS", f"{clips['student']},{clips['teacher']}", "TRAINER.UPL.MEMBERS", "3"]
    run("UPL", tmp_path / "run", *WORDS, *labellers, epochs=1)
    found = result(tmp_path / "run")
    members = found["seen"]["members"]["all"]
    assert len(members["accuracies"]) == 3 and members["mean"] == pytest.approx(sum(members["accuracies"]) / 3)
    assert ClassVectors.load(tmp_path / "run" / FILE_NAME).kind == "mean"
    classifier = Classifier(tmp_path / "run")
    image = Image.open(next(Path(data_root).rglob("*.jpg")))
    assert len(classifier.predict(image, top=2)) == 2
    run("UPL", tmp_path / "again", "--eval-only", f"--model-dir={tmp_path / 'run'}", *WORDS, *labellers)
    assert result(tmp_path / "again")["metrics"] == found["metrics"]


def test_members_learn_as_they_would_alone(run, tmp_path: Path, monkeypatch):
    """An ensemble's loss is the sum of its members': no context feels another."""
    from promptkd.model.ensemble import EnsemblePrompts

    start = EnsemblePrompts.__init__

    def with_a_twin(self, *args, **kwargs):
        start(self, *args, **kwargs)
        with torch.no_grad():
            self.ctx[1] = self.ctx[0]

    monkeypatch.setattr(EnsemblePrompts, "__init__", with_a_twin)
    run("UPL", tmp_path, *WORDS, "TRAINER.UPL.MEMBERS", "3")
    ctx = checkpoints.read_checkpoint(tmp_path / "prompt_learner" / "model.pth.tar-2")["state_dict"]["ctx"]
    assert torch.allclose(ctx[0], ctx[1], atol=1e-6) and not torch.allclose(ctx[0], ctx[2], atol=1e-3)


def test_the_labelling_pass_is_kept_for_later_runs(run, tmp_path: Path, capsys):
    words = [*WORDS, "TRAINER.UPL.FEATURE_CACHE", str(tmp_path / "kept")]
    run("UPL", tmp_path / "one", *words, epochs=1)
    assert "features of 30 read from" not in capsys.readouterr().out
    run("UPL", tmp_path / "two", *words, epochs=1)
    assert "features of 30 read from" in capsys.readouterr().out
    (file,) = (tmp_path / "kept").glob("*/view-0000.float32.16")
    content = file.read_bytes()

    def of_another_width() -> None:
        rows = np.ones((30, 8), np.float32)
        sums = [cache_store.checksum(row.view(np.uint8)) for row in rows]
        file.unlink()
        file.with_name("view-0000.float32.8").write_bytes(np.array(sums, "<u4").tobytes() + rows.tobytes())

    damages = {
        "cut": (lambda: file.write_bytes(content[:-9]), "is damaged"),
        "bits": (lambda: file.write_bytes(content[:-9] + b"nonsense!"), "has damaged rows"),
        "width": (of_another_width, "is not of 16 channels"),
    }
    for name, (damage, message) in damages.items():
        damage()
        run("UPL", tmp_path / name, *words, epochs=1)
        assert message in capsys.readouterr().out
        assert file.read_bytes() == content
    labels = [result(tmp_path / name)["seen"]["pseudo_labels"] for name in ("one", "two", *damages)]
    assert all(one == labels[0] for one in labels)
    assert result(tmp_path / "one")["config_hash"] == result(tmp_path / "two")["config_hash"]


@pytest.mark.slow
def test_two_processes_label_the_same_images(argv, run, tmp_path: Path):
    """The second one reads what the first has kept, or computes it; neither waits for the other."""
    more = [*WORDS, "DATALOADER.TRAIN_X.BATCH_SIZE", "4"]
    kept = ["TRAINER.UPL.FEATURE_CACHE", str(tmp_path / "kept")]
    names = {"plain": [], "kept": kept}
    jobs = [
        {"argv": argv("UPL", tmp_path / name, *more, *words, epochs=1), "state": str(tmp_path / f"{name}.pt")}
        for name, words in names.items()
    ]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    done = torchrun(str(PROCESSES), str(tmp_path / "jobs.json"))
    assert done.returncode == 0, done.stderr[-2000:]
    run("UPL", tmp_path / "alone", *more, epochs=1)
    labels = [result(tmp_path / name)["seen"]["pseudo_labels"] for name in ("alone", *names)]
    assert labels[0] == labels[1] == labels[2] and result(tmp_path / "kept")["processes"] == 2


def test_methods_share_the_stored_features(run, tmp_path: Path, capsys):
    """UPL's labelling pass is TFUP's, too, and a place for them changes no number."""
    run("UPL", tmp_path / "one", *WORDS, "TRAINER.UPL.FEATURE_CACHE", str(tmp_path / "kept"), epochs=1)
    run("TFUP", tmp_path / "alone", "TRAINER.TFUP.PREC", "fp32")
    assert "read from" not in capsys.readouterr().out
    kept = ("TRAINER.TFUP.FEATURE_CACHE", str(tmp_path / "kept"))
    run("TFUP", tmp_path / "shared", "TRAINER.TFUP.PREC", "fp32", *kept)
    assert "features of 30 read from" in capsys.readouterr().out
    alone, shared = result(tmp_path / "alone"), result(tmp_path / "shared")
    assert alone["metrics"] == shared["metrics"] and alone["config_hash"] == shared["config_hash"]
    with pytest.raises(OSError, match="cannot write to TRAINER.TFUP.FEATURE_CACHE"):
        run("TFUP", tmp_path / "x", "TRAINER.TFUP.PREC", "fp32", "TRAINER.TFUP.FEATURE_CACHE", __file__)


def test_images_of_a_folder_need_no_labels(run, tmp_path: Path, data_root: str, clips):
    from conftest import CLASSES

    images = tmp_path / "images"
    images.mkdir()
    for number, file in enumerate(sorted(Path(data_root).rglob("*.jpg"))[::5]):
        (images / f"{number}.jpg").write_bytes(file.read_bytes())
    (images / "classnames.txt").write_text("\n".join(CLASSES) + "\n")
    folder = ["DATASET.NAME", "Unlabeled", "DATASET.ROOT", str(images)]
    run("UPL", tmp_path / "run", *WORDS, *folder, epochs=1)
    found = result(tmp_path / "run")
    assert found["seen"]["pseudo_labels"]["accuracy"] is None and found["metrics"] == {}
    assert (tmp_path / "run" / "predictions.csv").read_text().count(".jpg") == 11


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["TRAINER.UPL.SHOTS", "0"], "TRAINER.UPL.SHOTS 0: set 1 or more"),
        (["DATASET.NUM_SHOTS", "16"], "set it to 0, and TRAINER.UPL.SHOTS 16"),
        (["TRAINER.UPL.LABELLERS", "RN51"], "no CLIP model 'RN51'"),
        (["TRAINER.UPL.MEMBERS", "2", "TRAINER.UPL.CTX_INIT", "a photo of a"], "all would start, and stay, the same"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(run, tmp_path: Path, words: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        run("UPL", tmp_path, *WORDS, *words)
    assert not list(tmp_path.rglob("*.pth.tar*"))


def test_more_labels_than_images_and_classes_without_any(run, tmp_path: Path, capsys):
    run("UPL", tmp_path, *WORDS, "TRAINER.UPL.SHOTS", "100", epochs=1)
    about = result(tmp_path)["seen"]["pseudo_labels"]
    assert about["count"] == 30
    said = capsys.readouterr().out
    assert not about["classes_without"] or "are predicted for no image, and train on none" in said
