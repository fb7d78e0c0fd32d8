"""The launcher: what each command runs, in which order, and the tables it ends with."""

from __future__ import annotations

import io
import os
import signal
import threading
from pathlib import Path

import pytest
from conftest import CLASSES, SIZE, result
from fake_jobs import job as fake
from fake_jobs import starts, until
from trees import write_class_tree

import train
from promptkd.home import ROOT
from promptkd.sweep import execute as executing
from promptkd.sweep import launch
from promptkd.sweep.expand import jobs_of
from promptkd.sweep.jobs import Job, Outcome
from promptkd.sweep.lock import holder
from promptkd.sweep.progress import Foreground


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch):
    for name in ("DATA", "OUTPUT", "SHOTS", "SOURCE", "RECIPE", "TEACHER", "KD_WEIGHT"):
        monkeypatch.delenv(name, raising=False)


def names(command: str, trainers: str, *words: str) -> list[str]:
    plans = launch.read_words(command, trainers.split(","), words)
    return list(dict.fromkeys(job.name for plan in plans for job in jobs_of(plan)))


def test_few_shot_takes_the_recipe_of_the_number_of_shots():
    assert names("fewshot", "CoOp", "eurosat", "1,16", "2") == [
        "fewshot/eurosat/shots_1/CoOp/vit_b16_ep50/seed2",
        "fewshot/eurosat/shots_16/CoOp/vit_b16/seed2",
    ]
    every = names("fewshot", "MaPLe", "eurosat", "all", "1")
    assert [name.split("/")[2] for name in every] == ["shots_1", "shots_2", "shots_4", "shots_8", "shots_16"]


def test_few_shot_student_has_a_few_shot_teacher():
    teacher, student = names("fewshot", "PromptKD", "eurosat", "4", "3")
    assert teacher == "fewshot/eurosat/shots_4/PromptSRC/vit_l14_c2_ep20_batch8_4+4ctx/seed1"
    assert student == "fewshot/eurosat/shots_4/PromptKD/vit_b16_c2_ep20_batch8_4+4ctx/seed3"


def test_words_of_the_published_scripts():
    """KgCoOp's weight behind the data set; a source run that names its seed alone."""
    (plan,) = launch.read_words("base2new", ["KgCoOp"], ["stanford_cars", "8.0", "1"])
    assert plan.set == {"TRAINER.KGCOOP.W": "8.0"} and plan.seeds == [1]
    assert names("xd_train", "CoCoOp", "2") == names("xd_train", "CoCoOp", "imagenet", "2")
    with pytest.raises(ValueError, match="xd_train needs a data set"):
        launch.read_words("xd_train", ["PromptKD"], ["1"])


def test_one_source_run_serves_every_target():
    planned = names("xd_test", "CoOp", "all", "dg", "1")
    assert planned[0] == "cross/imagenet/shots_16/CoOp/vit_b16_ep50_ctxv1/seed1"
    assert len(planned) == 1 + 10 + 4
    assert sum(name.startswith("dg/imagenet_to_imagenet") for name in planned) == 4


def test_student_elsewhere_learns_on_the_target_from_a_teacher_of_the_source():
    teacher, student = names("xd_train", "PromptKD", "dtd", "1")
    assert teacher.startswith("cross/imagenet/shots_16/PromptSRC/")
    assert student.startswith("cross/imagenet_to_dtd/shots_all/PromptKD/") and "cross_datasets" in student


