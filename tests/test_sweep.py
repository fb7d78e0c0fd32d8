"""Sweeps on made-up runs: states, order, failures, deaths, two sweeps at once, Ctrl-C; the plan's runs themselves."""

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
from made_up import result, write

from tools import clusters, engines, running, sweep
from tools.claims import Claim, holder
from tools.jobs import Job, Outcome, now, result_of, state_of
from tools.plan import jobs_of, read_plan
from tools.progress import Progress
from tools.running import Stop, execute

FAKE = Path(__file__).with_name("fake_run.py")


def job(root: Path, name: str, behaviour: str = "ok", needs: tuple[Job, ...] = (), seed: int = 1, **entries) -> Job:
    content = result("CoOp", name, seed, **entries)
    directory = root / name
    directory.mkdir(parents=True, exist_ok=True)
    checked = [str(other.directory) for other in needs]
    command = (sys.executable, str(FAKE), str(directory), json.dumps(content), behaviour, *checked)
    return Job(name, directory, command, content["config_hash"], tuple(other.name for other in needs))


def starts(*jobs: Job) -> list[int]:
    files = [job.directory / "starts" for job in jobs]
    return [len(file.read_text().splitlines()) if file.exists() else 0 for file in files]


def options(*words: str):
    return sweep.parser().parse_args(list(words))


def run_all(jobs: list[Job], *words: str) -> dict[str, Outcome]:
    outcomes = sweep.run(jobs, sweep.states_of(jobs), options(*words))
    return {outcome.name: outcome for outcome in outcomes}


def until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


# ---- states


def test_states(tmp_path):
    done, failed, missing, unfinished, taken, held = (job(tmp_path, name) for name in "abcdef")
    write(done.directory, json.loads(done.command[3]))
    execute(job(tmp_path, "b", "fail"))
    (unfinished.directory / "learner").mkdir()
    (unfinished.directory / "learner" / "model.pth.tar-3").touch()
    write(taken.directory, result("MaPLe", "other"))
    claim = Claim.take(held.directory)
    found = [state_of(one)[0] for one in (done, failed, missing, unfinished, taken, held)]
    assert found == ["done", "failed", "missing", "unfinished", "missing", "running"]
    assert f"process {os.getpid()}" in state_of(held)[1]
    with claim:
        pass
    assert state_of(held)[0] == "missing"


@pytest.mark.parametrize("content", ["", "{", json.dumps(result())[:-30], '{"format": 1}'])
def test_a_broken_result_is_not_done(tmp_path, content):
    one = job(tmp_path, "a")
    write(one.directory, content)
    assert state_of(one)[0] == "missing"
    assert execute(one).state == "done"
    assert result_of(one)


def test_a_failure_of_another_configuration_does_not_count(tmp_path):
    execute(job(tmp_path, "a", "fail"))
    assert state_of(job(tmp_path, "a", seed=2))[0] == "missing"


def test_a_directory_of_another_configuration_is_refused_before_anything_runs(tmp_path, monkeypatch, capsys):
    mine, other = job(tmp_path, "a"), job(tmp_path, "b")
    (other.directory / "config.yaml").write_text("TRAINER: {NAME: CoOp, COOP: {N_CTX: 4}}\n")
    monkeypatch.setattr(sweep, "jobs_from", lambda args: [mine, other])
    assert sweep.main([]) == 1
    assert "b holds another configuration: give another --output, or remove it" in capsys.readouterr().err
    assert starts(mine, other) == [0, 0]


# ---- one sweep


def test_runs_once_and_skips_what_is_done(tmp_path):
    jobs = [job(tmp_path, name) for name in "abc"]
    assert {outcome.state for outcome in run_all(jobs).values()} == {"done"}
    assert {outcome.detail for outcome in run_all(jobs).values()} == {"already"}
    assert starts(*jobs) == [1, 1, 1]
    assert not any(holder(one.directory) for one in jobs)


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_student_runs_after_its_teacher(tmp_path, workers):
    teacher = job(tmp_path, "teacher")
    students = [job(tmp_path, f"student{seed}", needs=(teacher,), seed=seed) for seed in (1, 2, 3)]
    outcomes = run_all([teacher, *students], "--workers", workers)  # a student fails without its teacher's result
    assert {outcome.state for outcome in outcomes.values()} == {"done"}


