"""trainers, datasets and clip under both of their names: one module each, and nobody else's package is hidden.

A made-up checkout (this package's own `__init__`, guests and home; small guests) is imported by fresh processes in
every order, beside foreign packages of the same names; the real one by one.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from programs import output

from promptkd.home import ROOT

COUNT = "import builtins; builtins.__dict__.setdefault('LOADED', []).append(__file__)\n"
GUESTS = {
    "trainers/__init__.py": "from . import coop",
    "trainers/base.py": "from promptkd.model import part",
    "trainers/coop.py": "from promptkd.clip.clip import load\nfrom .base import part\nclass CoOp: ...",
    "datasets/imagenet.py": "import promptkd.model",
    "datasets/oxford_pets.py": "import promptkd.model\nfrom .imagenet import promptkd\nclass OxfordPets: ...",
    "clip/__init__.py": "from promptkd.model import part\nfrom .clip import *",
    "clip/clip.py": "from promptkd.model import part\nfrom .model import CLIP\ndef load(): ...",
    "clip/model.py": "class CLIP: ...",
    "promptkd/model/__init__.py": "",
    "promptkd/model/part.py": "",
}
MODULES = ("trainers.coop", "trainers.base", "datasets.oxford_pets", "datasets.imagenet", "clip.clip", "clip.model")
CHECK = f"""
import importlib, sys
for name in {MODULES}:
    assert importlib.import_module(name) is importlib.import_module("promptkd." + name), name
    assert sys.modules[name].__spec__.name == sys.modules[name].__name__, name
    assert sys.modules[name.partition(".")[0]] is sys.modules["promptkd." + name.partition(".")[0]], name
assert len(LOADED) == len(set(LOADED)), sorted(LOADED)
"""
HUGGING_FACE = {
    "datasets/__init__.py": "THEIRS = 1\nfrom .load import load_dataset",
    "datasets/load.py": "load_dataset = 1",
}
OPENAI = {"clip/__init__.py": "THEIRS = 1\nfrom .clip import *", "clip/clip.py": "def load(): ...\nTHEIRS = 1"}
FIRST = ("promptkd", "trainers.coop", "datasets.oxford_pets", "clip.clip")
# `datasets`, a folder without a line of code, is the one guest whose import does not import promptkd.
ORDERS = [(name,) for name in (*FIRST, "promptkd.trainers", "promptkd.datasets.imagenet")]
ORDERS += [("datasets", name) for name in (*FIRST, "promptkd.datasets")] + [("trainers", "clip"), ("clip", "trainers")]


def write(folder: Path, files: dict[str, str]) -> Path:
    """Writes files that note in builtins.LOADED when they are executed; returns the folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{COUNT if 'promptkd' not in name else ''}{text}\n")
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose guests hold a line each."""
    folder = write(tmp_path_factory.mktemp("made") / "checkout", GUESTS)
    for name in ("__init__.py", "guests.py", "home.py"):
        shutil.copy(ROOT / "promptkd" / name, folder / "promptkd" / name)
    return folder


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What site-packages may hold: regular packages `datasets` and `clip`."""
    return write(tmp_path_factory.mktemp("site"), HUGGING_FACE | OPENAI)


