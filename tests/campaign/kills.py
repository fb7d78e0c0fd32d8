"""kill -9 at random moments: nothing is lost, doubled or left running, and what goes on comes to the same bits."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from campaign.bench import Bench, in_a_fork, learned, numbers, train
from campaign.cases import Tally

from promptkd.home import ROOT
from promptkd.results import search

MOST = 90.0  # seconds that a killed group may take to be gone


def run_killed(bench: Bench, tally: Tally, trainer: str, count: int, *more: str) -> None:
    """Kills a run `count` times at random moments of its time, and goes on with it after each.

    Each case starts a new run, kills it once, and lets it end; it is compared with a run that nobody killed.
    """
    rng = random.Random(bench.seed + 6)
    reference = bench.place() / "run"
    start = time.monotonic()
    healthy = bench.words(trainer, reference, *_cached(bench, more), epochs=3)
    in_a_fork(lambda: train(healthy))
    lasts = time.monotonic() - start
    for _ in range(count):
        output = bench.place() / "run"
        words = bench.words(trainer, output, *_cached(bench, more), epochs=3)
        moment = rng.uniform(0.0, lasts)
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                _silent()
                train(words)
            finally:
                os._exit(0)
        time.sleep(moment)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        name = f"{trainer} killed after {moment:.2f} of {lasts:.2f} s"
        faults = [] if _gone(pid) else ["its workers run on"]
        _finish(tally, name, lambda words=words: train(words), reference, output, faults)


def _cached(bench: Bench, more: tuple[str, ...]) -> list[str]:
    return [str(bench.place()) if word == "A NEW FOLDER" else word for word in more]


def _finish(
    tally: Tally, name: str, action: Callable[[], int], reference: Path, output: Path, faults: list[str]
) -> None:
    """Lets a killed run end, and counts whether it is what it would have been."""
    start = time.monotonic()
    try:
        in_a_fork(action)
    except RuntimeError as error:
        tally.add(name, "wrong", str(error))
        return
    faults += _differences(reference, output)
    tally.add(name, "wrong" if faults else "handled", "; ".join(faults), seconds=time.monotonic() - start)


def _differences(reference: Path, output: Path) -> list[str]:
    """What differs between a run that nobody killed and one that went on."""
    faults = []
    if learned(output) != learned(reference):
        faults.append("other numbers were learned")
    if numbers(output) != numbers(reference):
        faults.append("other accuracies")
    for name in ("predictions.csv", "config.yaml", "class_vectors.safetensors"):
        if (reference / name).is_file() and not (output / name).is_file():
            faults.append(f"no {name}")
    if (reference / "predictions.csv").read_text() != (output / "predictions.csv").read_text():
        faults.append("other predictions")
    left = [path.name for path in output.rglob(".*") if path.name.endswith((".part", ".tmp"))]
    return [*faults, *(f"{name} is left" for name in left)]


def _silent() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _gone(group: int) -> bool:
    """Whether all processes of a group end; what does not is killed."""
    end = time.monotonic() + MOST
    while time.monotonic() < end:
        if not _members(group):
            return True
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    return False


def _members(session: int) -> list[int]:
    """The live processes of a session, of this machine."""
    found = []
    for pid in _processes():
        with contextlib.suppress(OSError, IndexError, ValueError):
            state, _, _, its_session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append(pid)
    return found


def _processes() -> list[int]:
    """Numbers of the processes of this machine; any may be gone when it is looked at, which `glob` does not bear."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def sweep_killed(bench: Bench, tally: Tally, count: int) -> None:
    """Kills a sweep's launcher, or one of its runs, `count` times; it is started again until all runs are done."""
    sys.path.insert(0, str(ROOT / "tests"))
    import killed_sweep

    rng = random.Random(bench.seed + 7)
    output = bench.place() / "sweep"
    words = ["--datasets", "emoji", "--trainers", "ZeroshotCLIP", "CoOp", "PromptSRC", "--seeds", "1", "2", "3"]
    words += [*killed_sweep.SHORT, "--workers", "2", "--retry", "--output", str(output)]
    command = [sys.executable, str(ROOT / "tools" / "sweep.py"), *words]
    kills = 0
    before: dict[Path, bytes] = {}
    for _ in range(4 * count + 4):
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as launcher:
            time.sleep(rng.uniform(2.0, 9.0))
            running = killed_sweep.workers(output)
            victim = launcher.pid if kills % 2 == 0 or not running else max(running)
            if launcher.poll() is None and kills < count:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                kills += 1
                what = "the launcher" if victim == launcher.pid else "a run"
                tally.add(f"sweep: {what} killed", "handled")
                if victim != launcher.pid:
                    launcher.kill()  # one case at a time: what it left is the next one's
            printed = launcher.communicate()[0]
        changed = [path for path, content in before.items() if not path.is_file() or path.read_bytes() != content]
        for path in changed:
            tally.add(f"sweep: {path}", "wrong", "a finished run was run again")
        before = {path: path.read_bytes() for path in output.rglob("results.json")}
        if launcher.returncode == 0:
            break
    runs, left_out = search.find(output)
    if launcher.returncode or left_out or len(runs) != 7:
        tally.add("sweep: the end", "wrong", f"{len(runs)} results, {left_out}, {printed}")
    if killed_sweep.workers(output):
        tally.add("sweep: the end", "wrong", "runs are left running")
    if len(runs) == len({run.record.config_hash for run in runs}):
        tally.add("sweep: all runs done, once", "handled")


