"""Sweeps on made-up runs: states, order, failures, deaths, two sweeps at once, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import killed_sweep
import pytest
from fake_jobs import FAKE, job, run_all, starts, until
from made_up import result, write

from promptkd.sweep import command as sweep
from promptkd.sweep import execute as executing
from promptkd.sweep.execute import Stop, execute
from promptkd.sweep.jobs import Job, Outcome, now, result_of, state_of
from promptkd.sweep.lock import DirectoryLock, holder

# ---- states


def test_states(tmp_path):
    done, failed, missing, unfinished, taken, held = (job(tmp_path, name) for name in "abcdef")
    write(done.directory, json.loads(done.command[3]))
    execute(job(tmp_path, "b", "fail"))
    (unfinished.directory / "learner").mkdir()
    (unfinished.directory / "learner" / "model.pth.tar-3").touch()
    write(taken.directory, result("MaPLe", "other"))
    lock = DirectoryLock.take(held.directory)
    ended = [state_of(one)[0] for one in (done, failed, missing, unfinished, taken, held)]
    assert ended == ["done", "failed", "missing", "unfinished", "missing", "running"]
    assert f"process {os.getpid()}" in state_of(held)[1]
    with lock:
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
    (other.directory / "config.yaml").write_text("TRAINER: {NAME: CoOp, COOP: {N_CTX: 4}}\nDATASET: {NAME: DTD}\n")
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
    text = sweep.summary(list(outcomes.values()))
    assert "FAILED bad: exit code 1: error: no such thing" in text
    assert "    some words before" in text and f"log: {bad.directory / 'run.log'}" in text
    assert "BLOCKED student: needs bad" in text
    assert "3 runs: 1 done, 1 failed, 1 blocked" in text


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
    assert executing._tail(log) == ["first", "100%", "last"]


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
    assert [{outcome.state for outcome in ended.values()} for ended in results] == [{"done"}] * 3


def test_a_sweep_waits_for_what_another_runs_and_takes_its_failure(tmp_path):
    teacher = job(tmp_path, "teacher", "wait")
    student = job(tmp_path, "student", needs=(teacher,))
    first = threading.Thread(target=execute, args=(teacher,))
    first.start()
    until(lambda: starts(teacher) == [1])
    ended: list[dict] = []
    second = threading.Thread(target=lambda: ended.append(run_all([teacher, student])))
    second.start()
    until(lambda: holder(teacher.directory))
    (teacher.directory / "go").touch()
    first.join(60)
    second.join(60)
    assert {name: outcome.state for name, outcome in ended[0].items()} == {"teacher": "done", "student": "done"}
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
    code = f"from promptkd.sweep.execute import *; execute(Job.from_dict({one.to_dict()!r}))"
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


def test_what_a_killed_launcher_left_running_is_one_of_the_workers(tmp_path, capsys):
    orphan, other = job(tmp_path, "orphan", "wait"), job(tmp_path, "other")
    code = f"from promptkd.sweep.execute import *; execute(Job.from_dict({orphan.to_dict()!r}))"
    launcher = subprocess.Popen([sys.executable, "-c", code], cwd=FAKE.parents[1])
    until(lambda: starts(orphan) == [1])
    launcher.kill()
    launcher.wait()
    sweeping = threading.Thread(target=run_all, args=([other, orphan],))
    sweeping.start()
    printed = ""

    def waits() -> bool:
        nonlocal printed
        printed += capsys.readouterr().out
        return "waiting for orphan" in printed

    until(waits)
    time.sleep(1.5)  # a poll and a half
    assert starts(other) == [0], "two at a time, where one was asked for"
    (orphan.directory / "go").touch()
    sweeping.join(60)
    printed += capsys.readouterr().out
    assert starts(orphan, other) == [1, 1]
    assert printed.splitlines()[0].startswith("waiting for orphan: process") and "started orphan" not in printed


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
    ended: list[Outcome] = []
    thread = threading.Thread(target=lambda: ended.append(execute(one, stop=stop)))
    thread.start()
    until(lambda: starts(one) == [1])
    (process,) = stop.processes
    os.kill(process.pid, signal.SIGSTOP)  # it cannot end by itself
    stop.now()
    stop.now()
    thread.join(60)
    assert ended[0].state == "interrupted" and process.returncode == -signal.SIGKILL


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


# ---- real runs


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for the runs in /proc")
def test_a_sweep_of_real_runs_survives_the_death_of_its_launcher_and_of_a_worker(tmp_path):
    """The issue's command with fewer methods and seeds; all of it: python tests/killed_sweep.py FOLDER."""
    plan = ["--datasets", "emoji", "--trainers", "ZeroshotCLIP", "PromptKD", "--seeds", "1", "--workers", "2"]
    printed = killed_sweep.prove(tmp_path / "out", [*plan, *killed_sweep.SHORT])
    assert "3 runs: 3 done" in printed and "PromptKD mini-student <- PromptSRC mini-teacher" in printed
