"""Where a model looked, beside its teacher: maps against naive loops, explanation.json, the report and the page."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from chromium import PROGRAM, Chromium
from conftest import CLASSES, SIZE
from PIL import Image
from tiny_runs import KD, SRC
from torch.nn import functional as F

from promptkd.deploy import explaining, predict
from promptkd.deploy.classifier import Classifier
from promptkd.model.attention import attention_maps
from promptkd.results import explanation
from promptkd.tables import command as collect


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("explained")


@pytest.fixture
def student(run, clips, folder):
    if not (folder / "runs").is_dir():
        run("PromptSRC", folder / "runs" / "teacher", *SRC, epochs=1, backbone=clips["teacher"])
        taught = ["TRAINER.PROMPTKD.TEACHER", str(folder / "runs" / "teacher")]
        run("PromptKD", folder / "runs" / "student", *KD, *taught, epochs=1)
    return folder / "runs" / "student"


def test_attention_is_that_of_torchs_own_module(student):
    """The hook sees what nn.MultiheadAttention is given: its own averaged weights are the map."""
    model = Classifier(student).model
    images = torch.randn(2, 3, SIZE, SIZE)
    last = model.clip.visual.transformer.resblocks[-1]
    seen: list[torch.Tensor] = []
    handle = last.ln_1.register_forward_hook(lambda module, given, result: seen.append(result))
    model.image_features(images)
    handle.remove()
    tokens = max(seen, key=lambda one: one.shape[1])
    _, weights = last.attn(tokens, tokens, tokens, need_weights=True)  # (B, L, L), the mean over heads
    patches = (SIZE // 16) ** 2
    assert tokens.shape[1] == 1 + patches + model.spec.n_vision
    assert torch.allclose(attention_maps(model, images).flatten(1), weights[:, 0, 1 : 1 + patches], atol=1e-5)


def test_occlusion_is_the_fall_of_the_probability(student):
    classifier = Classifier(student)
    image, vectors = torch.randn(3, SIZE, SIZE), classifier.class_vectors
    found = explaining.occlusion_map(classifier.model, vectors, image, 1)

    def probability(picture: torch.Tensor) -> float:
        features = F.normalize(classifier.model.image_features(picture[None]), dim=1)
        return float((classifier.model.logit_scale * features @ vectors.features.T).softmax(dim=1)[0, 1])

    for row, column in ((0, 0), (3, 5), (7, 7)):
        covered = image.clone()
        y, x = int((row + 0.5) * SIZE / 8), int((column + 0.5) * SIZE / 8)
        covered[:, max(y - 4, 0) : y + 4, max(x - 4, 0) : x + 4] = 0
        assert float(found[row, column]) == pytest.approx(probability(image) - probability(covered), abs=1e-4)


def test_a_run_is_explained_in_the_report_which_then_needs_no_model(student, folder, capsys):
    page = folder / "report.html"
    assert collect.main([str(student), "--html", str(page), "--explain"]) == 0
    content = explanation.read(student)
    record = json.loads((student / "results.json").read_text())
    for group in ("base", "new"):
        beside = content["teacher"][group]
        assert beside["accuracy"] == pytest.approx(record["teacher"]["metrics"][group]["accuracy"])
        assert 0 <= beside["agreement"] <= 100 and 0 <= beside["ece"] <= 100
    assert len(content["images"]) == 15 and len(content["classes"]) == 5 and content["names"] == CLASSES
    whos = [[guess["who"] for guess in example["guesses"]] for example in content["examples"]]
    assert whos and all(one == ["student", "teacher"] for one in whos)
    text = page.read_text(encoding="utf-8")
    for part in ("Reliability", "ECE", "Agreement with the teacher, PromptSRC", "Features", "Where it looked"):
        assert part in text
    shutil.move(folder / "runs" / "teacher", folder / "away")
    try:
        assert collect.main([str(student), "--html", str(page), "--explain"]) == 0, "it is there already"
        assert "Agreement with the teacher, PromptSRC" in page.read_text(encoding="utf-8")
        (student / explanation.FILE_NAME).unlink()
        assert collect.main([str(student), "--html", str(page), "--explain"]) == 0
        assert "Without its teacher: " in page.read_text(encoding="utf-8")
    finally:
        shutil.move(folder / "away", folder / "runs" / "teacher")
        (student / explanation.FILE_NAME).unlink()


def test_a_flat_map_is_the_two_widest_directions(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)  # as where it is not installed
    spread = torch.tensor([3.0, 2.0, 0.01, 0.01])
    features = torch.tensor([0.0, 0.0, 9.0, 0.0]) + spread * torch.randn(
        50, 4, generator=torch.Generator().manual_seed(0)
    )
    kind, images, classes = explaining.flat_map(features, features[:5])
    flat = torch.tensor(images)
    whole = F.normalize(features, dim=1)
    whole = whole - whole.mean(dim=0)
    assert kind == "PCA" and flat.shape == (50, 2) and len(classes) == 5
    assert float(flat.square().sum()) == pytest.approx(float(torch.linalg.svdvals(whole)[:2].square().sum()), rel=1e-3)


@pytest.mark.slow
def test_umap_takes_its_place_where_it_is_installed():
    pytest.importorskip("umap", reason="UMAP is an extra: pip install umap-learn")
    features = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    kind, images, classes = explaining.flat_map(features, features[:5])
    assert kind == "UMAP" and len(images) == 40 and len(classes) == 5


def test_a_damaged_explanation_is_said_and_made_anew(student, folder, capsys):
    page = folder / "damaged.html"
    good = {"config_hash": "x", "map": "PCA", "names": ["a", "b"], "images": [[0, 0, 1]], "classes": [[0, 0], [1, 1]],
            "teacher": {}, "teacher_name": "", "teacher_problem": "", "examples": []}  # fmt: skip
    guess = {"who": "<b>", "prediction": "x", "probability": 1, "attention": [[1]] * 65, "occlusion": []}
    for change in (
        {"images": [[0, 0, 2]]}, {"images": [["x", 0, 0]]}, {"classes": [[0, 0]]}, {"names": "ab"}, {"teacher": []},
        {"teacher": {"base": {"agreement": "<b>", "accuracy": 1, "ece": 1}}}, {"map": 3},
        {"examples": [{"path": "x", "label": "y", "guesses": [guess]}]},
    ):  # fmt: skip
        explanation.write(student, good | change)
        with pytest.raises(ValueError, match="explanation.json is broken"):
            explanation.read(student)
        assert collect.main([str(student), "--html", str(page)]) == 0
        assert "explanation.json is broken" in page.read_text(encoding="utf-8")
    explanation.write(student, good)
    assert collect.main([str(student), "--html", str(page)]) == 0
    assert "is of another configuration of this run" in page.read_text(encoding="utf-8")
    assert collect.main([str(student), "--html", str(page), "--explain"]) == 0
    assert "Where it looked" in page.read_text(encoding="utf-8")
    assert collect.main([str(student), "--explain"]) == 1
    assert "give --html FILE too" in capsys.readouterr().err


def test_predictions_are_explained_on_a_page(student, folder, data_root, capsys):
    images = sorted((Path(data_root) / "eurosat" / "2750" / "River").iterdir())[:2]
    page = folder / "page.html"
    assert predict.main([str(student), *map(str, images), "--explain", str(page), "--top", "2"]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.count('class="answer"') == 4 and text.count(">teacher<") == 2 and "occlusion" in text
    first = json.loads(json.dumps(Classifier(student).predict(Image.open(images[0]), top=1)))[0]
    assert first[0] in text and f"<em>{100 * first[1]:.1f}</em>" in text
    teacher = folder / "runs" / "teacher"
    assert predict.main([str(teacher), str(images[0]), "--explain", str(page)]) == 0
    assert "Without a teacher: it has no teacher." in page.read_text(encoding="utf-8")
    capsys.readouterr()
    assert predict.main([str(student), *[str(images[0])] * 51, "--explain", str(page)]) == 1
    assert "a page holds 50" in capsys.readouterr().err


@pytest.mark.skipif(not PROGRAM, reason="no Chromium on this machine: apt-get install chromium")
def test_maps_lie_on_their_pictures_on_a_phone_too(student, folder, tmp_path):
    page = folder / "seen.html"
    assert collect.main([str(student), "--html", str(page), "--explain"]) == 0
    with Chromium(tmp_path) as browser:
        for width, dark in ((1280, False), (390, True)):
            browser.open(page, width, 844, dark)
            browser.do("for (const one of document.querySelectorAll('details')) one.open = true")
            assert browser.console == []
            assert browser.do("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
            same = """[...document.querySelectorAll(".under svg")].map((map) => {
              const [a, b] = [map.getBoundingClientRect(), map.previousElementSibling.getBoundingClientRect()];
              return a.width > 50 && Math.abs(a.width - b.width) + Math.abs(a.top - b.top) < 1; })"""
            found = browser.do(same)
            assert found and all(found)
