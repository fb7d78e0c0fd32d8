"""The program in docs/deploy.md, with nothing of this project on its path, answers as we do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sklearn.datasets import load_sample_image
from tiny_runs import KD

import promptkd
from promptkd.data.images import read_upright
from promptkd.deploy import export
from promptkd.deploy.exporting.pictures import made_up
from promptkd.home import ROOT


def program() -> str:
    """The text of classify.py."""
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    (text,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "classify.py" in block)
    return text


def photographs(folder: Path) -> list[str]:
    """scikit-learn's two photographs (640 x 427), cut to other sizes and stored in other modes; their paths."""
    china, flower = (Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg"))
    rotated = Image.Exif()
    rotated[274] = 6  # the camera was turned by a quarter
    stored: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "whole.jpg": (china, {"quality": 95}),
        "turned.jpg": (china.crop((100, 0, 500, 427)), {"exif": rotated}),
        "grey.png": (flower.crop((0, 0, 300, 400)).convert("L"), {}),
        "clear.png": (flower.crop((50, 50, 610, 250)).convert("RGBA"), {}),
        "print.jpg": (china.crop((0, 0, 333, 333)).convert("CMYK"), {}),
        "palette.png": (flower.resize((960, 640)).convert("P"), {}),
    }
    for name, (picture, options) in stored.items():
        picture.save(folder / name, **options)
    return [str(folder / name) for name in stored]


def test_the_documents_program_answers_as_we_do(run, clips, data_root, tmp_path):
    assert len(program().splitlines()) <= 40
    words = [*KD, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAINER.MODAL", "cross"]
    run("PromptKD", tmp_path / "run", *words, epochs=1)
    assert export.main([str(tmp_path / "run"), str(tmp_path / "model.onnx"), "--format", "onnx"]) == 0
    paths = sorted(str(path) for path in (Path(data_root) / "eurosat" / "2750").rglob("*.jpg"))[::5]
    for number, (_, picture) in enumerate(made_up()):
        path = tmp_path / f"{number}.{(picture.format or '').lower()}"
        path.write_bytes(picture.fp.getvalue())
        paths.append(str(path))
    paths += photographs(tmp_path)
    (tmp_path / "classify.py").write_text(program())
    words = [sys.executable, "-I", str(tmp_path / "classify.py"), str(tmp_path / "model.onnx"), *paths]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    student = promptkd.load(tmp_path / "run")
    assert len(lines) == 3 * len(paths)
    for at, path in enumerate(paths):
        ours = student.predict(read_upright(path), 3)
        for (name, value), (shown, theirs, probability) in zip(ours, lines[3 * at : 3 * at + 3], strict=True):
            assert (shown, theirs) == (path, name)
            assert float(probability) == pytest.approx(value, abs=1e-5)
