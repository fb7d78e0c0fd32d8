"""What a sweep makes of full disks, damaged files and moved folders: one job's failure, and the others go on."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest
from fake_jobs import job, run_all, starts
from made_up import write

from promptkd.sweep import command as sweep
from promptkd.sweep import execute as executing
from promptkd.sweep import jobs as sweep_jobs
from promptkd.sweep.execute import execute
from promptkd.sweep.jobs import Job, Outcome, failure_of, state_of
from promptkd.sweep.lock import DirectoryLock


def test_a_folder_that_cannot_be_written_fails_its_job_alone(tmp_path, monkeypatch):
    bad, good = job(tmp_path, "bad"), job(tmp_path, "good")
    take = DirectoryLock.take

    def full(directory: Path):
        if directory == bad.directory:
            raise OSError(errno.ENOSPC, "No space left on device", str(directory))
        return take(directory)

    monkeypatch.setattr(DirectoryLock, "take", full)
    outcomes = run_all([bad, good])
    assert [outcomes[name].state for name in ("bad", "good")] == ["failed", "done"]
    assert f"{bad.directory} cannot be used: [Errno 28] No space left" in outcomes["bad"].detail
    assert "free space on that disk, or choose a folder on another" in outcomes["bad"].detail


def test_a_file_in_the_place_of_a_folder_fails_its_job_alone(tmp_path):
    bad, good = job(tmp_path, "bad"), job(tmp_path, "good")
    shutil.rmtree(bad.directory)
    bad.directory.write_text("a file")
    outcomes = run_all([bad, good])
    assert [outcomes[name].state for name in ("bad", "good")] == ["failed", "done"]


def test_a_disk_that_is_full_at_the_end_of_a_run_still_tells_its_error(tmp_path, monkeypatch):
    bad = job(tmp_path, "bad", "fail")
    refuse = lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device"))  # noqa: E731
    monkeypatch.setattr(sweep_jobs.files, "write_json", refuse)
    assert execute(bad).detail == "exit code 1: error: no such thing" and failure_of(bad) is None


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", '{"config_hash": 3}', '"', "\0\0"])
def test_a_damaged_record_of_a_failure_is_none(tmp_path, content):
    one = job(tmp_path, "a")
    (one.directory / "sweep.json").write_text(content)
    assert state_of(one)[0] == "missing" and run_all([one])["a"].state == "done"


def test_a_record_of_a_failure_that_lacks_words_is_taken(tmp_path):
    one = job(tmp_path, "a")
    (one.directory / "sweep.json").write_text(json.dumps({"config_hash": one.config_hash, "tail": [1, "b"]}))
    assert state_of(one) == ("failed", "") and run_all([one])["a"].tail == ("b",)
    assert run_all([one], "--retry")["a"].state == "done"


def test_a_damaged_result_is_named_and_run_again(tmp_path, capsys):
    one = job(tmp_path, "a")
    write(one.directory, '{"format": 1, "trainer"')
    states = sweep_jobs.states_of([one])
    assert states["a"][0] == "missing" and "results.json is broken: no JSON" in states["a"][1]
    assert run_all([one])["a"].state == "done" and starts(one) == [1]


def test_the_result_of_a_moved_run_counts(tmp_path):
    before = job(tmp_path, "a")
    assert run_all([before])["a"].state == "done"
    after = Job("a", before.directory, before.command, "f" * 16, moved_from=before.config_hash)
    assert state_of(after)[0] == "done" and Job.from_dict(after.to_dict()) == after
    assert state_of(Job("a", before.directory, before.command, "f" * 16))[0] == "missing"


def test_an_error_is_shown_once_and_whole(tmp_path, monkeypatch):
    url = f"https://example.org/{'weights/' * 40}{'0123456789abcdef' * 4}.pt"
    error = f"error: cannot fetch {url}: get it by hand"
    (tmp_path / "run.log").write_text(f"loss 3, error rate\nwords\n{error}\n")
    one = Job("a", tmp_path, ("x",), "0" * 16)
    assert executing._reason(one, 1) == f"exit code 1: {error}"
    outcome = Outcome("a", "failed", executing._reason(one, 1), tuple(executing._tail(tmp_path / "run.log")), log="l")
    text = sweep.summary([outcome])
    assert text.count(url) == 1 and "    words" in text
    listed = sweep.listing([one], {"a": ("failed", f"exit code 1: {error}")})
    assert url not in listed and "https" not in listed and "exit code 1: error: cannot fetch ..." in listed


def test_names_in_a_log_send_nothing_to_the_terminal(tmp_path):
    (tmp_path / "run.log").write_bytes(b"error: no file \x1b]0;gotcha\x07.jpg\n")
    assert executing._tail(tmp_path / "run.log") == [r"error: no file \x1b]0;gotcha\x07.jpg"]
    assert executing._tail(tmp_path / "gone.log") == []