def torchrun_killed(bench: Bench, tally: Tally, count: int) -> None:
    """Kills one of two processes, or torchrun, `count` times; then the same command ends as without a death."""
    rng = random.Random(bench.seed + 8)
    reference = bench.place() / "run"
    lasts = _torchrun(bench, reference)[1]
    for number in range(count):
        output = bench.place() / "run"
        moment = rng.uniform(0.3, lasts)
        launcher = number % 2 == 0
        name = f"torchrun: {'the launcher' if launcher else 'a process'} killed after {moment:.1f} of {lasts:.1f} s"
        faults = [] if _torchrun(bench, output, moment, launcher)[0] else ["processes run on"]
        code, seconds = _torchrun(bench, output)
        faults += [] if code else ["it did not go on"]
        faults += _differences(reference, output) if (output / "results.json").is_file() else ["no result"]
        tally.add(name, "wrong" if faults else "handled", "; ".join(faults), seconds=seconds)


def _torchrun(bench: Bench, output: Path, moment: float = 0.0, launcher: bool = False) -> tuple[bool, float]:
    """Runs two processes, killing one of them or the launcher at a moment: whether all ended well, and seconds."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    words = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        str(ROOT / "train.py"),
    ]
    words += bench.words("PromptSRC", output, epochs=3)
    start = time.monotonic()
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=nowhere, stderr=nowhere, start_new_session=True)
    if moment:
        time.sleep(moment)
        children = [pid for pid in _with_words(str(output)) if pid != process.pid]  # in sessions of their own
        victim = process.pid if launcher or not children else max(children)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    try:
        code = process.wait(timeout=240)
    except subprocess.TimeoutExpired:
        code = -1
    # torchrun gives its processes sessions of their own; those of this output are looked for by their words.
    end = time.monotonic() + MOST
    while (left := _with_words(str(output))) and time.monotonic() < end:
        time.sleep(0.2)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return (not left if moment else code == 0), time.monotonic() - start


def _with_words(word: str) -> list[int]:
    """The live processes with a word on their command line, without this one."""
    found = []
    for pid in _processes():
        with contextlib.suppress(OSError):
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") and pid != os.getpid():
                found.append(pid)
    return found


CACHE = ("TRAINER.PROMPTKD.TEACHER_CACHE", "views", "TRAINER.PROMPTKD.CACHE_DIR", "A NEW FOLDER")
LABELS = (
    *("TRAINER.UPL.PREC", "fp32", "TRAINER.UPL.N_CTX", "2", "TRAINER.UPL.SHOTS", "2", "TRAINER.UPL.MEMBERS", "2"),
    *("TRAINER.UPL.FEATURE_CACHE", "A NEW FOLDER"),
)
KILLS: dict[str, Callable[[Bench, Tally, int], None]] = {
    "kill -9: PromptKD with cache and workers": lambda bench, tally, count: run_killed(
        bench, tally, "PromptKD", count, *CACHE, "DATALOADER.NUM_WORKERS", "2"
    ),
    "kill -9: PromptSRC": lambda bench, tally, count: run_killed(bench, tally, "PromptSRC", count),
    "kill -9: UPL with kept labels": lambda bench, tally, count: run_killed(bench, tally, "UPL", count, *LABELS),
    "kill -9: a sweep": sweep_killed,
    "kill -9: torchrun with two processes": torchrun_killed,
}