def test_recipe_and_environment_are_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECIPE", "rn50")
    monkeypatch.setenv("SHOTS", "8")
    assert names("base2new", "CoOp", "eurosat", "1") == ["base2new/eurosat/shots_8/CoOp/rn50/seed1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["base2new", "CoOpp", "eurosat"], "no method 'CoOpp'; closest: CoOp"),
        (["base2new", "CoOp", "eurosatt"], "no data set 'eurosatt'; closest: eurosat"),
        (["base2new", "CoOp"], "base2new needs a data set"),
        (["base2new", "CoOp", "eurosat", "1", "OPTIM.LR"], "the last one stands alone: 'OPTIM.LR'"),
        (["base2new", "CoOp", "eurosat", "1", "OPTIM.LRR", "1"], "no configuration key OPTIM.LRR; closest: OPTIM.LR"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture):
    assert launch.main(words) == 1
    printed = capsys.readouterr().err
    assert message in printed and len(printed.splitlines()) == 1


@pytest.fixture
def tiny(clips: dict[str, str], data_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options of tiny runs, in this process, over two data sets; counts the runs in `runs.txt`."""
    root = tmp_path / "data"
    root.mkdir()
    (root / "eurosat").symlink_to(Path(data_root) / "eurosat")
    write_class_tree(root / "dtd" / "images", dict.fromkeys(["banded", "dotted", "woven"], 10))

    def here(one: Job, *_: object) -> int:
        assert Path(one.command[1]) == ROOT / "train.py"
        with (tmp_path / "runs.txt").open("a") as file:
            file.write(" ".join(one.command) + "\n")
        train.main(list(one.command[2:]))
        return 0

    monkeypatch.setattr(executing, "_process", here)
    monkeypatch.setenv("DATA", str(root))
    monkeypatch.setenv("OUTPUT", str(tmp_path / "out"))
    monkeypatch.setenv("SHOTS", "2")
    monkeypatch.setenv("SOURCE", "eurosat")
    options = {"MODEL.BACKBONE.NAME": clips["student"], "INPUT.SIZE": f"({SIZE}, {SIZE})", "OPTIM.MAX_EPOCH": "1"}
    options |= {"DATALOADER.NUM_WORKERS": "0", "USE_CUDA": "False", "VERBOSE": "False"}
    options |= {"DATALOADER.TRAIN_X.BATCH_SIZE": "4"}
    return [word for pair in options.items() for word in pair]


def test_cross_evaluates_without_training_again(tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture):
    assert launch.main(["xd_train", "CoOp", "eurosat", "1", *tiny]) == 0
    source = tmp_path / "out/cross/eurosat/shots_2/CoOp/vit_b16_ep50_ctxv1/seed1"
    checkpoint = source / "prompt_learner" / "model.pth.tar-1"
    written = checkpoint.stat().st_mtime_ns
    capsys.readouterr()

    assert launch.main(["xd_test", "CoOp,ZeroshotCLIP", "dtd", "1", *tiny]) == 0
    output = capsys.readouterr().out
    assert f"Done already: {source}" in output and checkpoint.stat().st_mtime_ns == written
    measured = result(tmp_path / "out/cross/eurosat_to_dtd/shots_2/CoOp/vit_b16_ep50_ctxv1/seed1")
    assert (measured["protocol"], measured["learned_on"], measured["transductive"]) == ("cross", "EuroSAT", False)
    assert measured["metrics"]["all"]["classes"] == 3 and measured["shots"] == 2
    assert "cross from EuroSAT, inductive" in output
    table = output[output.index("cross from EuroSAT") :]
    assert "ZeroshotCLIP" in table and "DescribableTextures" in table
    assert len((tmp_path / "runs.txt").read_text().splitlines()) == 3


def test_student_elsewhere_is_marked_transductive(tiny: list[str], clips, tmp_path: Path, capsys):
    prompts = ["TRAINER.PROMPTKD.PROMPT_DEPTH_VISION", "2", "TEACHER.MODEL.BACKBONE.NAME", clips["teacher"]]
    for key in ("VISION", "TEXT"):
        prompts += [f"TEACHER.TRAINER.PROMPTSRC.PROMPT_DEPTH_{key}", "2"]
    prompts += ["TEACHER.OPTIM.MAX_EPOCH", "1"]
    assert launch.main(["xd_train", "PromptKD", "dtd", "1", *tiny, *prompts]) == 0
    recipe = "vit_b16_c2_ep20_batch8_4+4ctx_cross_datasets"
    measured = result(tmp_path / f"out/cross/eurosat_to_dtd/shots_all/PromptKD/{recipe}/seed1")
    assert (measured["protocol"], measured["learned_on"], measured["transductive"]) == ("cross", "EuroSAT", True)
    assert "cross from EuroSAT, TRANSDUCTIVE" in capsys.readouterr().out

    assert launch.main(["fewshot", "PromptKD", "eurosat", "2", "1", *tiny, *prompts]) == 0
    measured = result(tmp_path / "out/fewshot/eurosat/shots_2/PromptKD/vit_b16_c2_ep20_batch8_4+4ctx/seed1")
    assert (measured["protocol"], measured["shots"], measured["transductive"]) == ("fewshot", 2, True)
    assert measured["metrics"]["all"]["classes"] == len(CLASSES) and measured["unlabelled_images"] == 30
    assert "fewshot, TRANSDUCTIVE" in capsys.readouterr().out


# ---- on the sweep


@pytest.fixture
def launches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd):
    """`launches(jobs)` -> exit code, stdout and stderr of a script that has these (made-up) runs."""
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def call(jobs: list[Job]) -> tuple[int, str, str]:
        monkeypatch.setattr(launch, "jobs_of", lambda plan: jobs)
        monkeypatch.setattr(launch, "folders", lambda plans: [str(tmp_path)])
        return launch.main(["base2new", "CoOp", "eurosat", "1"]), *capfd.readouterr()

    return call


def test_a_failure_does_not_stop_a_script_and_is_told(launches, tmp_path):
    bad, good = fake(tmp_path, "bad", "fail-once"), fake(tmp_path, "good")
    jobs = [bad, fake(tmp_path, "student", needs=(bad,)), good, fake(tmp_path, "killed", "die-once")]
    code, out, err = launches(jobs)
    assert code == 1 and starts(*jobs) == [1, 0, 1, 2]
    assert out.startswith(f"Running: {bad.directory}\n") and out.index("some words before") < out.index("[1/4] failed")
    assert "FAILED bad: exit code 1: error: no such thing" in out and f"log: {bad.directory / 'run.log'}" in out
    assert "started again: killed, after SIGKILL" in out and "4 runs: 2 done, 1 failed, 1 blocked" in out
    assert out.index("4 runs:") < out.index("CoOp ViT-B/16"), "the table comes last"
    assert err == "error: 2 of 4 runs not done; the same command goes on with them\n"
    code, out, err = launches(jobs)  # failed ones again, without a word about --retry
    assert (code, err) == (0, "") and starts(*jobs) == [2, 1, 1, 2]
    assert out.count("Done already: ") == 2 and "--retry" not in out


def test_interrupt_ends_a_script_and_its_run(launches, tmp_path):
    jobs = [fake(tmp_path, "a"), fake(tmp_path, "b", "wait"), fake(tmp_path, "c")]

    def interrupt() -> None:
        until(lambda: starts(jobs[1]) == [1])
        os.kill(os.getpid(), signal.SIGINT)

    helper = threading.Thread(target=interrupt)
    helper.start()
    code, out, err = launches(jobs)
    helper.join()
    assert code == 130 and starts(*jobs) == [1, 1, 0] and not holder(jobs[1].directory)
    assert "CoOp ViT-B/16" in out and err.startswith("stopped: 2 of 3 runs not done")


def test_a_script_waits_for_what_a_sweep_runs(launches, tmp_path):
    one = fake(tmp_path, "a", "wait")
    sweeping = threading.Thread(target=executing.execute, args=(one,))
    sweeping.start()
    until(lambda: starts(one) == [1])
    threading.Timer(1.5, (one.directory / "go").touch).start()
    code, out, _ = launches([one])
    sweeping.join(60)
    assert code == 0 and starts(one) == [1]
    assert out.startswith(f"Waiting for {one.directory}: process {os.getpid()}")
    assert f"Done already: {one.directory}" in out


def test_a_directory_of_another_configuration_is_refused_before_anything_runs(launches, tmp_path):
    jobs = [fake(tmp_path, "a"), fake(tmp_path, "b")]
    (jobs[1].directory / "config.yaml").write_text("TRAINER: {NAME: CoOp, COOP: {N_CTX: 4}}\nDATASET: {NAME: DTD}\n")
    code, _, err = launches(jobs)
    assert code == 1 and starts(*jobs) == [0, 0]
    assert err.endswith("b holds another configuration: give another OUTPUT, or remove it\n")


def test_what_a_run_prints_is_shown_as_it_comes(tmp_path):
    stream, one = io.StringIO(), fake(tmp_path, "a")
    log = one.directory / "run.log"
    log.write_text("of an earlier sweep\n")
    progress = Foreground([one], stream)
    progress.started(one)
    with log.open("ab", buffering=0) as file:
        file.write("epoch 1\nepöch".encode()[:-4])
        progress.show()
        assert stream.getvalue() == f"Running: {one.directory}\nepoch 1\n"
        file.write("epöch".encode()[-4:])
    progress.ended(Outcome("a", "done", seconds=75))
    assert stream.getvalue().endswith("epoch 1\nepöch\n[1/1] done a (1:15)\n")