def test_a_failure_does_not_stop_the_others_and_is_told(tmp_path):
    bad = job(tmp_path, "bad", "fail")
    jobs = [bad, job(tmp_path, "student", needs=(bad,)), job(tmp_path, "good")]
    outcomes = run_all(jobs)
    assert [outcomes[one.name].state for one in jobs] == ["failed", "blocked", "done"]
    told = sweep.summary(list(outcomes.values()))
    assert "FAILED bad: exit code 1: error: no such thing" in told
    assert "    some words before" in told and f"log: {bad.directory / 'run.log'}" in told
    assert "BLOCKED student: needs bad" in told
    assert "3 runs: 1 done, 1 failed, 1 blocked" in told


def test_a_failed_run_is_run_again_only_on_request(tmp_path):
    jobs = [job(tmp_path, "a", "fail-once")]
    assert run_all(jobs)["a"].state == "failed"
    again = run_all(jobs)["a"]
    assert (again.state, again.tail[-1]) == ("failed", "error: no such thing")
    assert starts(*jobs) == [1]
    assert run_all(jobs, "--retry")["a"].state == "done"
    assert starts(*jobs) == [2]
    assert not (jobs[0].directory / "sweep.json").exists()


def test_a_killed_run_is_started_again_and_reported(tmp_path):
    jobs = [job(tmp_path, "a", "die-once"), job(tmp_path, "b", "die")]
    outcomes = run_all(jobs)
    assert (outcomes["a"].state, outcomes["a"].deaths) == ("done", ("SIGKILL",))
    assert (outcomes["b"].state, outcomes["b"].detail) == ("failed", "killed by SIGKILL, 3 times")
    assert starts(*jobs) == [2, 3]
    assert "started again: a, after SIGKILL" in sweep.summary(list(outcomes.values()))


@pytest.mark.parametrize(("behaviour", "reason"), [("forget", "left no "), ("partial", "is broken")])
def test_a_run_that_leaves_no_result_has_failed(tmp_path, behaviour, reason):
    outcome = execute(job(tmp_path, "a", behaviour))
    assert outcome.state == "failed" and "ended well, but" in outcome.detail and reason in outcome.detail


def test_a_command_that_does_not_exist_is_a_failure(tmp_path):
    one = Job("a", tmp_path / "a", ("/no/such/python",), "0" * 16)
    outcome = execute(one)
    assert outcome.state == "failed" and "/no/such/python" in outcome.detail


def test_tail_shows_the_last_form_of_a_progress_bar(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"first\n 10%\r 50%\r100%\n\nlast\n")
    assert running._tail(log) == ["first", "100%", "last"]


# ---- several sweeps


