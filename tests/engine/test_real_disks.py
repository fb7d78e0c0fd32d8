"""Disks as they are: full, read-only, a small /dev/shm, in a mount namespace of its own; folders that are not UTF-8."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from promptkd.deploy import predict
from promptkd.home import ROOT
from promptkd.tables import command as collect


def may_mount() -> bool:
    """Whether this user may make a mount namespace."""
    return (
        bool(shutil.which("unshare")) and not subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode
    )


mounts = pytest.mark.skipif(not may_mount(), reason="this user may make no mount namespace (unshare -m)")
SHORT = ["DATASET.NUM_SHOTS", "2", "TRAINER.COOP.N_CTX", "2"]


def in_namespace(prepare: str, words: list[str]) -> tuple[int, str]:
    """Exit code and standard error of train.py after mounts that only it sees."""
    command = shlex.join([sys.executable, str(ROOT / "train.py"), *words])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PROMPT_TRACEBACK": ""}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{prepare} && exec {command}"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return done.returncode, done.stderr


def only_line(error: str) -> str:
    (line,) = [line for line in error.splitlines() if line.strip()]
    return line


def test_an_output_folder_that_is_not_utf8(run, tmp_path: Path, data_root: str, capsys) -> None:
    output = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\xff"))
    run("CoOp", output, *SHORT, epochs=1)
    names = {path.name for path in output.iterdir()}
    assert {"results.json", "predictions.csv", "class_vectors.safetensors", "config.yaml", "log.txt"} <= names
    image = next(Path(data_root).rglob("*.jpg"))
    assert predict.main([str(output), str(image)]) == 0
    assert collect.main([str(tmp_path)]) == 0
    assert "CoOp" in capsys.readouterr().out.encode("utf-8").decode("utf-8")


@mounts
@pytest.mark.slow
def test_a_read_only_data_root_is_read(argv, tmp_path: Path, data_root: str) -> None:
    prepare = f"mount --bind {data_root} {data_root} && mount -o remount,bind,ro {data_root}"
    code, error = in_namespace(prepare, argv("CoOp", tmp_path / "run", *SHORT, epochs=1))
    assert code == 0 and (tmp_path / "run" / "results.json").is_file(), error


@mounts
@pytest.mark.slow
@pytest.mark.parametrize(
    ("mount", "words"),
    [
        ("mount -t tmpfs -o size=16k tmpfs {0}", ("No space left on device", "free space on that disk")),
        ("mount --bind {0} {0} && mount -o remount,bind,ro {0}", ("Read-only file system", "choose another folder")),
    ],
)
def test_an_output_that_takes_nothing_is_named(argv, tmp_path: Path, mount: str, words: tuple[str, str]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    code, error = in_namespace(mount.format(disk), argv("CoOp", disk / "run", *SHORT, epochs=1))
    line = only_line(error)
    assert code == 1 and line.startswith("error: ") and str(disk) in line and all(word in line for word in words), error


@mounts
@pytest.mark.slow
def test_a_small_shared_memory_is_named_or_enough(argv, tmp_path: Path) -> None:
    prepare = "mount -t tmpfs -o size=4k tmpfs /dev/shm"
    words = argv("CoOp", tmp_path / "run", *SHORT, "DATALOADER.NUM_WORKERS", "2", epochs=1)
    code, error = in_namespace(prepare, words)
    assert code == 1 and "--shm-size" in only_line(error) and "DATALOADER.NUM_WORKERS 0" in error, error
