"""No script, command or `-m` start imports what lies in the user's current folder, whatever its name."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from programs import start

from promptkd.home import ROOT

TOOLS = sorted(path.stem for path in (ROOT / "tools").glob("*.py"))
# Names of ours, and of packages that ours import.
SINGLE = ("train", "promptkd", "yaml", "tqdm", "torch", "numpy", "yacs", "tabulate", "dassl", "PIL", "open_clip")
FOLDERS = ("tools", "datasets", "clip", "trainers", "configs", "scripts")
NOTE = "open(__file__ + '.imported', 'w').close()\n"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A user's folder with modules and packages of those names, each of which notes that it was imported."""
    folder = tmp_path / "work"
    for name in SINGLE:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(NOTE)
    for name in FOLDERS:
        (folder / name).mkdir()
        for module in ("__init__", *TOOLS, "imagenet", "clip", "coop"):
            (folder / name / f"{module}.py").write_text(NOTE)
    return folder


def imported(folder: Path) -> list[str]:
    """The files of a hostile folder that were imported."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.imported"))


@pytest.mark.parametrize("words", ["base2new CoOp nothing", "xd_train CoOp nothing", "folder PromptKD nothing classes"])
def test_scripts(hostile, words):
    """What all of scripts/ call, tests/project/test_scripts.py shows; a word that names nothing ends them early."""
    done = start(hostile, "bash", ROOT / "scripts" / "launch.sh", *words.split(), PYTHON=sys.executable)
    assert done.returncode == 1 and re.fullmatch("error: .*nothing.*\n", done.stderr), done.stderr
    assert imported(hostile) == []


LOADS_TORCH = ("classes", "data", "demo", "export", "predict", "serve")
ENDS = {  # arguments with which a command has imported what it needs, and ends
    "card": (["nothing"], 1),
    "classes": (["nothing"], 1),
    "collect": (["."], 1),
    "data": (["check", "nothing", "--root", "."], 1),
    "demo": (["nothing"], 1),
    "export": (["nothing"], 1),
    "launch": (["base2new", "CoOp", "nothing"], 1),
    "predict": (["nothing", "image.png"], 1),
    "push": (["nothing", "owner/name"], 1),
    "serve": (["nothing"], 1),
    "sweep": (["--datasets", "nothing", "--trainers", "CoOp", "--dry-run"], 1),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LOADS_TORCH else ()) for name in TOOLS]
)
def test_tools(hostile, name):
    words, code = ENDS[name]
    done = start(hostile, sys.executable, ROOT / "tools" / f"{name}.py", *words)
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    assert imported(hostile) == []


@pytest.mark.slow
def test_train_by_its_path(hostile):
    done = start(hostile, sys.executable, ROOT / "train.py", "--trainer", "CoOp", "--config-file", "nothing.yaml")
    assert done.returncode == 1 and "no configuration file nothing.yaml" in done.stderr, done.stderr
    assert imported(hostile) == []


@pytest.mark.slow
def test_the_package_by_its_name(hostile):
    """A promptkd.py of the folder is the one thing that nobody can help: Python itself looks there for the name."""
    (hostile / "promptkd.py").unlink()
    words = ["train", "--trainer", "CoOp", "--config-file", "nothing.yaml"]
    done = start(hostile, sys.executable, "-m", "promptkd", *words, PYTHONPATH=str(ROOT))
    assert done.returncode == 1 and "no configuration file nothing.yaml" in done.stderr, done.stderr
    assert imported(hostile) == []


def test_the_console_script(hostile, tmp_path):
    """As pip writes it: a file in a folder of its own."""
    script = tmp_path / "bin" / "promptkd"
    script.parent.mkdir()
    script.write_text("import sys\nfrom promptkd.__main__ import main\nsys.exit(main())\n")
    done = start(hostile, sys.executable, script, "collect", ".", PYTHONPATH=str(ROOT))
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert imported(hostile) == []


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH is new in Python 3.11")
def test_starts_under_pythonsafepath_and_in_isolation(hostile):
    """Where Python puts no folder first, none is taken away: the user's PYTHONPATH stays whole."""
    shown = "import runpy, sys\nsys.argv = sys.argv[1:]\ntry:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
    shown += "except SystemExit as end:\n    print('PATH', end.code, sys.path)\n"
    for program in (["tools/sweep.py"], ["promptkd/__main__.py", "sweep"], ["train.py"]):
        words = [ROOT / program[0], *program[1:], "--help"]
        done = start(hostile, sys.executable, "-c", shown, *words, PYTHONSAFEPATH="1", PYTHONPATH="/first:/second")
        path = done.stdout.rpartition("PATH 0 ")[2]
        assert path.startswith(f"['{ROOT}', '/first', '/second', "), done.stdout + done.stderr
        for flags in ({"PYTHONSAFEPATH": "1"}, {}):
            done = start(hostile, sys.executable, *(() if flags else ("-I",)), *words, **flags)
            assert done.returncode == 0, done.stderr
    assert imported(hostile) == []


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH is new in Python 3.11")
def test_what_python_starts_below_a_command_is_safe_too(hostile):
    """Spawned workers are `python -c`, and import socket: one of the folder would be theirs."""
    (hostile / "socket.py").write_text(NOTE)
    code = "import multiprocessing, sys\nfrom promptkd.__main__ import start\nif __name__ == '__main__':\n"
    code += "    sys.argv[1:] = ['--version']\n    start()\n"
    code += "    worker = multiprocessing.get_context('spawn').Process(target=print, args=('done',))\n"
    code += "    worker.start()\n    worker.join()\n"
    script = hostile.parent / "below.py"
    script.write_text(code)
    done = start(hostile, sys.executable, script, PYTHONPATH=str(ROOT))
    assert "done" in done.stdout, done.stderr
    assert imported(hostile) == []


def test_quickstart_and_test_start_in_the_project(hostile, tmp_path):
    """Python's own modules that they start by name (venv, pip, pytest) start in the project's folder."""
    project = tmp_path / "project"
    shutil.copytree(ROOT / "scripts", project / "scripts")
    (project / "toolkit").mkdir()
    for name in ("requirements.txt", "requirements-dev.txt", "toolkit/pyproject.toml"):
        shutil.copy(ROOT / name, project / name)
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/usr/bin/env bash\necho "$PWD: $*"\n')
    python.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = start(hostile, "bash", project / "scripts" / "quickstart.sh", "1", "OPTIM.MAX_EPOCH", "1", PATH=path)
    install, launch = done.stdout.splitlines()[-2:]
    assert install.startswith(f"{project}: -m pip install") and install.endswith("-r requirements.txt"), done.stderr
    assert launch == f"{hostile}: {project}/promptkd/__main__.py launch base2new PromptKD emoji 1 OPTIM.MAX_EPOCH 1"
    done = start(hostile, "bash", project / "scripts" / "test.sh", "-k", "one", PATH=path)
    checks = [line.partition(": -m ")[2] for line in done.stdout.splitlines() if line.startswith(f"{project}: ")]
    assert checks[1:-1] == ["ruff check .", "ruff format --check .", "mypy"], done.stderr
    assert re.fullmatch("pytest .*-k one", checks[-1])
    assert imported(hostile) == []
