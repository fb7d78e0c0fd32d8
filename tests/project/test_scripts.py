"""The shipped scripts and the README's commands: each is run, or shown to reach the program it names."""

from __future__ import annotations

import re
import sys

import pytest
from conftest import result
from programs import output, start
from trees import write_eurosat

from promptkd.home import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
METHODS = {
    "advivlp": "AdvIVLP",
    "advpromptkd": "AdvPromptKD",
    "apd": "APD",
    "fap": "FAP",
    "featureteacher": "FeatureTeacher",
    "cocoop": "CoCoOp",
    "coop": "CoOp",
    "ivlp": "IVLP",
    "kdpl": "CoOp_KDPL",
    "kgcoop": "KgCoOp",
    "maple": "MaPLe",
    "promptkd": "PromptKD",
    "promptsrc": "PromptSRC",
    "tfup": "TFUP",
    "tfupt": "TFUPT",
    "upl": "UPL",
    "vpt": "VPT",
    "zeroshot": "ZeroshotCLIP",
}
PROTOCOLS = {
    "base2new_train": "base2new",
    "few_shot": "fewshot",
    "xd_train": "xd_train",
    "xd_test": "xd_test",
    "distill_folder": "folder",
    "learn_folder": "folder",
}
SCRIPT = "scripts/promptkd/base2new_train.sh"
THIN = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "scripts").glob("*/*.sh"))


@pytest.mark.parametrize("script", THIN)
def test_thin_scripts_call_the_launcher(script, tmp_path):
    """From any directory, with the words as they are: the interpreter is one that says what it is asked."""
    echo = tmp_path / "echo"
    echo.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    echo.chmod(0o755)
    said = start(tmp_path, "bash", ROOT / script, "eurosat", "1", "KEY", "two words", PYTHON=str(echo))
    _, method, protocol = script.removesuffix(".sh").split("/")
    expected = [
        str(ROOT / "promptkd/__main__.py"),
        "launch",
        PROTOCOLS[protocol],
        METHODS[method],
        "eurosat",
        "1",
        "KEY",
        "two words",
    ]
    assert said.stdout.splitlines() == expected, said.stderr


def test_pools_are_four_sweeps_and_a_table(tmp_path):
    """The pool as it is and three others, of one folder; the interpreter is one that says what it is asked."""
    echo = tmp_path / "echo"
    echo.write_text('#!/usr/bin/env bash\nprintf "%s " "${@:2}"; echo\n')
    echo.chmod(0o755)
    said = start(tmp_path, "bash", ROOT / "scripts/pools.sh", "emoji", "4", PYTHON=str(echo), OUTPUT="out")
    *sweeps, table = [line.strip() for line in said.stdout.splitlines()]
    first = "sweep --datasets emoji --trainers PromptKD UPL TFUP TFUPT CoOp_KDPL --output out --workers 1 --seeds 4"
    grids = ("", " --grid POOL.IMBALANCE 10", " --grid POOL.DROP_CLASSES 3", " --grid POOL.FOREIGN_SHARE 0.3")
    assert sweeps == [first + grid for grid in grids] and table == "collect out", said.stderr
    alone = start(tmp_path, "bash", ROOT / "scripts/pools.sh", PYTHON=str(echo))
    assert alone.returncode == 1 and alone.stderr.startswith("error: which data set?")


def test_robustness_is_one_command_and_a_table(tmp_path):
    """All methods with their attacks and corruptions; the interpreter is one that says what it is asked."""
    echo = tmp_path / "echo"
    echo.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "${@:2}"\n')
    echo.chmod(0o755)
    script = ROOT / "scripts/robust.sh"
    every = "ZeroshotCLIP,CoOp,MaPLe,PromptSRC,AdvIVLP,FAP,APD,PromptKD,AdvPromptKD"
    attacked = ["TEST.ROBUST.ATTACK", "pgd", "TEST.ROBUST.IMAGES", "50"]
    corrupted = ["TEST.CORRUPT.KINDS", "all", "TEST.CORRUPT.SEVERITIES", "(1, 3, 5)", "TEST.CORRUPT.IMAGES", "60"]
    said = start(tmp_path, "bash", script, "emoji", "4", PYTHON=str(echo), IMAGES="50")
    words = ["launch", "base2new", every, "emoji", "4", *attacked, *corrupted, "TEST.OUTSIDE", "shipped"]
    assert said.stdout.splitlines() == words, said.stderr
    own = ["dtd", "4", "TEST.CORRUPT.KINDS", "fog", "TEST.ROBUST.IMAGES", "9"]  # given: not said again
    said = start(tmp_path, "bash", script, *own, PYTHON=str(echo))
    words = ["launch", "base2new", every, *own, *attacked[:2], *corrupted[2:]]
    assert said.stdout.splitlines() == words, said.stderr


