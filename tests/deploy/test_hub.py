"""An exported folder goes to a hub and comes back; what is wrong with either is one line."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from fake_hub import TOKEN, FakeHub, Repository
from PIL import Image
from programs import start
from tiny_runs import KD

import promptkd
from promptkd.deploy import export, hub, push
from promptkd.deploy.opening import local_folder
from promptkd.home import ROOT

pytest.importorskip("huggingface_hub")
Command = Callable[..., CompletedProcess]
DOWNLOAD = "import sys; from promptkd.deploy.hub import download; print(download(sys.argv[1]))"


@pytest.fixture(scope="module")
def folder(run, clips, tmp_path_factory) -> Path:
    """The exported folder of a PromptKD run."""
    place = tmp_path_factory.mktemp("student")
    words = [*KD, "TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAINER.MODAL", "cross"]
    run("PromptKD", place / "run", *words, epochs=1)
    assert export.main([str(place / "run"), str(place / "export"), "--format", "safetensors"]) == 0
    return place / "export"


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    with FakeHub() as server:
        yield server


@pytest.fixture
def command(fake, tmp_path) -> Command:
    """`promptkd WORDS...` (or Python, with -c) against the fake hub, with a cache of its own."""

    def started(*words: str | Path, token: str = TOKEN, **environment: str) -> CompletedProcess:
        known = {"HF_ENDPOINT": fake.address, "HF_HOME": str(tmp_path / "cache"), "HF_TOKEN": token}
        known |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        program = words if words[0] == "-c" else (ROOT / "promptkd" / "__main__.py", *words)
        return start(ROOT, sys.executable, *program, **(known | environment))

    return started


def committed(fake: FakeHub, folder: Path, name: str = "me/student") -> Repository:
    """The folder's files on the hub, without a push."""
    repository = Repository(None, {path.name: path.read_bytes() for path in folder.iterdir()}, commits=1)
    repository.large = {name for name in repository.files if name.endswith(".safetensors")}
    fake.repositories[name] = repository
    return repository


def test_a_folder_goes_to_the_hub_and_comes_back(folder, fake, command):
    shutil.copytree(folder, own := folder.parent / "own")
    (own / "LICENSE").write_text("MIT")
    (own / "notes.txt").write_text("private")
    done = command("push", own, "me/student", "--private")
    assert done.returncode == 0, done.stderr
    assert 'load it with promptkd.load("hf-hub:me/student")' in done.stdout
    assert "stays here: notes.txt" in done.stdout and "licences are not filled in" in done.stdout
    sent = fake.repositories["me/student"]
    assert sent.visibility == "private" and sent.commits == 1
    assert sent.files.keys() == {path.name for path in folder.iterdir()} | {"LICENSE"}
    assert sent.large == {"encoder.safetensors", "prompts.safetensors", "class_vectors.safetensors"}
    assert 'promptkd.load("hf-hub:me/student")' in sent.files["README.md"].decode()
    assert all(sent.files[name] == (folder / name).read_bytes() for name in sent.large)

    done = command("-c", DOWNLOAD, "me/student")
    assert done.returncode == 0, done.stderr
    came = Path(done.stdout.strip())
    assert {path.name for path in came.iterdir()} == set(hub.READ) - {"rejection.json"}  # no card, no licence
    images = [Image.effect_mandelbrot((50, 40), (-2, -1, 1, 1), 20).convert("RGB")]
    ours, theirs = (promptkd.load(place) for place in (folder, came))
    assert torch.equal(ours.probabilities(images), theirs.probabilities(images))

    asked = len(fake.asked)
    offline = command("-c", DOWNLOAD, "me/student", HF_HUB_OFFLINE="1")
    assert offline.stdout.strip() == str(came), offline.stderr
    assert len(fake.asked) == asked


@pytest.mark.slow
def test_a_name_on_the_hub_predicts(folder, fake, command, tmp_path):
    committed(fake, folder)
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    done = command("predict", "hf-hub:me/student", tmp_path / "red.png", "--json", token="")
    assert done.returncode == 0, done.stderr
    top = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))["top"]
    assert top[0]["class"] in promptkd.load(folder).classnames


def test_a_dry_run_and_a_name_that_is_taken_send_nothing(folder, fake, command):
    assert "nothing was sent" in command("push", folder, "me/student", "--dry-run").stdout
    assert not fake.asked
    fake.repositories["me/student"] = Repository(None, {"model.json": b"of somebody"})
    done = command("push", folder, "me/student")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "me/student is on the hub already: give another name, or --update" in done.stderr
    assert fake.repositories["me/student"].files == {"model.json": b"of somebody"}
    assert command("push", folder, "me/student", "--update").returncode == 0
    assert fake.repositories["me/student"].files["model.json"] == (folder / "model.json").read_bytes()