def test_two_sweeps_do_not_run_the_same_run_twice(tmp_path):
    jobs = [job(tmp_path, name) for name in "abcdef"]
    results: list[dict] = []
    threads = [threading.Thread(target=lambda: results.append(run_all(jobs))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert starts(*jobs) == [1] * 6
    assert [{outcome.state for outcome in found.values()} for found in results] == [{"done"}] * 3


def test_a_sweep_waits_for_what_another_runs_and_takes_its_failure(tmp_path):
    teacher = job(tmp_path, "teacher", "wait")
    student = job(tmp_path, "student", needs=(teacher,))
    first = threading.Thread(target=execute, args=(teacher,))
    first.start()
    until(lambda: starts(teacher) == [1])
    found: list[dict] = []
    second = threading.Thread(target=lambda: found.append(run_all([teacher, student])))
    second.start()
    until(lambda: holder(teacher.directory))
    (teacher.directory / "go").touch()
    first.join(30)
    second.join(30)
    assert {name: outcome.state for name, outcome in found[0].items()} == {"teacher": "done", "student": "done"}
    assert starts(teacher, student) == [1, 1]


def test_a_failure_that_another_sweep_just_met_is_not_repeated(tmp_path):
    one = job(tmp_path, "a", "fail")
    since = now()
    execute(one)
    assert execute(one, since=since).state == "failed"
    assert starts(one) == [1]
    execute(one, since=now())
    assert starts(one) == [2]


def test_a_run_outlives_its_killed_launcher_and_is_not_started_beside_it(tmp_path):
    one = job(tmp_path, "a", "wait")
    code = f"from tools.running import *; execute(Job.from_dict({one.to_dict()!r}))"
    launcher = subprocess.Popen([sys.executable, "-c", code], cwd=FAKE.parents[1])
    until(lambda: starts(one) == [1])
    launcher.kill()
    launcher.wait()
    assert state_of(one)[0] == "running"
    assert execute(one).state == "busy"
    (one.directory / "go").touch()
    until(lambda: not holder(one.directory))
    outcome = execute(one)
    assert (outcome.state, outcome.deaths) == ("done", ())  # nothing was started again
    assert outcome.detail.startswith(f"already, by a run that outlived process {launcher.pid}")
    assert starts(one) == [1]


# ---- Ctrl-C


def test_interrupt_ends_what_runs_and_leaves_the_rest(tmp_path):
    jobs = [job(tmp_path, "a", "wait"), job(tmp_path, "b")]

    def interrupt() -> None:
        until(lambda: starts(jobs[0]) == [1])
        os.kill(os.getpid(), signal.SIGINT)

    helper = threading.Thread(target=interrupt)
    helper.start()
    outcomes = run_all(jobs)
    helper.join()
    assert [outcomes[name].state for name in "ab"] == ["interrupted", "interrupted"]
    assert starts(*jobs) == [1, 0]
    assert state_of(jobs[0])[0] == "missing" and not (jobs[0].directory / "sweep.json").exists()
    (jobs[0].directory / "go").touch()
    assert {outcome.state for outcome in run_all(jobs).values()} == {"done"}


def test_stopping_twice_kills(tmp_path):
    one, stop = job(tmp_path, "a", "wait"), Stop()
    found: list[Outcome] = []
    thread = threading.Thread(target=lambda: found.append(execute(one, stop=stop)))
    thread.start()
    until(lambda: starts(one) == [1])
    (process,) = stop.processes
    os.kill(process.pid, signal.SIGSTOP)  # it cannot end by itself
    stop.now()
    stop.now()
    thread.join(20)
    assert found[0].state == "interrupted" and process.returncode == -signal.SIGKILL


def test_exit_codes(tmp_path, monkeypatch, capsys):
    for name, jobs, code in (
        ("ok", [job(tmp_path, "a")], 0),
        ("failed", [job(tmp_path, "a"), job(tmp_path, "b", "fail")], 1),
    ):
        monkeypatch.setattr(sweep, "jobs_from", lambda args, jobs=jobs: jobs)
        assert sweep.main([]) == code, name
    printed = capsys.readouterr().out
    assert "2 runs: 1 done, 1 missing" in printed and "CoOp ViT-B/16" in printed  # listing first, tables last


def test_dry_run_runs_nothing(tmp_path, monkeypatch, capsys):
    one = job(tmp_path, "a")
    monkeypatch.setattr(sweep, "jobs_from", lambda args: [one])
    assert sweep.main(["--dry-run"]) == 0
    assert starts(one) == [0]
    assert "missing" in capsys.readouterr().out


# ---- engines


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
    thread.join(30)
    assert seen == {"4", "7"}


def test_ray_is_asked_for_by_name_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match="requirements-ray.txt"):
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


def test_ray_that_does_not_start_is_one_line(tmp_path, monkeypatch, capsys):
    ray = types.SimpleNamespace(init=lambda **options: (_ for _ in ()).throw(Exception("timed out\nduring startup")))
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(sweep, "jobs_from", lambda args: [job(tmp_path, "a")])
    assert sweep.main(["--engine", "ray", "--address", "10.0.0.1:6379"]) == 1
    assert capsys.readouterr().err == "error: Ray does not start at --address 10.0.0.1:6379: timed out during startup\n"


def test_slurm_arrays(tmp_path):
    teacher, other = job(tmp_path, "teacher"), job(tmp_path, "other")
    student = job(tmp_path, "student", needs=(teacher,))
    script = clusters.write_slurm([teacher, other, student], tmp_path / "s lurm", ["--partition=gpu", "--gpus=1"], 4)
    lines = script.read_text().splitlines()
    first, second = ((script.parent / f"stage{stage}.sbatch").read_text().splitlines() for stage in (0, 1))
    assert "#SBATCH --array=0,1%4" in first and "#SBATCH --array=2%4" in second
    assert {"#SBATCH --partition=gpu", "#SBATCH --gpus=1", "#SBATCH --requeue"} <= set(first)
    assert "afterany" not in lines[-2] and '--dependency="afterany:$id"' in lines[-1]
    for text in (script, script.parent / "stage0.sbatch"):
        subprocess.run(["bash", "-n", str(text)], check=True)


def test_a_slurm_task_runs_its_job_and_minds_what_it_needs(tmp_path, capsys):
    teacher = job(tmp_path, "teacher")
    student = job(tmp_path, "student", needs=(teacher,))
    listed = clusters.write_slurm([teacher, student], tmp_path / "slurm").parent / "jobs.json"
    assert running.main([str(listed), "1"]) == 1
    assert "student needs teacher, which is not done" in capsys.readouterr().err
    assert running.main([str(listed), "0"]) == 0
    assert running.main([str(listed), "1"]) == 0
    assert starts(teacher, student) == [1, 1]


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
    assert progress._line(*progress._running["a"]).endswith("ETA 0:00")
    progress._epochs = {"a": [(1, time.time() - 20.0), (2, time.time())]}
    assert progress._line(*progress._running["a"]).endswith("ETA 1:00")
    progress.say("a line")
    assert "\033[2A\033[J" in stream.getvalue()  # the view is taken back before a line that stays


# ---- plans

PLAN = {"trainers": ["ZeroshotCLIP", "PromptSRC", "PromptKD"], "datasets": ["eurosat"], "seeds": [1, 2]}


@pytest.fixture
def plan_file(tmp_path, monkeypatch):
    for name in ("DATA", "OUTPUT"):
        monkeypatch.delenv(name, raising=False)

    def make(**changes) -> str:
        path = tmp_path / "plan.yaml"
        path.write_text(json.dumps(PLAN | {"output": str(tmp_path / "out")} | changes))  # JSON is YAML
        return str(path)

    return make


def names(plan_file: str, **given) -> list[str]:
    return [one.name for one in jobs_of(read_plan(plan_file, given))]


def test_plan_adds_one_teacher_for_all_seeds_and_runs_zero_shot_once(plan_file):
    found = jobs_of(read_plan(plan_file(), {}))
    methods = [one.name.split("/")[3] for one in found]
    assert methods == ["ZeroshotCLIP", "PromptSRC", "PromptSRC", "PromptSRC", "PromptKD", "PromptKD"]
    (teacher,) = {name for one in found for name in one.needs}
    assert "vit_l14" in teacher and teacher.endswith("seed1")
    assert [one.needs for one in found if one.name.split("/")[3] == "PromptKD"] == [(teacher,), (teacher,)]
    assert str(found[0].directory.parents[6]) in " ".join(found[-1].command)


def test_command_line_wins_over_the_file(plan_file):
    assert names(plan_file(), trainers=["CoOp"], seeds=[7]) == ["base2new/eurosat/shots_16/CoOp/vit_b16_ctxv1/seed7"]


def test_a_grid_gives_each_point_a_directory_of_its_own(plan_file):
    path = plan_file(grid={"TRAINER.PROMPTKD.KD_WEIGHT": [100, 200], "OPTIM.LR": [0.1]}, seeds=[1])
    found = jobs_of(read_plan(path, {}))
    recipes = [one.name.split("/")[4] for one in found]
    assert sum("+KD_WEIGHT=100+LR=0.1" in recipe for recipe in recipes) == 1
    assert sum("KD_WEIGHT" in recipe for recipe in recipes) == 2
    assert len({one.config_hash for one in found}) == len(found)


def test_a_grid_over_images_reaches_the_teacher(plan_file):
    path = plan_file(trainers=["PromptKD"], grid={"DATALOADER.K_TRANSFORMS": [1, 2]}, seeds=[1])
    found = jobs_of(read_plan(path, {}))
    assert len(found) == 4 and all("K_TRANSFORMS=" in one.name for one in found)
    assert all(one.name.split("+")[-1].split("/")[0] in one.needs[0] for one in found if one.needs)


def test_done_in_one_sweep_is_done_in_another_by_its_configuration(plan_file, tmp_path):
    one = jobs_of(read_plan(plan_file(trainers=["CoOp"], seeds=[1]), {}))[0]
    write(one.directory, result("CoOp", config_hash=one.config_hash))
    assert state_of(one)[0] == "done"
    other = jobs_of(read_plan(plan_file(trainers=["CoOp"], seeds=[1]), {"set": {"OPTIM.LR": 0.5}}))[0]
    assert other.directory == one.directory and state_of(other)[0] == "missing"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainers": ["PromptKDD"]}, "no method 'PromptKDD'; closest: PromptKD"),
        ({"datasets": ["eurosatt"]}, "closest: eurosat"),
        ({"protocols": ["base2novel"]}, "no protocol 'base2novel'; closest: base2new"),
        ({"trainers": []}, "names no trainers"),
        ({"seeds": [1, 1]}, "names 1 twice in seeds"),
        ({"seeds": ["one"]}, "whole numbers"),
        ({"grid": {"OPTIM.LR": 0.1}}, "give a list of values"),
        ({"grid": {"SEED": [1, 2]}}, "SEED: a plan says this by"),
        ({"set": ["OPTIM.LR"]}, "must be a dict"),
        ({"trainer": ["CoOp"]}, "a plan has no trainer; closest: trainers"),
        ({"set": {"OPTIM.LRR": 1}}, "no configuration key OPTIM.LRR; closest: OPTIM.LR"),
    ],
)
def test_mistakes_in_a_plan_are_one_line_before_anything_runs(plan_file, capsys, changes, message):
    assert sweep.main([plan_file(**changes)]) == 1
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "OPTIM.LR"], "stands alone"),
        (["--grid", "OPTIM.LR"], "give its values"),
        (["--workers", "-1"], "at least 1"),
        (["no_such.yaml"], "no plan no_such.yaml"),
    ],
)
def test_mistakes_on_the_command_line(capsys, words, message):
    assert sweep.main(words) == 1
    assert message in capsys.readouterr().err


def test_slurm_from_the_command_line(plan_file, capsys, tmp_path):
    words = [plan_file(trainers=["PromptKD"]), "--engine", "slurm", "--slurm", "partition=gpu", "--time=1:00:00"]
    with pytest.raises(SystemExit):  # argparse takes --time for an option of its own
        sweep.main(words)
    assert sweep.main([*words[:-1], "time=1:00:00"]) == 0
    script = Path(capsys.readouterr().out.split("bash ")[-1].strip())
    assert script.is_relative_to(tmp_path / "out" / "slurm")
    assert "#SBATCH --time=1:00:00" in (script.parent / "stage1.sbatch").read_text()
