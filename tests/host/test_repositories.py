"""`promptkd foreign` on three repositories in the field's manner, by the command line; their results in collect."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import trees
from conftest import tiny_config
from open_clip.model import CLIP as OpenClip

from promptkd.home import ROOT
from promptkd.host import bridges
from promptkd.host.plan import parse
from promptkd.tables import command as collect

REPOSITORIES = Path(__file__).parent / "repositories"
SIZE = ["INPUT.SIZE", "(32, 32)"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights: tiny CLIPs as OpenAI's state dicts, of widths 64 and 128."""
    folder = tmp_path_factory.mktemp("store")
    for name, width in (("ViT-T-16.pt", 64), ("ViT-B-16.pt", 64), ("wide.pt", 128)):
        config = tiny_config(24, width=width, layers=2)
        config["vision_cfg"]["head_width"], config["text_cfg"]["heads"] = 64, width // 64
        torch.manual_seed(3)
        state = {key: value.half() for key, value in OpenClip(**config, quick_gelu=True).state_dict().items()}
        torch.save({key: value for key, value in state.items() if key != "attn_mask"}, folder / name)
    return folder


def foreign(repository: str, output: Path, root: str, store: Path, *words: str, **environment: str):
    """The command in a process of its own."""
    command = [sys.executable, str(ROOT / "promptkd/__main__.py"), "foreign", str(REPOSITORIES / repository), *words]
    command += ["--output", str(output), "--root", root]
    variables = os.environ | {"CLIP_CACHE": str(store), "OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(command, capture_output=True, text=True, env=variables, cwd=output.parent, timeout=300)


def result(output: Path) -> dict:
    (path,) = output.rglob("results.json")
    return json.loads(path.read_text())


def state(folder: Path) -> str:
    """A hash of all files of a folder."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(f"{path}\0".encode() + path.read_bytes())
    return whole.hexdigest()


@pytest.mark.slow
def test_fork_of_coop_trains_on_base_and_is_measured_on_new(tmp_path, data_root, store, capsys):
    before = state(REPOSITORIES)
    words = ["--trainer", "CoOp", "--dataset", "eurosat", "--seeds", "1", "--cpu", "--shots", "2"]
    ran = foreign("context_fork", tmp_path / "out", data_root, store, *words, "MODEL.BACKBONE.NAME", "ViT-B/16")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert state(REPOSITORIES) == before, "nothing of the repository is changed"
    record = result(tmp_path / "out")
    about = record["foreign"]
    assert about["repository"].endswith("context_fork") and len(about["commit"]) == 40 and about["data"] == "ours"
    needed = {"missing_packages", "numpy_aliases", "verbose_schedulers", "no_gpu", "half_precision"}
    assert needed | {"data_sets"} <= set(about["bridges"]) <= {*bridges.all_bridges(), "its_dassl"}
    groups = record["metrics"]
    assert (groups["base"]["images"], groups["new"]["images"]) == (9, 6)
    assert groups["base"]["accuracy"] == pytest.approx(sum(groups["base"]["per_class"].values()) / 3)
    assert (record["trainer"], record["shots"], record["learned_parameters"], record["epochs"]) == ("CoOp", 2, 128, 1)
    collect.main([str(tmp_path / "out")])
    shown = capsys.readouterr().out
    assert f"CoOp ViT-B/16 [foreign: {about['repository']}@{about['commit'][:7]}" in shown
    again = foreign("context_fork", tmp_path / "out", data_root, store, *words, "MODEL.BACKBONE.NAME", "ViT-B/16")
    assert "1 done" in again.stdout and again.returncode == 0


@pytest.mark.slow
def test_fork_of_maple_has_its_own_clip_and_data_set(tmp_path, data_root, store):
    words = ["--trainer", "MaPLe", "--dataset", "eurosat", "--seeds", "1", "--cpu", *SIZE]
    tiny = ["MODEL.BACKBONE.NAME", "ViT-T/16"]
    ran = foreign("coupled_fork", tmp_path / "out", data_root, store, *words, *tiny)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    record = result(tmp_path / "out")
    assert {"base", "new", "hm"} <= record["metrics"].keys() and record["foreign"]["data"] == "theirs"
    (log,) = (tmp_path / "out").rglob("foreign.log")
    assert "EuroSAT is the repository's own (it has templates)" in log.read_text()
    assert {"stored_weights", "removed_modules", "half_precision"} <= set(record["foreign"]["bridges"])


@pytest.mark.slow
def test_user_of_the_toolkit_has_no_train_py_and_a_dassl_of_its_own(tmp_path, data_root, store):
    words = ["--trainer", "Progressive", "--dataset", "eurosat", "--protocol", "all", "--seeds", "1", "--cpu", *SIZE]
    words += ["MODEL.BACKBONE.NAME", str(store / "wide.pt"), "OPTIM.MAX_EPOCH", "1", "DATALOADER.NUM_WORKERS", "0"]
    ran = foreign("toolkit_user", tmp_path / "out", data_root, store, *words, "TRAINER.PROGRESSIVE.LAMBDA", "1.0")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    record = result(tmp_path / "out")
    assert record["metrics"]["all"]["images"] == 15 and record["protocol"] == "all"
    assert {"its_dassl", "our_train"} <= set(record["foreign"]["bridges"])


def test_a_sweep_has_their_trainers_beside_ours(tmp_path, data_root, capsys, monkeypatch):
    from promptkd.sweep import command as sweep

    monkeypatch.chdir(tmp_path)
    words = ["--trainers", f"{REPOSITORIES / 'context_fork'}:CoOp", "--datasets", "eurosat", "--seeds", "1", "2"]
    options = ["--set", "USE_CUDA", "False", "--data", data_root, "--output", str(tmp_path / "out"), "--dry-run"]
    assert sweep.main([*words, *options]) == 0
    shown = capsys.readouterr().out
    assert "2 runs: 2 missing" in shown and "base2new/eurosat/shots_16/CoOp@" in shown
    (job, _) = sweep.jobs_from(sweep.parser().parse_args([*words, *options]))
    assert parse(job.command[-1]).cpu and parse(job.command[-1]).config_hash() == job.config_hash


def test_several_shots_are_several_runs(tmp_path, data_root, capsys):
    from promptkd.host import command

    words = ["--trainer", "CoOp", "--dataset", "eurosat", "--protocol", "fewshot", "--shots", "1", "2", "--seeds", "1"]
    more = ["--root", data_root, "--output", str(tmp_path / "out"), "--dry-run"]
    assert command.main([str(REPOSITORIES / "context_fork"), *words, *more]) == 0
    shown = capsys.readouterr().out
    assert "2 runs: 2 missing" in shown and "eurosat/shots_1/" in shown and "eurosat/shots_2/" in shown


@pytest.mark.slow
def test_what_dg_learned_is_measured_elsewhere_and_is_that_of_cross(tmp_path, data_root, store, capsys):
    from promptkd.host import command

    root, output = tmp_path / "data", tmp_path / "out"
    trees.write_imagenet(root)
    trees.write_sketch(root)
    words = ["--trainer", "CoOp", "--seeds", "1", "--cpu", "--shots", "1", "MODEL.BACKBONE.NAME", "ViT-B/16"]
    more = ["--protocol", "dg", "--dataset", "imagenet_sketch", *words]
    ran = foreign("context_fork", output, str(root), store, *more)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    records = [json.loads(path.read_text()) for path in output.rglob("results.json")]
    seen = {(one["protocol"], one["dataset"]): one for one in records}
    assert seen.keys() == {("cross", "ImageNet"), ("dg", "ImageNetSketch")}
    assert all(one["learned_on"] == "ImageNet" for one in records)
    assert [seen[key]["metrics"]["all"]["images"] for key in sorted(seen)] == [8, 4]
    assert [seen[key]["eval_only"] for key in sorted(seen)] == [False, True]
    collect.main([str(output)])
    assert "dg from ImageNet" in capsys.readouterr().out
    more = ["--protocol", "cross", "--dataset", "imagenet", "eurosat", *words, "--dry-run"]
    places = ["--root", str(root), "--output", str(output)]
    assert command.main([str(REPOSITORIES / "context_fork"), *more, *places]) == 0
    assert "2 runs: 1 done, 1 missing" in capsys.readouterr().out


BAD = [
    ("context_fork", ["--trainer", "CoOpp"], "has no trainer 'CoOpp'; closest: CoOp. It has CoOp, Plotter"),
    ("", ["--trainer", "CoOp"], "has 2 train.py (context_fork/train.py and coupled_fork/train.py): give the folder of"),
    ("context_fork", ["--trainer", "CoOp", "--dataset", "mars"], "no data set 'mars': there are"),
    ("context_fork", ["--trainer", "CoOp", "--config", "large"], "no recipe of CoOp: it has tiny"),
    ("context_fork", ["--trainer", "CoOp", "SEED", "3"], "SEED is set by --seeds"),
    ("context_fork", ["--trainer", "CoOp", "--trust", "/nowhere.pt"], "--trust /nowhere.pt: there is no such file"),
    ("context_fork", ["--trainer", "CoOp", "--map-path", "data=x"], "write OLD=NEW, OLD an absolute path"),
    ("nowhere", ["--trainer", "CoOp"], "give the folder of a repository"),
]


@pytest.mark.parametrize(("repository", "words", "reason"), BAD, ids=[reason[:25] for *_, reason in BAD])
def test_what_makes_no_sense_is_one_line(tmp_path, data_root, capsys, repository, words, reason):
    from promptkd.host import command

    dataset = [] if "--dataset" in words else ["--dataset", "eurosat"]
    more = ["--root", data_root, "--output", str(tmp_path / "out"), *dataset]
    assert command.main([str(REPOSITORIES / repository), *words, *more]) == 1
    line = capsys.readouterr().err
    assert line.startswith("error: ") and reason in line and line.count("\n") == 1
    assert not (tmp_path / "out").exists()


FAILING = {
    "a package": ("context_fork", ["--trainer", "Plotter", "--config", "TINY", "MODEL.BACKBONE.NAME", "ViT-B/16"],
                  "its code needs the package plotnine, which is not installed: pip install plotnine"),
    "weights": ("context_fork", ["--trainer", "CoOp", "MODEL.BACKBONE.NAME", "ViT-L/14"], "cannot fetch the weights"),
    "sizes": ("coupled_fork", ["--trainer", "MaPLe", "MODEL.BACKBONE.NAME", "ViT-T/16"],
              "sizes that are typed in do not fit this CLIP: trainers/maple.py:20 asks for 64 (`self.proj"),
    "a pickle": ("coupled_fork", ["--trainer", "MaPLe", "TRAINER.MAPLE.WORDS", "PICKLE"],
                 "holds more than tensors, and reading that runs what it says: name it by --trust"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", FAILING)
def test_what_fails_in_their_code_is_one_line_with_its_log(tmp_path, data_root, store, what):
    repository, words, reason = FAILING[what]
    (tmp_path / "words.pkl").write_bytes(pickle.dumps({"words": signal.SIGTERM}))
    recipe = str(REPOSITORIES / "context_fork/configs/trainers/CoOp/tiny.yaml")
    words = [{"TINY": recipe, "PICKLE": str(tmp_path / "words.pkl")}.get(word, word) for word in words]
    if what == "sizes":
        (tmp_path / "wide").mkdir()
        (tmp_path / "wide/ViT-T-16.pt").symlink_to(store / "wide.pt")
        store = tmp_path / "wide"
    more = ["--dataset", "eurosat", "--seeds", "1", "--cpu"]
    nowhere = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    ran = foreign(repository, tmp_path / "out", data_root, store, *words, *more, **nowhere)
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("error: ")]
    assert ran.returncode == 1 and reason in line and "; its log: " in line, line
    assert Path(line.rpartition("; its log: ")[2]).is_file() and not list((tmp_path / "out").rglob("results.json"))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["hung", "killed"])
def test_a_child_that_hangs_or_is_killed(tmp_path, data_root, store, how):
    words = ["--trainer", "CoOp", "--dataset", "eurosat", "--seeds", "1", "--cpu", "TRAINER.COOP.HANG", "True"]
    words += ["MODEL.BACKBONE.NAME", "ViT-B/16"]
    patience = "0.25" if how == "hung" else "5"
    command = [sys.executable, str(ROOT / "promptkd/__main__.py"), "foreign", str(REPOSITORIES / "context_fork")]
    command += [*words, "--patience", patience, "--output", str(tmp_path / "out"), "--root", data_root]
    variables = os.environ | {"CLIP_CACHE": str(store), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)
    if how == "killed":
        assert kill_step(tmp_path / "out"), "the step has begun"
    printed = process.communicate(timeout=120)[0]
    expected = "gave no sign of life for 0.25 minutes" if how == "hung" else "was killed by SIGKILL"
    (line,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert process.returncode == 1 and expected in line and "foreign.log" in line
    assert steps_of(tmp_path / "out") == [], "nothing of it runs on"


def steps_of(output: Path) -> list[int]:
    """The processes that run a step of a directory below `output`."""
    record = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "--step" in words and any(word.startswith(str(output)) for word in words):
            record.append(int(folder.name))
    return record


def kill_step(output: Path) -> bool:
    """Kills the process of a run's step, once its log says that the repository's code runs."""
    for _ in range(600):
        logs = list(output.rglob("foreign.log"))
        if logs and "Loading trainer" in logs[0].read_text():
            for process in steps_of(output):
                os.kill(process, signal.SIGKILL)
            return True
        time.sleep(0.1)
    return False