@pytest.mark.slow
def test_robustness_of_a_small_model(tmp_path):
    """One method on a tree laid out like EuroSAT's: one table has it all."""
    write_eurosat(tmp_path / "data")
    places = {"DATA": str(tmp_path / "data"), "OUTPUT": str(tmp_path / "out"), "SHOTS": "2", "PYTHON": sys.executable}
    small = {"METHODS": "AdvIVLP", "IMAGES": "4", "CORRUPTED": "6", "KINDS": "fog", "SEVERITIES": "(1,)"}
    words = [ROOT / "scripts/robust.sh", "eurosat", "1", "MODEL.BACKBONE.NAME", "mini-student", "OPTIM.MAX_EPOCH", "1"]
    listed = output(tmp_path, "bash", *words, "--dry-run", **places, **small)
    assert listed.splitlines()[-1].endswith("1 missing") and not (tmp_path / "out").exists()
    said = output(tmp_path, "bash", *words, "USE_CUDA", "False", **places, **small)
    table = said[said.rindex("accuracy under attack and on corrupted images") :]
    heads = next(re.split(" {2,}", line.strip()) for line in table.splitlines() if line.startswith("method"))
    assert heads[3:] == ["clean", "pgd10_eps1", "pgd10_eps4", "uncorrupted", "corrupted", "ECE", "seeds"]
    rows = [re.split(" {2,}", line.strip()) for line in table.splitlines() if line.startswith("AdvIVLP")]
    assert [row[2] for row in rows] == ["base", "new", "HM"]
    assert all(len(row) == 10 for row in rows if row[2] != "HM")


def test_every_method_has_its_scripts():
    owed = {f"scripts/{method}/{name}.sh" for method in METHODS for name in list(PROTOCOLS)[:4]}
    folders = {
        "scripts/promptkd/distill_folder.sh",
        *(f"scripts/{name}/learn_folder.sh" for name in ("tfup", "tfupt", "upl")),
    }
    not_owed = {"scripts/zeroshot/xd_train.sh", "scripts/tfup/xd_train.sh"}  # learn nothing
    not_owed |= {"scripts/tfupt/xd_train.sh", "scripts/tfupt/xd_test.sh"}  # knows its classes alone
    assert set(THIN) - folders == owed - not_owed


@pytest.mark.slow
def test_eurosat_with_a_small_model(tmp_path):
    """The whole way on a tree laid out like EuroSAT's: teacher, class vectors, student, table."""
    write_eurosat(tmp_path / "data")
    fast = ["OPTIM.MAX_EPOCH", "1", "TEACHER.OPTIM.MAX_EPOCH", "1", "USE_CUDA", "False"]
    words = [ROOT / SCRIPT, "eurosat", "1", "MODEL.BACKBONE.NAME", "mini-student"]
    places = {"DATA": str(tmp_path / "data"), "OUTPUT": str(tmp_path / "out"), "SHOTS": "2", "PYTHON": sys.executable}
    said = start(tmp_path, "bash", *words, *fast, **places)
    assert said.returncode == 0, said.stdout[-2000:] + said.stderr[-2000:]
    found = result(tmp_path / "out/base2new/eurosat/shots_all/PromptKD/mini/seed1")
    assert found["metrics"]["base"]["images"] == found["metrics"]["new"]["images"] == 15
    assert found["teacher"]["trainer"] == "PromptSRC" and found["transductive"]
    table = said.stdout[said.stdout.rindex("base2new, TRANSDUCTIVE") :]
    assert re.search(r"PromptKD mini-student <- PromptSRC mini-teacher +EuroSAT", table)
    again = start(tmp_path, "bash", *words, *fast, **places)
    assert again.returncode == 0 and again.stdout.count("Done already") == 2


def test_a_mistake_ends_a_script_with_one_line(tmp_path):
    said = start(tmp_path, "bash", ROOT / SCRIPT, "eurosatt", "1", PYTHON=sys.executable)
    assert said.returncode == 1 and said.stderr.startswith("error: no data set 'eurosatt'; closest: eurosat")
    assert len(said.stderr.splitlines()) == 1


def test_what_readme_names_is_there():
    for path in re.findall(r"(?:bash|python) ((?:scripts|tools|tests)/[\w/]+\.(?:sh|py))", README):
        assert (ROOT / path).is_file(), path
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
    for name in re.findall(r"`(?:bash )?((?:docs|scripts|datasets|clip|trainers|tools|tests)/[\w./-]+)`", README):
        assert (ROOT / name).exists() or name.startswith("clip/ViT"), name  # weights are named, not shipped


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ((?:tools|benchmarks)\.\w+)", README))))
def test_programs_of_readme_start(module):
    assert output(ROOT, sys.executable, "-m", module, "--help").startswith("usage:")