def test_what_a_push_meets_is_one_line(folder, fake, command):
    fake.broken = ("/lfs/",)
    done = command("push", folder, "me/student")
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("error: nothing was sent: ")
    assert "me/student was made and is empty, --update sends to it" in done.stderr
    assert fake.repositories["me/student"].files == {}
    fake.broken = ()
    for token, environment, message in (
        ("hf_wrong", {}, "does not let you (401)"),
        (TOKEN, {"HF_HUB_OFFLINE": "1"}, "cannot be reached (Cannot reach"),
        (TOKEN, {"HF_ENDPOINT": "http://127.0.0.1:9"}, "http://127.0.0.1:9 cannot be reached"),
    ):
        done = command("push", folder, "me/other", token=token, **environment)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert message in done.stderr
    assert list(fake.repositories) == ["me/student"]


def test_what_a_download_meets_is_one_line(folder, fake, command):
    repository = committed(fake, folder)
    fake.repositories["me/none"] = Repository(None, {"config.json": b"{}"}, commits=1)
    fake.repositories["me/mine"] = Repository("private", dict(repository.files), commits=1)
    code = (
        "import sys\nfrom promptkd.deploy.hub import download\n"
        "for name in sys.argv[1:]:\n try: print(download(name))\n"
        " except (OSError, ValueError) as error: print(type(error).__name__, error)\n"
    )
    names = ["me/nobody", "me/student@v9", "me/none", "me/mine"]
    lines = command("-c", code, *names, token="").stdout.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("FileNotFoundError me/nobody: ") and "shows you nothing of that name" in lines[0]
    assert lines[1].startswith("FileNotFoundError me/student: ")
    assert lines[2].startswith("ValueError me/none has no model.json")
    assert lines[3].startswith("FileNotFoundError me/mine: ") and "hf auth login" in lines[3]
    repository.claimed = {"model.json": 2**40}
    assert "model.json has 1099511627776 bytes, 16,777,216 are the most" in command("-c", code, "me/student").stdout
    assert not any("/resolve/" in request for request in fake.asked)  # nothing was downloaded
    nowhere = command("-c", code, "me/student", HF_ENDPOINT="http://127.0.0.1:9").stdout
    assert nowhere.startswith("FileNotFoundError me/student: it is not in the cache, and http://127.0.0.1:9 cannot be")


def test_a_folder_that_was_changed_on_the_hub_is_refused(folder, fake, command):
    repository = committed(fake, folder)
    tensors = bytearray(repository.files["prompts.safetensors"])
    tensors[-1] ^= 1
    repository.files["prompts.safetensors"] = bytes(tensors)
    came = command("-c", DOWNLOAD, "me/student").stdout.strip()
    with pytest.raises(ValueError, match=r"prompts\.safetensors is damaged"):
        promptkd.load(came)


@pytest.mark.parametrize(
    "name", ["student", "a/b/c", "../x", "me/..", "me/x y", "me/--x", "https://hub/me/x", "", "me/x\n"]
)
def test_names_of_another_form_are_refused_before_anything_is_asked(name, monkeypatch, capsys):
    monkeypatch.setattr(hub, "library", None)
    with pytest.raises(ValueError, match="is no name on the hub: write owner/name"):
        local_folder(f"hf-hub:{name}")
    assert push.main(["nowhere", name]) == 1 and "write owner/name" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["me/x@", "me/x@../y", "me/x@a b"])
def test_revisions_of_another_form_are_refused(name):
    with pytest.raises(ValueError, match="no revision behind the @"):
        hub.download(name)


def test_folders_that_are_none_are_refused(folder, tmp_path, capsys, monkeypatch):
    assert push.main([str(tmp_path), "me/x"]) == 1
    assert "is no exported folder: promptkd export RUN FOLDER --format safetensors" in capsys.readouterr().err
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "README.md").unlink()
    assert push.main([str(copy), "me/x"]) == 1
    assert "has no model card, README.md: promptkd card RUN" in capsys.readouterr().err
    (copy / "prompts.safetensors").write_bytes(b"other")
    assert push.main([str(copy), "me/x"]) == 1 and "prompts.safetensors is damaged" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert push.main([str(folder), "me/x"]) == 1
    assert 'which is not installed: pip install "promptkd[hub]"' in capsys.readouterr().err
    with pytest.raises(ImportError, match=r"promptkd\[hub\]"):
        promptkd.load("hf-hub:me/x")


def test_no_folder_of_this_machine_is_in_what_is_sent(folder, clips):
    sent = b"".join(
        one if isinstance(one, bytes) else one.read_bytes() for one in push.files_of(folder, "me/x").values()
    )
    assert str(Path(clips["teacher"]).parent).encode() not in sent and str(folder.parent).encode() not in sent
