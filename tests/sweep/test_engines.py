"""Where the runs of a sweep go: GPUs of this machine, Ray, SLURM; and what is shown of them."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest
from fake_jobs import job, run_all, starts, until

from promptkd.home import PACKAGE
from promptkd.sweep import clusters, engines
from promptkd.sweep import command as sweep
from promptkd.sweep import execute as executing
from promptkd.sweep.jobs import Job, Outcome
from promptkd.sweep.lock import holder
from promptkd.sweep.progress import Progress


def test_slots_pin_each_run_to_a_gpu():
    assert engines.slots(0, 1, ["2", "5"]) == [{"CUDA_VISIBLE_DEVICES": "2"}, {"CUDA_VISIBLE_DEVICES": "5"}]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in engines.slots(0, 2, ["0", "1"])] == ["0", "1", "0", "1"]
    assert engines.slots(1, 1, ["0", "1"]) == [{"CUDA_VISIBLE_DEVICES": "0"}]
    assert engines.slots(0, 1, []) == [{}]
    assert len(engines.slots(2, 1, [])) == 2
    with pytest.raises(ValueError, match="--per-gpu 2"):
        engines.slots(3, 1, ["0", "1"])


def test_visible_gpus_are_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    assert engines.visible_gpus() == ["1", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert engines.visible_gpus() == []


def test_runs_see_their_gpu_and_no_two_at_a_time_share_one(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    jobs = [job(tmp_path, name, "wait") for name in "ab"]
    thread = threading.Thread(target=run_all, args=(jobs,))
    thread.start()
    until(lambda: starts(*jobs) == [1, 1])
    seen = {(one.directory / "starts").read_text().split()[1] for one in jobs}
    for one in jobs:
        (one.directory / "go").touch()
    thread.join(60)
    assert seen == {"4", "7"}


def test_ray_is_asked_for_by_name_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match="pip install 'ray>=2.30'"):
        run_all([job(tmp_path, "a")], "--engine", "ray")


def test_ray_runs_a_sweep(tmp_path):
    pytest.importorskip("ray")
    teacher, bad = job(tmp_path, "teacher", "die-once"), job(tmp_path, "bad", "fail")
    student = job(tmp_path, "student", needs=(teacher,))
    blocked = job(tmp_path, "blocked", needs=(bad,))
    outcomes = run_all([teacher, bad, student, blocked], "--engine", "ray", "--workers", "2")
    states = {name: outcome.state for name, outcome in outcomes.items()}
    assert states == {"teacher": "done", "bad": "failed", "student": "done", "blocked": "blocked"}
    assert outcomes["teacher"].deaths == ("SIGKILL",)


def test_a_run_that_a_cluster_lost_is_told_and_run_by_the_next_sweep(tmp_path, monkeypatch, capsys):
    one = job(tmp_path, "a")
    monkeypatch.setattr(sweep, "jobs_from", lambda args: [one])
    lost = types.SimpleNamespace(get=lambda reference: (_ for _ in ()).throw(LookupError("the raylet\ndied")))
    lost.exceptions = types.SimpleNamespace(RayError=LookupError)
    lost.wait = lambda references, **_: (references, [])
    (outcome,) = clusters._collect_ray(lost, [one], {"a": "reference"}, Progress([one], io.StringIO()))
    assert (outcome.state, outcome.detail) == ("lost", "Ray: the raylet died")
    monkeypatch.setattr(clusters, "run_ray", lambda *_: [outcome])
    assert sweep.main(["--engine", "ray"]) == 1
    assert "LOST a: Ray: the raylet died\n1 runs: 1 lost\nthe same command goes on" in capsys.readouterr().out
    assert run_all([one])["a"].state == "done"


@pytest.mark.parametrize(("share", "together"), [("0.5", True), ("1", False)])
def test_ray_on_a_cluster_by_its_address_shares_a_gpu(tmp_path, share, together):
    """A cluster that says it has one GPU: two halves run at a time on it, two wholes one after the other."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    jobs = [job(tmp_path, name, "wait") for name in "ab"]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "num_gpus": 1, "include_dashboard": False})
    swept: list[dict[str, Outcome]] = []
    words = ("--engine", "ray", "--address", cluster.address, "--gpus", share)
    thread = threading.Thread(target=lambda: swept.append(run_all(jobs, *words)))
    try:
        thread.start()
        until(lambda: sum(starts(*jobs)) == (2 if together else 1), 120)
        if not together:
            time.sleep(1.0)
            assert sum(starts(*jobs)) == 1
        for one in jobs:
            (one.directory / "go").touch()
        thread.join(120)
    finally:
        cluster.shutdown()
    assert {outcome.state for outcome in swept[0].values()} == {"done"} and starts(*jobs) == [1, 1]
    assert {(one.directory / "starts").read_text().split()[1] for one in jobs} == {"0"}  # CUDA_VISIBLE_DEVICES