def python(code: str, *paths: Path) -> str:
    """The output of a fresh process, elsewhere; `paths` are its PYTHONPATH."""
    path = os.pathsep.join(map(str, paths))
    return output(os.sep, sys.executable, "-c", code, PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1").strip()


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_both_names_lead_to_one_module_in_every_order(checkout, order):
    python("\n".join(f"import {name}" for name in order) + CHECK, checkout)


@pytest.mark.parametrize("first", FIRST)
def test_a_link_to_the_checkout_is_the_checkout(checkout, tmp_path, first):
    (tmp_path / "link").symlink_to(checkout)
    python(f"import {first}{CHECK}", tmp_path / "link")


@pytest.mark.parametrize("behind", [True, False], ids=["behind", "ahead"])
def test_hugging_face_keeps_its_name(checkout, foreign, tmp_path, behind):
    """Wherever it is on the path; our data sets are still below it, once this package is there."""
    shutil.copytree(foreign / "datasets", tmp_path / "datasets")
    paths = (checkout, tmp_path) if behind else (tmp_path, checkout)
    theirs = "from datasets import load_dataset\nimport datasets, datasets.load\nassert datasets.THEIRS\n"
    ours = "import datasets.oxford_pets, promptkd.datasets.oxford_pets\n"
    same = "assert datasets.oxford_pets is promptkd.datasets.oxford_pets\n"
    one = "assert len(LOADED) == len(set(LOADED)), LOADED\nassert datasets is not promptkd.datasets\n"
    for code in (
        f"{theirs}import promptkd\n{ours}",
        f"import promptkd\n{theirs}{ours}",
        f"import promptkd\n{ours}{theirs}",
    ):
        python(code + same + one, *paths)
    python(
        f"import promptkd.datasets.oxford_pets, sys\nassert 'datasets' not in sys.modules\n{theirs}{ours}{same}{one}",
        *paths,
    )


def test_clip_is_whose_path_comes_first(checkout, foreign, tmp_path):
    shutil.copytree(foreign / "clip", tmp_path / "clip")
    ours = "assert not hasattr(clip, 'THEIRS') and clip is promptkd.clip and clip.clip is promptkd.clip.clip"
    theirs = "assert clip.THEIRS and clip.clip.THEIRS and clip is not promptkd.clip\nassert promptkd.clip.clip.CLIP"
    for imports in ("import promptkd.clip.clip, clip.clip", "import clip.clip, promptkd.clip.clip"):
        python(f"{imports}\n{ours}", checkout, tmp_path)
        python(f"{imports}\n{theirs}\nassert len(LOADED) == len(set(LOADED))", tmp_path, checkout)


def test_a_users_folder_called_datasets_adds_nothing(checkout, tmp_path):
    """Without `__init__.py` it shares the name with ours: its files are no data sets."""
    write(
        tmp_path, {"datasets/imagenet.py": "raise SystemExit('theirs')", "datasets/more.py": "raise SystemExit('more')"}
    )
    register = "from promptkd.guests import register\nregister()\n"
    python(f"{register}{CHECK}", tmp_path, checkout)
    python(f"import datasets\n{register}{CHECK}", tmp_path, checkout)


def test_an_unknown_module_is_named_as_it_was_asked_for(checkout):
    for name in ("trainers.nothing", "promptkd.datasets.nothing", "clip.nothing"):
        code = f"import promptkd\ntry:\n    import {name}\nexcept ModuleNotFoundError as error:\n    print(error.name)"
        assert python(code, checkout) == name


@pytest.mark.parametrize("first", ["promptkd", "trainers.coop", "datasets.oxford_pets"])
def test_classes_are_pickled_to_other_processes(checkout, first):
    """To a spawned one, too, whose first import is the class's module."""
    code = """
import pickle, multiprocessing
from trainers.coop import CoOp
from datasets.oxford_pets import OxfordPets
from promptkd.trainers.coop import CoOp as same
assert CoOp is same and pickle.loads(pickle.dumps(CoOp)) is CoOp
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(type, [CoOp(), OxfordPets()]) == [CoOp, OxfordPets]
"""
    python(f"import {first}\n{code}", checkout)


def test_patches_by_name_reach_the_module(checkout):
    code = """
import pytest, promptkd.trainers.coop
with pytest.MonkeyPatch.context() as patch:
    patch.setattr("trainers.coop.CoOp", 1)
    patch.setattr("promptkd.datasets.oxford_pets.OxfordPets", 2)
    from datasets import oxford_pets
    assert (promptkd.trainers.coop.CoOp, oxford_pets.OxfordPets) == (1, 2)
"""
    python(code + CHECK, checkout)


def test_reload_and_module_starts(checkout):
    python("import promptkd, importlib, trainers.base as base\nassert importlib.reload(base) is base", checkout)
    for module in ("clip.model", "datasets.imagenet", "trainers.base"):
        output(os.sep, sys.executable, "-m", module, PYTHONPATH=str(checkout))


def test_elsewhere_the_plain_names_are_free(checkout):
    """As after `pip install -e .`, which makes `promptkd` importable and leaves the checkout out of the path."""
    code = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("promptkd", r"{checkout}/promptkd/__init__.py")
promptkd = sys.modules["promptkd"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(promptkd)
import promptkd.trainers.coop, promptkd.datasets.oxford_pets
for name in ("trainers", "datasets", "clip"):
    assert name not in sys.modules and importlib.util.find_spec(name) is None, name
"""
    python(code)


@pytest.mark.slow
def test_the_checkout_itself():
    """The plain name first, which the real guests' own imports of this package must stand."""
    code = """
from clip import clip as face
import clip.clip, trainers.coop, datasets.emoji, promptkd.clip.clip, promptkd.trainers.coop, promptkd.datasets.emoji
assert face is clip.clip is promptkd.clip.clip
assert trainers.coop is promptkd.trainers.coop and datasets.emoji is promptkd.datasets.emoji
from promptkd import guests
guests.register()
"""
    python(code, ROOT)
