"""docs/adding-a-trainer.md: its example is built from the document, in a copy without it, and trained."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import SIZE
from programs import output

from promptkd.home import ROOT

DOCUMENT = (ROOT / "docs" / "adding-a-trainer.md").read_text(encoding="utf-8")
RECIPE = "configs/trainers/KgCoOp/vit_b16_ep100_ctxv1.yaml"


def block(heading: str) -> str:
    """The first code block under a heading that names a file."""
    found = re.search(rf"^## .*`{re.escape(heading)}`\n.*?```\w+\n(.*?)```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def test_example_is_the_trainer_that_is_shipped():
    assert block("trainers/kgcoop.py") == (ROOT / "trainers" / "kgcoop.py").read_text(encoding="utf-8")
    assert block(RECIPE) == (ROOT / RECIPE).read_text(encoding="utf-8")


@pytest.mark.slow
def test_example_of_the_document_trains(clips: dict[str, str], data_root: str, tmp_path: Path):
    copy = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__", "mini", "kgcoop.py", "KgCoOp", "*.zip")
    for part in ("promptkd", "clip", "trainers", "datasets", "configs"):
        shutil.copytree(ROOT / part, copy / part, ignore=ignored)
    shutil.copy(ROOT / "train.py", copy)
    methods = copy / "trainers" / "__init__.py"
    methods.write_text(methods.read_text().replace(" kgcoop,", ""))
    assert "kgcoop" not in methods.read_text()

    (copy / "trainers" / "kgcoop.py").write_text(block("trainers/kgcoop.py"))
    with methods.open("a") as file:
        file.write(block("trainers/__init__.py"))
    (copy / RECIPE).parent.mkdir(parents=True)
    (copy / RECIPE).write_text(block(RECIPE))
    command = [sys.executable, "train.py", "--root", data_root, "--seed", "1", "--trainer", "KgCoOp"]
    command += ["--dataset-config-file", "configs/datasets/eurosat.yaml", "--config-file", RECIPE]
    command += ["--output-dir", "out", "DATASET.NUM_SHOTS", "2", "DATASET.SUBSAMPLE_CLASSES", "base"]
    command += ["MODEL.BACKBONE.NAME", clips["student"], "INPUT.SIZE", f"({SIZE}, {SIZE})", "USE_CUDA", "False"]
    command += ["DATALOADER.NUM_WORKERS", "0", "OPTIM.MAX_EPOCH", "2", "TRAIN.PRINT_FREQ", "1"]
    assert "loss_kg" in output(copy, *command)
    metrics = json.loads((copy / "out" / "results.json").read_text())["metrics"]
    assert set(metrics) == {"base", "new", "hm"}
