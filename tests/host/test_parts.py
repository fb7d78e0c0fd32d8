"""The parts of `promptkd foreign` one by one: the copy, the bridges, explanations; in this process where it is safe."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from dassl.data.datasets import DatasetBase
from promptkd.home import ROOT
from promptkd.host import bridges, repository
from promptkd.host.bridges.data import difference
from promptkd.host.command import read_words
from promptkd.host.copy import copy_of
from promptkd.host.explain import explain
from promptkd.host.plan import ForeignPlan, parse, read


def python(code: str, folder: Path) -> str:
    """The output of a fresh process in which the bridges are up for a copy in `folder`."""
    before = f"""
        import sys
        from pathlib import Path
        from promptkd.host.bridges import Crossing, all_bridges
        from promptkd.host.imports import RepositoryFinder
        folder = Path({str(folder)!r})
        crossing = Crossing(folder, Path("/theirs"), cpu=True, trust=(folder / "named.pt",))
        sys.path.insert(0, {str(folder)!r})
        sys.meta_path.insert(0, RepositoryFinder(crossing.folder))
        bridges = all_bridges()
    """
    whole = textwrap.dedent(before) + textwrap.dedent(code)
    ran = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path = path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


def test_words_and_pairs_are_told_apart():
    words = "REPO --seeds 1 2 TASK B2N --trainer LAMM --cpu --dataset dtd eurosat TRAINER.COOP.CSC True".split()
    args = read_words(words)
    assert (args.seeds, args.trainer, args.datasets, args.cpu) == ([1, 2], "LAMM", ["dtd", "eurosat"], True)
    assert args.opts == ["TASK", "B2N", "TRAINER.COOP.CSC", "True"]


def test_copy_maps_paths_and_leaves_a_dassl_out(tmp_path):
    base = write(tmp_path / "theirs", train="ROOT = '/home/author/data'\nOTHER = '/home/author/data2'", dassl__x="")
    (tmp_path / "scratch").mkdir()
    copy = copy_of(base, tmp_path / "scratch", {"/home/author/data": "/mine"})
    assert (copy.folder / "train.py").read_text() == "ROOT = '/mine'\nOTHER = '/home/author/data2'"
    assert (copy.mapped, copy.left) == (["train.py:1"], ["dassl"]) and not (copy.folder / "dassl").exists()
    assert "author/data'" in (base / "train.py").read_text()


def test_repositories_modules_come_first_without_an_init_file(tmp_path):
    write(tmp_path, trainers__mine="WHOSE = 'theirs'", datasets__mine="WHOSE = 'theirs'", clip__clip="WHOSE = 'theirs'")
    code = """
        from trainers import mine
        from datasets import mine as data
        from clip import clip
        print(mine.WHOSE, data.WHOSE, clip.WHOSE)
        import promptkd.datasets.eurosat, promptkd.clip.clip
        print(promptkd.datasets.eurosat.EuroSAT.__name__, hasattr(promptkd.clip.clip, "WHOSE"))
    """
    assert python(code, tmp_path).split() == ["theirs", "theirs", "theirs", "EuroSAT", "False"]


def test_missing_packages_are_empty_until_they_are_used(tmp_path):
    write(
        tmp_path,
        unused="import imp, not_there.inner as x\nfrom not_there import y\nfrom torch._six import string_classes",
        ready="try:\n    import not_there_either\nexcept ImportError:\n    not_there_either = None",
        used="import not_there\nclass Plot(not_there.Base): ...",
    )
    code = """
        bridges["removed_modules"](crossing)
        bridges["missing_packages"](crossing)
        import unused, ready
        print(ready.not_there_either, unused.imp.reload.__name__, unused.string_classes, sorted(crossing.used))
        try:
            import used
        except ImportError as error:
            print(error)
        try:
            import nowhere
        except ModuleNotFoundError as error:
            print("not of the repository:", error)
    """
    printed = python(code, tmp_path).splitlines()
    assert "None reload (<class 'str'>, <class 'bytes'>) ['missing_packages', 'removed_modules']" in printed
    assert printed[-2:] == [
        "not_there is not installed: pip install not_there",
        "not of the repository: No module named 'nowhere'",
    ]


def test_old_pytorch_numpy_and_gpus(tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "tensors.pt")
    torch.save({"path": Path("x")}, tmp_path / "named.pt")
    torch.save({"path": Path("x")}, tmp_path / "other.pt")
    code = f"""
        for name in ("numpy_aliases", "trusted_files", "verbose_schedulers", "no_gpu", "half_precision"):
            bridges[name](crossing)
        import numpy as np, torch
        from torch import nn
        from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler
        print(np.int(3.5), np.float is float, np.Inf)
        folder = {str(tmp_path)!r}
        print(torch.load(folder + "/tensors.pt", map_location="cuda")["weight"].tolist())
        crossing.trust and print(torch.load(folder + "/named.pt")["path"])
        try:
            torch.load(folder + "/other.pt")
        except ValueError as error:
            print(error)
        layer = nn.Linear(2, 2).cuda().half().to("cuda:0")
        x = torch.ones(1, 2, device="cuda", dtype=torch.float16).to(torch.device("cuda")).type(torch.float16)
        y = layer(x)
        print(y.dtype, y.device, layer.weight.dtype)
        y.sum().backward()
        torch.cuda.synchronize()
        optimiser = torch.optim.SGD(layer.parameters(), 1.0)
        class Warm(LRScheduler):
            def __init__(self, optimizer, last_epoch=-1, verbose=False):
                super().__init__(optimizer, last_epoch, verbose)
            def get_lr(self):
                return [0.5]
        CosineAnnealingLR(optimiser, 3, verbose=True), Warm(optimiser)
        print(optimiser.param_groups[0]["lr"], sorted(crossing.used))
    """
    printed = [line for line in python(code, tmp_path).splitlines() if not line.startswith("[bridge]")]
    assert printed[:3] == ["3 True inf", "[1.0, 1.0]", "x"]
    assert "other.pt holds more than tensors" in printed[3] and "--trust" in printed[3]
    assert printed[4] == "torch.float32 cpu torch.float32"
    used = ["half_precision", "no_gpu", "numpy_aliases", "trusted_files", "verbose_schedulers"]
    assert printed[5] == f"0.5 {used}"


class Ours(DatasetBase):
    dataset_dir = "things"
    split_file = "split.json"


class Same(DatasetBase):
    dataset_dir = "things"

    def __init__(self, cfg):
        self.split_path = "split.json"
        super().__init__(train_x=[], val=[], test=[])


class Pool(DatasetBase):
    dataset_dir = "things"

    def __init__(self, cfg):
        self.split_path = "split.json"
        super().__init__(train_x=[], train_u=[], test=[])


class Told(DatasetBase):
    dataset_dir = "things"

    def __init__(self, cfg):
        self.templates = ["split.json"]


class OtherSplit(DatasetBase):
    dataset_dir = "things"


class OtherFolder(DatasetBase):
    dataset_dir = "stuff"


def test_data_sets_of_one_layout_alone_are_ours():
    reasons = [difference(kind, Ours) for kind in (Same, Pool, Told, OtherSplit, OtherFolder)]
    assert reasons[:3] == ["", "it gives train_u", "it has templates"]
    assert reasons[3:] == ["it reads no split.json", "it lies in another folder"]


def failure(folder: Path, code: str) -> str:
    """The explanation of what the code of a repository's trainer raises."""
    file = folder / "trainers.py"
    file.write_text(textwrap.dedent(code))
    try:
        exec(compile(file.read_text(), str(file), "exec"), {})
    except BaseException as error:
        return explain(error, folder, "trainers.py")
    raise AssertionError("it raised nothing")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "import torch\ntorch.nn.Linear(512, 4)(torch.ones(2, 96))",
            "trainers.py:2 asks for 512 (`torch.nn.Linear",
        ),
        (
            "import surely_missing",
            "needs the package surely_missing, which is not installed: pip install surely_missing",
        ),
        ("open('/home/author/x.pt')", "no file /home/author/x.pt: where it is a path of its authors, give --map-path"),
        ("raise RuntimeError('Torch not compiled with CUDA enabled')", "asks for a GPU: give --cpu"),
        ("raise SystemExit(2)", "its train.py ended with exit code 2"),
        ("raise KeyError('Non-existent config key: TASK')", "its configuration has no key TASK"),
        ("x = 1\nraise ValueError('two\\nlines')", "ValueError: two lines (trainers.py:2: raise ValueError"),
    ],
)
def test_explanations(tmp_path, code, reason):
    line = failure(tmp_path, code)
    assert reason in line and "\n" not in line


