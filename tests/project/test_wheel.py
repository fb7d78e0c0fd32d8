"""`pip install .`: the package list, the wheel, and an installed package beside foreign `datasets` and `clip`."""

from __future__ import annotations

import email
import fnmatch
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from programs import output

from promptkd import __version__
from promptkd.home import ROOT

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUP = PROJECT["tool"]["setuptools"]
FOLDERS = {"promptkd": "promptkd", **SETUP["package-dir"]}  # package -> its folder in the checkout
NOT_SHIPPED = ("__pycache__/*", "*/__pycache__/*", "*.py", "emoji/*", "emoji_shifted/*", "glyphs/*", "mini/README.md")
pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def requirements(path: str) -> set[str]:
    """Lines of a requirements file without comments."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def python_files(folder: Path) -> list[Path]:
    """The Python files below a folder, without caches."""
    return [path for path in sorted(folder.rglob("*.py")) if "__pycache__" not in path.parts]


def shipped() -> dict[str, Path]:
    """Path in the wheel -> file of the checkout, of all that is code or belongs to it."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            inside = path.relative_to(ROOT / folder).as_posix()
            kept = path.suffix == ".py" or not any(fnmatch.fnmatch(inside, pattern) for pattern in NOT_SHIPPED)
            if path.is_file() and kept and "__pycache__" not in path.parts:
                found[f"{package.replace('.', '/')}/{inside}"] = path
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of this checkout, built with what is installed."""
    pytest.importorskip("setuptools")
    copy, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for folder in FOLDERS.values():
        shutil.copytree(
            ROOT / folder,
            copy / folder,
            ignore=shutil.ignore_patterns("__pycache__", "emoji", "emoji_shifted", "glyphs"),
        )
    command = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(built), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = built.glob("*.whl")
    return path


def test_packages_are_the_folders_on_disk():
    found = []
    for package, folder in FOLDERS.items():
        places = {package} | {
            ".".join((package, *path.relative_to(ROOT / folder).parent.parts)) for path in python_files(ROOT / folder)
        }
        found += sorted(place.removesuffix(".") for place in places)
    assert SETUP["packages"] == found  # in this order, so that a missing one is quickly placed


def test_requirements_say_what_the_package_says():
    extras = PROJECT["project"]["optional-dependencies"]
    assert requirements("requirements.txt") - {"-e ./toolkit"} == {
        *PROJECT["project"]["dependencies"],
        *extras["download"],
    }
    assert requirements("requirements-dev.txt") == set(extras["test"])
    toolkit = tomllib.loads((ROOT / "toolkit" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = {re.split(r"[<>=]", line)[0] for line in PROJECT["project"]["dependencies"]}
    assert {re.split(r"[<>=]", line)[0] for line in toolkit["dependencies"]} <= ours


def test_every_dependency_has_its_reason():
    reasons = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    rows = " ".join(line.split("|")[1] for line in reasons.splitlines() if line.startswith("|"))
    extras = [line for lines in PROJECT["project"]["optional-dependencies"].values() for line in lines]
    for line in PROJECT["project"]["dependencies"] + extras:
        assert re.search(rf"\b{re.split(r'[<>=]', line)[0]}\b", rows), line


def test_the_wheel_takes_nobodys_name(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        about = email.message_from_bytes(archive.read(metadata))
    assert {name.partition("/")[0] for name in names} == {"promptkd", "dassl", metadata.partition("/")[0]}
    assert (about["Name"], about["Version"]) == ("promptkd", __version__)
    assert set(about.get_all("Provides-Extra")) == set(PROJECT["project"]["optional-dependencies"])


def test_the_wheel_holds_every_file(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert inside - {"promptkd/clip/mini/README.md"} == set(shipped())
        for name in (
            "promptkd/configs/base.yaml",
            "promptkd/datasets/emoji_others.zip",
            "promptkd/pages/page.css",
        ):
            assert archive.read(name) == shipped()[name].read_bytes()


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages: ours, and made-up ones that have the names of our folders."""
    target = tmp_path_factory.mktemp("installed")
    command = [*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("datasets", "clip", "trainers", "tools"):
        (target / name).mkdir()
        (target / name / "__init__.py").write_text("def load_dataset(): ...\n")
    return target


def outside(installed: Path, place: Path, *words: str | Path) -> str:
    """The output of a command of another folder, with the installed packages and without the checkout."""
    return output(place, *words, PYTHONPATH=str(installed), CUDA_VISIBLE_DEVICES="")


def test_installed_beside_packages_of_the_same_names(installed, tmp_path):
    code = (
        "import datasets, clip, trainers, promptkd; print(promptkd.__file__, datasets.load_dataset, clip.load_dataset)"
    )
    shown = outside(installed, tmp_path, sys.executable, "-c", code)
    assert shown.startswith(str(installed / "promptkd"))
    console = [sys.executable, str(installed / "bin" / "promptkd")]
    assert "launch" in outside(installed, tmp_path, *console, "--help")
    assert outside(installed, tmp_path, *console, "train", "--help").startswith("usage: promptkd train")
    assert outside(installed, tmp_path, *console, "--version") == f"promptkd {__version__}\n"


@pytest.mark.slow
def test_an_installed_package_trains_predicts_and_launches(installed, tmp_path):
    """Every method and data set of the wheel, from a folder of the user's; what is written lies in that folder."""
    configs = installed / "promptkd" / "configs"
    console = [sys.executable, str(installed / "bin" / "promptkd")]
    small = ["DATALOADER.NUM_WORKERS", "0", "USE_CUDA", "False"]
    recipe = ["--config-file", str(configs / "trainers/ZeroshotCLIP/mini.yaml"), "--trainer", "ZeroshotCLIP"]
    data = ["--root", "data", "--dataset-config-file", str(configs / "datasets/emoji.yaml")]
    before = {path for path in installed.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    outside(installed, tmp_path, *console, "train", *data, *recipe, "--seed", "1", "--output-dir", "run", *small)
    assert (tmp_path / "run" / "results.json").is_file()
    image = next((tmp_path / "data" / "emoji" / "images").rglob("*.png"))
    assert "probability %" in outside(installed, tmp_path, *console, "predict", "run", str(image))
    words = ["base2new", "ZeroshotCLIP", "emoji", "1", "MODEL.BACKBONE.NAME", "mini-student", *small]
    assert "ZeroshotCLIP mini-student" in outside(installed, tmp_path, *console, "launch", *words)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "output", "run"}
    assert {path for path in installed.rglob("*") if path.is_file() and path.suffix != ".pyc"} == before
