"""`promptkd robust`: which runs it measures, what of them, and that nothing that was measured before is lost."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import result, write_data
from tiny_runs import BASE, METHODS, SRC

from promptkd.engine.robust import command
from promptkd.engine.robust.command import main as robust
from promptkd.engine.robust.recorded import Measured
from promptkd.engine.training import Training
from promptkd.results.record import update

WORDS = [*BASE, *METHODS["CoOp"].words("CoOp")]
QUICK = ["--steps", "4", "--images", "6"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, argv) -> Path:
    """A finished run that was measured on fog, under STRICT."""
    import train

    directory = tmp_path_factory.mktemp("run") / "coop"
    fog = ["TEST.CORRUPT.KINDS", "fog", "TEST.CORRUPT.SEVERITIES", "(1,)", "TEST.CORRUPT.IMAGES", "4", "STRICT", "True"]
    train.main(argv("CoOp", directory, *WORDS, *fog))
    return directory


@pytest.fixture
def finished(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def error_of(capsys) -> str:
    """The one line of an error."""
    line = capsys.readouterr().err
    assert line.startswith("error: ") and line.count("\n") == 1
    return str(line)


def test_what_was_measured_survives_and_nothing_else_is_measured(finished, run, monkeypatch, capsys):
    before = result(finished)
    assert before["corruptions"]["groups"]["base"]["images"] == 4
    with monkeypatch.context() as patch:
        patch.setattr("promptkd.engine.robust.recorded.measure_corruptions", lambda *parts: pytest.fail("fog again"))
        assert robust([str(finished), *QUICK, "--eps", "8"]) == 0
    assert robust([str(finished), "--against", str(Path(before["data_root"]) / "eurosat" / "2750" / "River")]) == 0
    out = capsys.readouterr().out
    assert "=> result" not in out and "* total" not in out and "AUROC in percent: base" in out
    assert robust([str(finished), *QUICK, "--eps", "4"]) == 0
    measured = result(finished)
    assert measured["robustness"]["attack"]["eps"] == ["4/255", "8/255"]
    assert {"pgd4_eps4", "pgd4_eps8"} < measured["robustness"]["groups"]["new"].keys()
    assert measured["other_data"]["images"] == 11 and 0 <= measured["metrics"]["base"]["auroc_other_data"] <= 100
    assert measured["corruptions"] == before["corruptions"]
    fog = ["TEST.CORRUPT.KINDS", "fog", "TEST.CORRUPT.SEVERITIES", "(1,)", "TEST.CORRUPT.IMAGES", "4", "STRICT", "True"]
    run("CoOp", finished, *WORDS, *fog)  # the same command again, and an evaluation into the run
    run("CoOp", finished, *WORDS, *fog, "STRICT", "False", "--eval-only", f"--model-dir={finished}")
    after = result(finished)
    for name in ("robustness", "corruptions", "other_data", "metrics", "learned_sha256"):
        assert after[name] == measured[name]
    pictures = {one["picture"] for one in after["robustness"]["examples"]}
    assert pictures == {f"attacked/{path.name}" for path in (finished / "attacked").iterdir()}


def test_what_another_process_measures_meanwhile_stays(finished, monkeypatch):
    corruptions = result(finished)["corruptions"] | {"severities": []}
    corruptions["by_severity"] = {}

    def on_changed_images(self, cfg) -> Measured:
        update(finished, lambda latest: replace(latest, corruptions=corruptions))
        return original(self, cfg)

    original = Training.on_changed_images
    monkeypatch.setattr(Training, "on_changed_images", on_changed_images)
    assert robust([str(finished), *QUICK, "--eps", "8"]) == 0
    found = result(finished)
    assert found["corruptions"] == corruptions and found["robustness"]


def test_the_hash_of_what_was_learned_is_that_of_a_later_evaluation(run, tmp_path: Path):
    """PromptSRC reports a mean over its epochs."""
    run("PromptSRC", tmp_path / "run", *SRC)
    run("PromptSRC", tmp_path / "evaluated", *SRC, "--eval-only", f"--model-dir={tmp_path / 'run'}")
    assert result(tmp_path / "run")["learned_sha256"] == result(tmp_path / "evaluated")["learned_sha256"] is not None


def attack(*words: str) -> str:
    return command.attack_of(command.parser().parse_args(["RUN", *words]))


def test_a_flag_of_attacks_implies_pgd():
    assert attack() == attack("--images", "9") == attack("--attack", "pgd", "--corrupt", "fog") == "pgd"
    for words in (["--eps", "4"], ["--steps", "3"], ["--alpha", "1"], ["--random-start"], ["--check"]):
        assert attack(*words, "--corrupt", "fog") == attack(*words, "--against", "shipped") == "pgd"
    assert attack("--corrupt", "fog", "--images", "9") == attack("--attack", "none", "--corrupt", "fog") == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--severities", "3"], "--severities 3: they are of --corrupt"),
        (["--attack", "none"], "--attack none: nothing is measured"),
        (["--attack", "none", "--eps", "4", "--check", "--corrupt", "fog"], "--attack none, and --eps, --check"),
        (["--against", "shipped", "--images", "4"], "--images 4: --against takes all test images"),
        (["--model-dir", "x"], "--model-dir x: it is for evaluations"),
    ],
)
def test_flags_that_would_be_passed_over_are_refused(trained, words, message, capsys):
    assert robust([str(trained), *words]) == 1
    assert message in error_of(capsys)


def test_a_run_that_has_not_finished_says_how_it_goes_on(finished, capsys):
    (finished / "results.json").unlink()
    assert robust([str(finished)]) == 1
    line = error_of(capsys)
    assert f"{finished} has not finished: there is no results.json; start its command again" in line
    (finished / "results.json").write_text("{")
    assert robust([str(finished)]) == 1
    assert f"{finished / 'results.json'} is broken" in error_of(capsys)


def test_an_evaluation_of_its_own_is_measured(finished, run, tmp_path: Path, capsys):
    elsewhere = tmp_path / "xd"
    run("CoOp", elsewhere, *WORDS, "--eval-only", f"--model-dir={finished}")
    before = result(elsewhere)
    assert before["model_dir"] == finished.as_posix() and before["eval_only"]
    assert robust([str(elsewhere), *QUICK, "--eps", "8"]) == 0
    assert robust([str(finished), *QUICK, "--eps", "8"]) == 0
    after = result(elsewhere)
    assert after["robustness"] == result(finished)["robustness"] and {**after, "robustness": None} == before
    moved = finished.rename(tmp_path / "moved")
    capsys.readouterr()
    assert robust([str(elsewhere), *QUICK]) == 1
    assert f"{elsewhere} is an evaluation of {finished}, which is not there: give its --model-dir" in error_of(capsys)
    assert robust([str(elsewhere), *QUICK, "--eps", "8", "--model-dir", str(moved)]) == 0
    # results of before there were these fields: the command that they keep says it, or nothing does
    old = after | {"model_dir": None, "robustness": None, "command": ["train.py", "--model-dir", str(moved)]}
    (elsewhere / "results.json").write_text(json.dumps(old))
    assert robust([str(elsewhere), *QUICK, "--eps", "8"]) == 0
    for entries, message in (
        ({"command": sys.argv}, "does not say of which run"),
        ({"settings": {}}, "wrote no settings"),
    ):
        (elsewhere / "results.json").write_text(json.dumps(old | entries))
        capsys.readouterr()
        assert robust([str(elsewhere), *QUICK]) == 1
        assert message in error_of(capsys)


def test_other_data_than_the_run_had_are_refused(finished, tmp_path: Path, capsys):
    root = Path(write_data(tmp_path / "data"))
    assert robust([str(finished), *QUICK, "--eps", "8", "--root", str(root)]) == 0  # the same elsewhere
    before = (finished / "results.json").read_text()
    file = root / "eurosat" / "split_zhou_EuroSAT.json"
    split = json.loads(file.read_text())
    more = [*split["test"], [split["val"][0][0], 0, "Annual Crop Land"]]
    renamed = {
        part: [[path, label, name.replace("Forest", "Wood")] for path, label, name in split[part]] for part in split
    }
    for changed, message in (
        (split | {"test": more, "val": split["val"][1:]}, "base has 10 images, had 9: give the data as they were"),
        (renamed, "base has 'Wood', which it had not; base has no 'Forest', which it had"),
    ):
        file.write_text(json.dumps(changed))
        capsys.readouterr()
        assert robust([str(finished), *QUICK, "--root", str(root)]) == 1
        assert message in error_of(capsys)
    assert (finished / "results.json").read_text() == before