def test_interrupt_reaches_the_runs_of_ray(tmp_path):
    pytest.importorskip("ray")
    jobs = [job(tmp_path, "a", "wait"), job(tmp_path, "b", "wait")]

    def interrupt() -> None:
        until(lambda: starts(jobs[0]) == [1], 120)
        os.kill(os.getpid(), signal.SIGINT)

    helper = threading.Thread(target=interrupt)
    helper.start()
    outcomes = run_all(jobs, "--engine", "ray", "--workers", "1")
    helper.join()
    assert {outcome.state for outcome in outcomes.values()} == {"interrupted"}
    until(lambda: not holder(jobs[0].directory))
    assert starts(*jobs) == [1, 0] and not (jobs[0].directory / "sweep.json").exists()


def test_ray_that_does_not_start_is_one_line(tmp_path, monkeypatch, capsys):
    ray = types.SimpleNamespace(init=lambda **options: (_ for _ in ()).throw(Exception("timed out\nduring startup")))
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(sweep, "jobs_from", lambda args: [job(tmp_path, "a")])
    assert sweep.main(["--engine", "ray", "--address", "10.0.0.1:6379"]) == 1
    assert capsys.readouterr().err == "error: Ray does not start at --address 10.0.0.1:6379: timed out during startup\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--gpus", "1"),
            "--cpus 1 --gpus 1: no machine of the cluster has that for a run (there are machines of 2 CPUs",
        ),
        (("--cpus", "3"), "--cpus 3 --gpus 0: no machine"),
        (("--gpus", "1.5"), "--gpus 1.5 --cpus 1: give 0, a fraction of one, or whole GPUs"),
    ],
)
def test_ray_is_not_asked_for_what_no_machine_has(tmp_path, monkeypatch, capsys, words, message):
    ended: list[bool] = []
    gone = {"Alive": False, "Resources": {"CPU": 9.0, "GPU": 9.0}}
    ray = types.SimpleNamespace(
        init=lambda **options: None,
        cluster_resources=lambda: {"CPU": 4.0},
        nodes=lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}] * 2 + [gone],
        shutdown=lambda: ended.append(True),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(sweep, "jobs_from", lambda args: [job(tmp_path, "a")])
    assert sweep.main(["--engine", "ray", *words]) == 1 and ended
    printed = capsys.readouterr().err
    assert message in printed and len(printed.splitlines()) == 1


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: it has modules of the names that Python and this project import, which must stay unread."""
    folder = tmp_path / "hostile"
    for name in ("promptkd", "tools", "trainers", "datasets", "yacs"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise SystemExit('imported from the current folder')\n")
    for name in ("json", "yaml", "train", "made_up", "argparse"):
        (folder / f"{name}.py").write_text("raise SystemExit('imported from the current folder')\n")
    monkeypatch.chdir(folder)
    return folder


def test_ray_puts_no_current_folder_on_its_workers_path(hostile, tmp_path, monkeypatch):
    """Ray puts the one that it is started in first, so that is this package's, and only while Ray starts."""
    seen: list[tuple[str, dict]] = []

    def init(**options: object) -> None:
        seen.append((os.getcwd(), options))
        raise ConnectionError("enough")

    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(init=init))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "/somewhere", ""]))
    with pytest.raises(OSError, match="Ray does not start on this machine: enough"):
        clusters.run_ray([job(tmp_path, "a")], {}, clusters.Cluster(), Progress([]), "")
    (place, options), package = seen[0], str(PACKAGE.parent)
    assert place == package and os.getcwd() == str(hostile)
    assert options["runtime_env"] == {"env_vars": {"PYTHONPATH": os.pathsep.join([package, "/somewhere"])}}