def test_plan_is_kept_and_damage_is_named(tmp_path):
    plan = ForeignPlan("/r", "r", None, [], "d", "CoOp", "dtd", "all", 16, 1, "/data", str(tmp_path / "run"))
    path = plan.write()
    assert read(path) == plan == parse(plan.text()) and plan.config_hash() == read(path).config_hash()
    other = ForeignPlan(**{**vars(plan), "options": ["OPTIM.LR", "1"]})
    assert other.config_hash() != plan.config_hash()
    with pytest.raises(ValueError, match="holds another run"):
        other.write()
    for text in ("[]", '{"surprise": 1}', path.read_text().replace('"seed": 1', '"seed": "1"')):
        path.write_text(text)
        with pytest.raises(ValueError):
            read(path)


def test_every_bridge_is_on_the_page():
    page = (ROOT / "docs/foreign.md").read_text()
    for name, bridge in bridges.all_bridges().items():
        assert f"`{name}`" in page and bridge.__doc__


def test_repository_tells_its_trainers_and_its_commit():
    theirs = repository.find(Path(__file__).parent / "repositories/context_fork")
    assert set(theirs.trainers) == {"CoOp", "Plotter"} and theirs.trainers["CoOp"].name == "coop.py"
    assert theirs.name.endswith("tests/host/repositories/context_fork") and len(theirs.commit or "") == 40
    assert theirs.digest() == theirs.digest() and theirs.mentions("SUBSAMPLE_CLASSES")
