"""examples/ and docs/python.md: everything that they show is run, elsewhere than in the checkout."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from programs import output

from promptkd.home import ROOT

EXAMPLES = ROOT / "examples"
STUDENT = "output/base2new/emoji/shots_all/PromptKD/mini/seed1"


def python(folder: Path, *words: str) -> str:
    """The output of a program that runs in a folder."""
    return output(folder, sys.executable, *words, PYTHONPATH=str(ROOT))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a distilled student, images without labels, and a photo."""
    from promptkd.engine.command import main

    folder = tmp_path_factory.mktemp("elsewhere")
    words = [
        "--trainer",
        "PromptKD",
        "--seed",
        "1",
        "--root",
        str(folder / "data"),
        "--output-dir",
        str(folder / STUDENT),
    ]
    words += ["--config-file", str(ROOT / "configs/trainers/PromptKD/mini.yaml"), "DATASET.NAME", "Emoji"]
    words += ["DATASET.NUM_SHOTS", "2", "OPTIM.MAX_EPOCH", "1", "USE_CUDA", "False"]
    main([*words, "TRAINER.PROMPTKD.TEACHER", "mini-teacher", "TRAINER.PROMPTKD.EVALUATE_TEACHER", "False"])
    images = sorted((folder / "data" / "emoji" / "images").rglob("*.png"))
    (folder / "images").mkdir()
    for number, image in enumerate(images[:: len(images) // 24]):
        shutil.copy(image, folder / "images" / f"{number}.png")
    shutil.copy(images[0], folder / "photo.png")
    return folder


@pytest.mark.slow
def test_every_block_of_the_python_page_runs(folder):
    """As one program, whose lines have the numbers that they have in the document."""
    lines, inside = [], False
    for line in (ROOT / "docs" / "python.md").read_text(encoding="utf-8").splitlines():
        inside = line == "```python" or (inside and line != "```")
        lines.append(line if inside and line != "```python" else "")
    (folder / "python_md.py").write_text("\n".join(lines))
    shown = python(folder, "python_md.py")
    assert "('fruit', 'vegetable') torch.Size([2, 2])" in shown
    assert "| PromptKD mini-student" in shown
    assert "Learned: " in shown and "output/smooth/results.json" in shown


def test_classify(folder):
    shown = python(folder, str(EXAMPLES / "classify.py"), STUDENT, "photo.png", "images/1.png").splitlines()
    assert shown[0] == "mini-student, 20 classes"
    assert [line.split()[0] for line in shown[1:]] == ["photo.png", "images/1.png"]


@pytest.mark.slow
def test_distil_in_your_own_loop(folder):
    words = [str(EXAMPLES / "distil_in_your_own_loop.py"), "--epochs", "2", "--output", "student"]
    shown = python(folder, *words)
    before, after = (float(share) for share in re.findall(r"agreement ([\d.]+) %", shown))
    assert after > before + 20
    python(folder, str(EXAMPLES / "classify.py"), "student", "photo.png")


@pytest.mark.slow
def test_own_method(folder):
    words = ["--config-file", str(EXAMPLES / "own_method.yaml"), "--root", "data", "--output-dir", "mirror"]
    shown = python(folder, str(EXAMPLES / "own_method.py"), *words, "OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "2")
    assert "loss_mirror" in shown
    assert set(json.loads((folder / "mirror" / "results.json").read_text())["metrics"]) == {"base", "new", "hm"}
    python(folder, str(EXAMPLES / "classify.py"), "mirror", "photo.png")


@pytest.mark.slow
def test_notebook(folder):
    """Its code cells, one after the other in one namespace; nothing that they gave is stored."""
    cells = json.loads((EXAMPLES / "quickstart.ipynb").read_text(encoding="utf-8"))["cells"]
    cells = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    place = folder / "notebook"
    place.mkdir()
    (place / "quickstart.py").write_text("\n".join("".join(cell["source"]) for cell in cells))
    shown = python(place, "quickstart.py")
    assert re.search(r"\d+ % of \d+ test images are right", shown) and "ZeroshotCLIP2 {'base':" in shown