def test_a_ray_worker_imports_nothing_from_the_current_folder_and_no_torch(hostile, tmp_path):
    """A sweep in a process of its own; what its worker has imported is written down by the run that it starts."""
    pytest.importorskip("ray")
    first, second = job(tmp_path, "first"), job(tmp_path, "second")
    listed = tmp_path / "jobs.json"
    listed.write_text(json.dumps([one.to_dict() for one in (first, second)]))
    script = tmp_path / "script" / "start.py"
    script.parent.mkdir()
    script.write_text(RAY_SCRIPT.format(root=str(PACKAGE.parent), listed=str(listed)))
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=hostile, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    states, modules, folder = json.loads(done.stdout.splitlines()[-1])
    assert states == ["done", "done"] and folder == str(hostile)
    assert "promptkd.sweep.execute" in modules and not {"torch", "dassl", "torchvision"} & set(modules)


RAY_SCRIPT = """
import sys
sys.path[0] = {root!r}
import io, json
from pathlib import Path
from promptkd.sweep import clusters
from promptkd.sweep.jobs import Job
from promptkd.sweep.progress import Progress

def loaded(job):
    import sys
    from promptkd.sweep import execute
    return sorted(sys.modules)

jobs = [Job.from_dict(entries) for entries in json.loads(Path({listed!r}).read_text())]
outcomes = clusters.run_ray(jobs, {{}}, clusters.Cluster(workers=1), Progress(jobs, io.StringIO()), "")
import os, ray
clusters._connect(ray, clusters.Cluster(workers=1))
modules = ray.get(ray.remote(loaded).remote(jobs[0]))
print(json.dumps([[one.state for one in outcomes], modules, os.getcwd()]))
"""


def test_a_slurm_task_imports_nothing_from_the_current_folder(hostile, tmp_path):
    one = job(tmp_path, "a")
    script = clusters.write_slurm([one], tmp_path / "slurm").with_name("stage0.sbatch")
    assert f"cd {hostile}" in script.read_text().splitlines(), "relative paths are those of the sweep's folder"
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": "0"}
    done = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr.split()[:2]) == (0, ["done", "a"])


def test_slurm_arrays(tmp_path):
    teacher, other = job(tmp_path, "teacher"), job(tmp_path, "other")
    student = job(tmp_path, "student", needs=(teacher,))
    script = clusters.write_slurm([teacher, other, student], tmp_path / "s lurm", ["--partition=gpu", "--gpus=1"], 4)
    lines = script.read_text().splitlines()
    first, second = ((script.parent / f"stage{stage}.sbatch").read_text().splitlines() for stage in (0, 1))
    assert "#SBATCH --array=0,1%4" in first and "#SBATCH --array=2%4" in second
    assert {"#SBATCH --partition=gpu", "#SBATCH --gpus=1", "#SBATCH --requeue"} <= set(first)
    assert f"#SBATCH --output='{script.parent}/slurm-%A_%a.log'" in first
    assert "afterany" not in lines[-2] and '--dependency="afterany:$id"' in lines[-1]
    for text in (script, script.parent / "stage0.sbatch"):
        subprocess.run(["bash", "-n", str(text)], check=True)


def test_a_slurm_task_runs_its_job_and_minds_what_it_needs(tmp_path, capsys):
    teacher = job(tmp_path, "teacher")
    student = job(tmp_path, "student", needs=(teacher,))
    listed = clusters.write_slurm([teacher, student], tmp_path / "slurm").parent / "jobs.json"
    assert executing.main([str(listed), "1"]) == 1
    assert "student needs teacher, which is not done" in capsys.readouterr().err
    assert executing.main([str(listed), "0"]) == 0
    assert executing.main([str(listed), "1"]) == 0
    assert starts(teacher, student) == [1, 1]


