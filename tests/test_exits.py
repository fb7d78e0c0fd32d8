"""How commands end: errors in one line with a remedy, Ctrl-C in one line whenever it comes."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from promptkd import files
from promptkd.errors import describe
from promptkd.home import ROOT


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/out"), "free space on that disk"),
        (OSError(errno.EROFS, "Read-only file system", "/data/list.json"), "choose a folder on a disk that is not"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n 4096"),
        (RuntimeError("unable to open shared memory object </torch_1> in r/w mode: Too many open files"), "-n 4096"),
        (RuntimeError("received 0 items of ancdata"), "DATALOADER.NUM_WORKERS 0"),
        (RuntimeError("DataLoader worker (pid 3) is killed by signal: Bus error. It is possible"), "--shm-size"),
        (RuntimeError("unable to write to file </torch_3_4>: No space left on device (28)"), "--shm-size"),
        (RuntimeError("Could not determine home directory."), "HOME"),
    ],
)  # fmt: skip
def test_errors_of_the_system_name_a_remedy(error, remedy):
    assert remedy in describe(error) and "\n" not in describe(error)


def test_other_errors_are_said_as_they_are():
    text = (
        "Caught OSError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  x\nOSError: cut"
    )
    assert describe(RuntimeError(text)) == "cut"
    assert describe(ValueError("a\n\x1b[2Jb")) == r"a \x1b[2Jb" and describe(MemoryError()) == "MemoryError"
    url = "https://example.org/" + "x" * 900
    assert describe(ValueError(f"no {url}")) == f"no {url}"


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    files.write_text(path, "before")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match="^cannot write results.json in .*No space left on device.: free space") as error:
        files.write_text(path, "after")
    assert error.value.errno == errno.ENOSPC and path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_an_error_of_safetensors_names_the_folder(tmp_path):
    with pytest.raises(OSError, match="cannot write v in .*: free space on that disk"), files.replacing(tmp_path / "v"):
        raise ValueError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(ValueError, match="^another$"), files.replacing(tmp_path / "v"):
        raise ValueError("another")


def test_what_killed_processes_left_is_removed(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    kept = [f".a.json.{os.getppid()}.part", ".hidden", "a.part", ".sweep.lock", f".b.{gone.pid}.party"]
    left = [f".a.json.{gone.pid}.part", f".model.pth.tar-3.{gone.pid}.tmp", f".c.{os.getpid()}.part"]
    for name in (*kept, *left):
        (tmp_path / name).touch()
    assert sorted(path.name for path in files.remove_leftovers(tmp_path)) == sorted(left)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


PROGRAM = """
import os, signal, sys, time
from promptkd import exits
from promptkd.exits import interruptible, say_interrupted
try:
    with interruptible():
        print("begun", flush=True)
        {body}
except KeyboardInterrupt:
    sys.exit(say_interrupted())
