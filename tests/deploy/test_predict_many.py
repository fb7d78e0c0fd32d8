"""Many images: folders, lists, standard input and archives; answers in files; thresholds of rejection."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from tiny_runs import KD

from promptkd.data.tars import images_in_tar
from promptkd.deploy import export, predict
from promptkd.deploy.choosing import auroc
from promptkd.deploy.rejection import Rejection, scores
from promptkd.home import ROOT


@pytest.fixture(scope="module")
def student(run, clips, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("student")
    words = [*KD, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAINER.MODAL", "cross"]
    run("PromptKD", directory, *words, epochs=1)
    return directory


@pytest.fixture(scope="module")
def file(student, tmp_path_factory) -> Path:
    """The run as an .onnx file."""
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    assert export.main([str(student), str(path), "--format", "onnx"]) == 0
    return path


def answers(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return path


def test_every_source_gives_the_same_answers(student, file, data_root, tmp_path, capsys, monkeypatch):
    folder = Path(data_root) / "eurosat" / "2750" / "River"
    paths = sorted(str(path) for path in folder.iterdir())
    (tmp_path / "list.txt").write_text("# rivers\n\n" + "\n".join(paths) + "\n")
    members = {"a/1.cls": b"3", **{f"a/{Path(path).name}": Path(path).read_bytes() for path in paths}}
    shard = archive(tmp_path / "shard.tar.gz", members)
    found = []
    for model in (student, file):
        for words in ([str(folder)], ["--list", str(tmp_path / "list.txt")], [f"@{tmp_path}/list.txt"], [str(shard)]):
            assert predict.main([str(model), *words, "--json", "--batch", "4"]) == 0
            found.append(answers(capsys))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(os.fsencode("\n".join(paths)))))
        assert predict.main([str(model), "-", "--json", "--batch", "100"]) == 0
        found.append(answers(capsys))
    names = [Path(answer["path"]).name for answer in found[0]]
    assert names == [Path(path).name for path in paths] and found[3][0]["path"].endswith(f"shard.tar.gz/a/{names[0]}")
    for some in found[1:]:
        for one, other in zip(some, found[0], strict=True):
            assert Path(one["path"]).name == Path(other["path"]).name
            values = [{entry["class"]: entry["probability"] for entry in answer["top"]} for answer in (one, other)]
            assert values[0] == pytest.approx(values[1], abs=1e-5)


def test_archives_that_are_damaged_or_hostile(tmp_path, student, capsys):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    whole = archive(tmp_path / "s.tar", {"../up.png": buffer.getvalue(), "empty.png": b"", "x.txt": b"x"})
    assert [name for name, _ in images_in_tar(whole)] == ["../up.png", "empty.png"], "no link, no text"
    assert predict.main([str(student), str(whole), "--json"]) == 1
    shown = capsys.readouterr()
    assert "empty.png" in shown.err and "the file is empty" in shown.err and "up.png" in shown.out
    for content in (whole.read_bytes()[:700], b"no archive", b""):
        (tmp_path / "cut.tar").write_bytes(content)
        assert predict.main([str(student), str(tmp_path / "cut.tar")]) == 1
        assert "cut.tar is damaged or no tar archive" in capsys.readouterr().err
    (tmp_path / "list").write_text("@list\n")
    assert predict.main([str(student), "--list", str(tmp_path / "list")]) == 1
    assert "a list holds images" in capsys.readouterr().err


def test_files_of_answers(student, data_root, tmp_path, capsys):
    folder = str(Path(data_root) / "eurosat" / "2750" / "Forest")
    for kind in ("csv", "json", "parquet"):
        out = tmp_path / f"out.{kind}"
        assert predict.main([str(student), folder, "--top", "2", "--out", str(out), "--batch", "3"]) == 0
        assert f"out.{kind}: 11 images" in capsys.readouterr().out
        assert predict.main([str(student), folder, "--out", str(out)]) == 1
        assert "is there already" in capsys.readouterr().err
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    listed = json.loads((tmp_path / "out.json").read_text())
    table = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert len(rows) == len(listed) == len(table) == 11 and list(rows[0]) == ["path", "class1", "p1", "class2", "p2"]
    for row, one, other in zip(rows, listed, table, strict=True):
        assert row["path"] == one["path"] == other["path"]
        assert row["class1"] == one["top"][0]["class"] == other["class1"]
        assert float(row["p1"]) == pytest.approx(one["top"][0]["probability"], abs=1e-5)
        assert other["p2"] == pytest.approx(one["top"][1]["probability"], abs=1e-6)


def test_rejection_is_chosen_stored_and_exported(student, data_root, tmp_path, capsys):
    noise = tmp_path / "noise"
    noise.mkdir()
    numbers = np.random.default_rng(0)
    for number in range(5):
        Image.fromarray(numbers.integers(0, 255, (40, 40, 3), np.uint8)).save(noise / f"{number}.png")
    choose = [str(student), "--reject", "energy", "--against", str(noise)]
    assert predict.main([*choose, "--keep", "80"]) == 0
    line = capsys.readouterr().err
    stored = Rejection.read(student)
    assert stored is not None and stored.measure == "energy" and stored.images == 10 and stored.kept >= 0.8
    assert f"AUROC against {noise} {stored.auroc[str(noise)]:.3f}" in line
    picture = str(next((Path(data_root) / "eurosat" / "2750" / "River").iterdir()))
    assert predict.main([str(student), picture, "--reject", "--json"]) == 0
    answer = answers(capsys)[0]
    assert answer["rejected"] == (answer["score"] < stored.threshold)
    assert export.main([str(student), str(tmp_path / "m"), "--format", "safetensors"]) == 0
    assert Rejection.read(tmp_path / "m") == stored
    (student / "rejection.json").write_text(json.dumps(stored.to_dict() | {"threshold": 1e9}))
    capsys.readouterr()
    assert predict.main([str(student), picture, "--reject"]) == 0
    assert "none of these" in capsys.readouterr().out
    (student / "rejection.json").write_text('{"measure": "x"}')
    assert predict.main([str(student), picture]) == 1
    assert "rejection.json cannot be read" in capsys.readouterr().err
    (student / "rejection.json").unlink()
    (tmp_path / "m" / "rejection.json").unlink()
    assert predict.main([str(tmp_path / "m"), picture, "--reject"]) == 1
    assert "choose it with the run" in capsys.readouterr().err


def test_scores():
    logits = np.array([[1.0, 2.0, 3.0], [500.0, 0.0, 0.0]], np.float32)
    powers = np.exp(logits[0].astype(np.float64))
    assert scores(logits, "probability") == pytest.approx([powers.max() / powers.sum(), 1.0], rel=1e-5)
    assert scores(logits, "energy") == pytest.approx([np.log(powers.sum()), 500.0], rel=1e-5)
    inside, outside = np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.0, 2.0, 3.0])
    pairs = [(one > other) + 0.5 * (one == other) for one in inside for other in outside]
    assert auroc(inside, outside) == pytest.approx(np.mean(pairs))


def test_an_onnx_file_is_opened_without_pytorch(file, data_root):
    """And soon: from the start to the answer of one image."""
    picture = next((Path(data_root) / "eurosat" / "2750" / "River").iterdir())
    program = (
        "import sys, time; from promptkd.__main__ import main; "
        f"code = main(['predict', {str(file)!r}, {str(picture)!r}]); "
        "heavy = {'torch', 'torchvision', 'open_clip', 'dassl', 'onnx'} & set(sys.modules); "
        "print(code, heavy, time.process_time())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    code, heavy, seconds = done.stdout.splitlines()[-1].split()
    assert (code, heavy) == ("0", "set()"), done.stderr
    assert float(seconds) < 0.6