def test_slurm_submits_no_failed_run_without_retry(tmp_path, monkeypatch, capsys):
    bad, good = job(tmp_path, "bad", "fail"), job(tmp_path, "good")
    jobs = [bad, job(tmp_path, "student", needs=(bad,)), good]
    executing.execute(bad)
    monkeypatch.setattr(sweep, "jobs_from", lambda args: jobs)

    def submitted(*words: str) -> tuple[int, list[str], str]:
        code, printed = sweep.main(["--engine", "slurm", *words]), capsys.readouterr().out
        name = Path(printed.rpartition("bash ")[2].strip()).with_name("jobs.json")
        return code, [one["name"] for one in json.loads(name.read_text())] if "Written" in printed else [], printed

    code, names, printed = submitted()
    assert (code, names) == (0, ["good"])
    for line in ("FAILED bad: before: exit code 1", "BLOCKED student: needs bad", "--retry"):
        assert line in printed
    assert submitted("--retry")[1] == ["bad", "student", "good"]
    executing.execute(good)
    code, names, printed = submitted()
    assert (code, names) == (1, []) and printed.endswith("nothing to submit\n")


def test_a_slurm_task_waits_for_what_another_sweep_runs(tmp_path):
    one = job(tmp_path, "a", "wait")
    listed = clusters.write_slurm([one], tmp_path / "slurm").parent / "jobs.json"
    sweeping = threading.Thread(target=executing.execute, args=(one,))
    sweeping.start()
    until(lambda: starts(one) == [1])
    threading.Timer(0.5, (one.directory / "go").touch).start()
    assert executing.main([str(listed), "0"]) == 0
    sweeping.join(60)
    assert starts(one) == [1]


# ---- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_where_there_is_no_terminal(tmp_path):
    stream, one = io.StringIO(), job(tmp_path, "a")
    progress = Progress([one], stream)
    progress.started(one)
    progress.show()
    progress.ended(Outcome("a", "done", seconds=75, deaths=("SIGKILL",)))
    assert stream.getvalue() == "started a\n[1/1] done a (started again after SIGKILL; 1:15)\n"


def test_a_terminal_shows_epochs_and_eta(tmp_path):
    stream = Terminal()
    one = Job("a", tmp_path / "a", (), "0", epochs=5)
    progress = Progress([one, job(tmp_path, "b")], stream)
    progress.started(one)
    (tmp_path / "a" / "learner").mkdir(parents=True)
    (tmp_path / "a" / "learner" / "model.pth.tar-2").touch()
    progress.show()
    text = stream.getvalue()
    assert "0 of 2 done, 1 running, 1 waiting" in text and "a  epoch 3/5  ETA 0:0" in text
    clock = progress._running["a"][1]
    later = {"a": [(1, clock - 100.0), (2, clock - 90.0)]}  # ten seconds an epoch, the last one long ago
    progress._epochs = later
    assert progress._line(*progress._running["a"])[1].endswith("ETA 0:00")
    progress._epochs = {"a": [(1, time.time() - 20.0), (2, time.time())]}
    assert progress._line(*progress._running["a"])[1].endswith("ETA 1:00")
    progress.say("a line")
    assert "\033[2A\033[J" in stream.getvalue()  # the view is taken back before a line that stays


@pytest.mark.parametrize(("columns", "rows"), [(80, 6), (40, 24), (12, 3)])
def test_the_view_fits_in_the_terminal(tmp_path, monkeypatch, columns, rows):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(rows))
    place = "base2new/oxford_flowers/shots_16/PromptSRC/vit_b16_c2_ep20_batch4_4+4ctx"
    jobs = [Job(f"{place}/seed{seed}", tmp_path / str(seed), (), "0", epochs=5) for seed in range(20)]
    stream = Terminal()
    progress = Progress(jobs, stream)
    for one in jobs[:18]:
        progress.started(one)
    for one in jobs[18:]:
        progress.elsewhere(one, "process 7 on host")
    stream.truncate(0)
    progress.show()
    lines = stream.getvalue().strip("\0\n").split("\n")
    assert len(lines) <= rows - 1 and all(len(line) < columns for line in lines)
    if columns >= 40:
        assert lines[1].startswith("  ...") and lines[1].endswith("seed0  epoch 1/5")
        assert lines[-1].startswith("  ...") and lines[-1].endswith(f"{'and 18 more' if rows == 6 else 'host'}")