"""
FORKS = "while True: exits.check(); (os.waitpid(pid, 0) if (pid := os.fork()) else os._exit(0))"
SLOW = "\n        try: time.sleep(60)\n        finally: time.sleep(60)"
FORKED = "\n        if (pid := os.fork()) == 0:\n            time.sleep(1.5); os._exit(7)\n"
FORKED += "        try: time.sleep(60)\n        finally: print('worker', os.waitpid(pid, 0)[1] >> 8, flush=True)"


def interrupt(body: str, *delays: float) -> tuple[int, str, str]:
    """Runs a program and, once it has begun, interrupts its process group after each delay (seconds).

    Returns its exit code, output and errors.
    """
    command = [sys.executable, "-c", PROGRAM.format(body=body)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        assert process.stdout.readline() == "begun\n"
        for delay in delays:
            time.sleep(delay)
            os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


LINE = "\ninterrupted: the same command goes on from the last finished epoch\n"


def test_ctrl_c_while_workers_are_forked_is_one_line():
    for delay in (0.6, 0.7, 0.8, 0.9):
        assert interrupt(FORKS, delay) == (130, "", LINE)


def test_forked_workers_leave_a_ctrl_c_to_their_parent():
    assert interrupt(FORKED, 0.7) == (130, "worker 7\n", LINE)


def test_a_second_ctrl_c_ends_at_once():
    start = time.monotonic()
    assert interrupt(SLOW, 0.7, 0.3) == (130, "", LINE)
    assert time.monotonic() - start < 30


@pytest.mark.slow
def test_a_run_without_a_home_names_what_to_set(tmp_path):
    """Of a user whom the system does not know, as in a container with a number for a user."""
    code = "import pwd; pwd.getpwuid = lambda n: (_ for _ in ()).throw(KeyError(n))\n"
    code += "import sys; from promptkd.engine.command import command_line; sys.exit(command_line())"
    environment = {key: value for key, value in os.environ.items() if key != "HOME"}
    words = ["--root", "~/data", "--trainer", "ZeroshotCLIP", "--output-dir", str(tmp_path / "o")]
    words += [
        "--dataset-config-file",
        str(ROOT / "configs/datasets/eurosat.yaml"),
        "MODEL.BACKBONE.NAME",
        "mini-student",
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert re.search("HOME|home folder|is not a folder", done.stderr)


@pytest.fixture
def command(clips, argv, tmp_path):
    """`command(epochs)` -> the words of a shell for a small CoOp run with two workers."""
    options = ["TRAINER.COOP.N_CTX", "2", "DATASET.NUM_SHOTS", "4", "DATALOADER.NUM_WORKERS", "2"]
    train = [sys.executable, str(ROOT / "train.py")]
    return lambda epochs: [*train, *argv("CoOp", tmp_path / "run", *options, epochs=epochs)]


def limited(command: list[str], limits: str) -> subprocess.CompletedProcess:
    """Runs a command under limits of the shell, as `ulimit -n 30`."""
    line = f'{limits}; exec "$@"'
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", "-c", line, "x", *command], env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_a_limit_of_file_sizes_ends_a_run_in_a_line(command, tmp_path):
    done = limited(command(2), "ulimit -f 2")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and last.startswith("error: cannot write "), done.stderr
    assert f"in {tmp_path}" in last and "ulimit -f" in last and "Traceback" not in done.stderr + done.stdout


@pytest.mark.slow
def test_few_file_handles_end_a_run_in_a_line_or_suffice(command):
    for handles in (24, 64):
        done = limited(command(1), f"ulimit -n {handles}")
        assert "Traceback" not in done.stderr
        if done.returncode:
            assert done.stderr.splitlines()[-1].startswith("error: ") and "ulimit -n" in done.stderr, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.3, 1.0, 4.0, 6.0, 7.0, 8.0])
def test_ctrl_c_in_a_run_is_one_line(command, tmp_path, delay):
    begins = "import runpy, sys; print(flush=True); del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    python, *run_words = command(400)
    words = [python, "-c", begins, *run_words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(words, **pipes) as run:
        run.stdout.readline()  # an interpreter that has not come to our code has its own way to end
        time.sleep(delay)
        os.killpg(run.pid, signal.SIGINT)
        _, err = run.communicate(timeout=60)
    assert run.returncode == 130 and err.strip().splitlines()[-1:] == [LINE.strip()] and "Traceback" not in err, err


def test_a_run_in_a_folder_that_was_removed_says_so(run, tmp_path, monkeypatch):
    import shutil

    from promptkd.engine.step import Step

    take = Step.take

    def removing(self, batch, optimizer):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        return take(self, batch, optimizer)

    monkeypatch.setattr(Step, "take", removing)
    with pytest.raises(FileNotFoundError, match="--output-dir .*run is gone: .*start the same command again"):
        run("CoOp", tmp_path / "run", "TRAINER.COOP.N_CTX", "2", "DATASET.NUM_SHOTS", "4")
    assert not (tmp_path / "run").exists() and Path(tmp_path).is_dir()
