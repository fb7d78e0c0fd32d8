"""Plans: the runs that they name, in which order, and mistakes in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_up import result, write

from promptkd.engine import command
from promptkd.results.directory import take_directory
from promptkd.sweep import command as sweep
from promptkd.sweep.expand import jobs_of
from promptkd.sweep.jobs import state_of, states_of
from promptkd.sweep.plan import read_plan

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
    jobs = jobs_of(read_plan(plan_file(), {}))
    methods = [one.name.split("/")[3] for one in jobs]
    assert methods == ["ZeroshotCLIP", "PromptSRC", "PromptSRC", "PromptSRC", "PromptKD", "PromptKD"]
    (teacher,) = {name for one in jobs for name in one.needs}
    assert "vit_l14" in teacher and teacher.endswith("seed1")
    assert [one.needs for one in jobs if one.name.split("/")[3] == "PromptKD"] == [(teacher,), (teacher,)]
    assert str(jobs[0].directory.parents[6]) in " ".join(jobs[-1].command)


def test_command_line_wins_over_the_file(plan_file):
    assert names(plan_file(), trainers=["CoOp"], seeds=[7]) == ["base2new/eurosat/shots_16/CoOp/vit_b16_ctxv1/seed7"]


def test_repeated_options_add_up_and_keep_the_other_keys_of_the_file(plan_file):
    entries = {"set": {"OPTIM.MAX_EPOCH": 3, "OPTIM.LR": 9}, "grid": {"INPUT.SIZE": ["(32, 32)"]}}
    path = plan_file(trainers=["CoOp"], seeds=[1], **entries)
    words = ["--set", "OPTIM.LR", "0.1", "--set", "DATALOADER.NUM_WORKERS", "0"]
    words += ["--grid", "TRAINER.COOP.N_CTX", "2", "4"]
    jobs = sweep.jobs_from(sweep.parser().parse_args([path, *words]))
    assert len(jobs) == 2
    command = " ".join(jobs[0].command)
    assert all(told in command for told in ("MAX_EPOCH 3", "OPTIM.LR 0.1", "NUM_WORKERS 0", "N_CTX 2", "(32, 32)"))


def test_a_grid_gives_each_point_a_directory_of_its_own(plan_file):
    path = plan_file(grid={"TRAINER.PROMPTKD.KD_WEIGHT": [100, 200], "OPTIM.LR": [0.1]}, seeds=[1])
    jobs = jobs_of(read_plan(path, {}))
    recipes = [one.name.split("/")[4] for one in jobs]
    assert sum("+KD_WEIGHT=100+LR=0.1" in recipe for recipe in recipes) == 1
    assert sum("KD_WEIGHT" in recipe for recipe in recipes) == 2
    assert len({one.config_hash for one in jobs}) == len(jobs)


def test_a_grid_over_images_reaches_the_teacher(plan_file):
    path = plan_file(trainers=["PromptKD"], grid={"INPUT.CROP_PADDING": [1, 2]}, seeds=[1])
    jobs = jobs_of(read_plan(path, {}))
    assert len(jobs) == 4 and all("CROP_PADDING=" in one.name for one in jobs)
    assert all(one.name.split("+")[-1].split("/")[0] in one.needs[0] for one in jobs if one.needs)


def test_several_teachers_stand_in_the_place_of_one(plan_file):
    """{teacher} is the one that is trained here, and comes first; without it none is."""
    words = {"trainers": ["PromptKD"], "seeds": [1]}
    teacher, student = jobs_of(read_plan(plan_file(**words, set={"TRAINER.PROMPTKD.TEACHERS": "[{teacher}, a:b]"}), {}))
    assert student.needs == (teacher.name,)
    assert f"TRAINER.PROMPTKD.TEACHERS [{teacher.directory}, a:b]" in " ".join(student.command)
    assert "TRAINER.PROMPTKD.TEACHER " not in " ".join(student.command)
    for several in ("[c, a:b]", ["c", "a:b"]):
        (student,) = jobs_of(read_plan(plan_file(**words, set={"TRAINER.PROMPTKD.TEACHERS": several}), {}))
        assert student.needs == ()


def test_a_grid_over_lists_of_teachers_has_short_names(plan_file):
    lists = [[f"/a/very/long/path/to/{name}/base2new/eurosat/shots_16/PromptSRC/vit/seed1" for name in pair]
             for pair in (("one", "two"), ("one", "three"))]  # fmt: skip
    path = plan_file(trainers=["PromptKD"], seeds=[1], grid={"TRAINER.PROMPTKD.TEACHERS": lists})
    folders = [one.directory.parent.name for one in jobs_of(read_plan(path, {}))]
    assert len(set(folders)) == 2 and all(len(name) < 120 for name in folders)


def test_what_is_drawn_into_a_pool_is_drawn_for_each_seed(plan_file):
    """TFUP learns nothing and runs once, but for images that a seed draws; a teacher knows nothing of the pool."""
    plan = {"trainers": ["TFUP", "PromptKD"], "seeds": [1, 2]}
    assert sum("/TFUP/" in name for name in names(plan_file(**plan))) == 1
    jobs = jobs_of(read_plan(plan_file(**plan, grid={"POOL.IMBALANCE": [10]}), {}))
    drawn = [one.name for one in jobs if "/TFUP/" in one.name]
    assert len(drawn) == 2 and all("+IMBALANCE=10/" in name for name in drawn)
    (teacher,) = [one for one in jobs if "/PromptSRC/" in one.name]
    assert "IMBALANCE" not in " ".join([teacher.name, *teacher.command])


def test_done_in_one_sweep_is_done_in_another_by_its_configuration(plan_file, tmp_path):
    one = jobs_of(read_plan(plan_file(trainers=["CoOp"], seeds=[1]), {}))[0]
    write(one.directory, result("CoOp", config_hash=one.config_hash))
    assert state_of(one)[0] == "done"
    other = jobs_of(read_plan(plan_file(trainers=["CoOp"], seeds=[1]), {"set": {"OPTIM.LR": 0.5}}))[0]
    assert other.directory == one.directory and state_of(other)[0] == "missing"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"TEST.ROBUST.ATTACK": "pgd"}, "holds this run, measured otherwise (promptkd robust {} measures it"),
        ({"OPTIM.LR": 0.5}, "holds another configuration"),
    ],
)
def test_a_run_that_only_lacks_a_measurement_is_no_other(plan_file, option, message):
    before, asked = (
        jobs_of(read_plan(plan_file(trainers=["CoOp"], seeds=[1]), {"set": one}))[0] for one in ({}, option)
    )
    cfg = command.configure(command.parser().parse_args(before.command[2:]))
    take_directory(before.directory, cfg)
    state, detail = states_of([asked])[asked.name]
    assert state == "taken" and message.format(before.directory) in detail


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainers": ["PromptKDD"]}, "no method 'PromptKDD'; closest: PromptKD"),
        ({"datasets": ["eurosatt"]}, "closest: eurosat"),
        ({"protocols": ["base2novel"]}, "no protocol 'base2novel'; closest: base2new"),
        ({"trainers": []}, "names no trainers"),
        ({"seeds": [1, 1]}, "names 1 twice in seeds"),
        ({"seeds": ["one"]}, "seeds has 'one': give whole numbers"),
        ({"seeds": [-1]}, "seeds has -1: give whole numbers from 0 on"),
        ({"shots": [True]}, "shots has True: give whole numbers"),
        ({"trainers": [1, "CoOp"]}, "no method '1'"),
        ({"datasets": ["emoji", None]}, "datasets has None: give names"),
        ({"protocols": None}, "protocols has None: give names"),
        ({"set": {"OPTIM": {"LR": 2}}}, "set OPTIM is {'LR': 2}: write options with dots, as OPTIM.KEY: VALUE"),
        ({"grid": {"OPTIM": [{"LR": 2}]}}, "write options with dots, as OPTIM.KEY: VALUE"),
        ({"set": {"OPTIM.LR": 1}, "grid": {"OPTIM.LR": [2, 3]}}, "OPTIM.LR is in set and in grid: leave one out"),
        ({"grid": {"OPTIM.LR": 0.1}}, "give a list of values"),
        ({"grid": {"SEED": [1, 2]}}, "SEED: a plan says this by"),
        ({"set": ["OPTIM.LR"]}, "must be a dict"),
        ({"trainer": ["CoOp"]}, "no plan key 'trainer'; closest: trainers"),
        ({"set": {"OPTIM.LRR": 1}}, "no configuration key OPTIM.LRR; closest: OPTIM.LR"),
    ],
)
def test_mistakes_in_a_plan_are_one_line_before_anything_runs(plan_file, capsys, changes, message):
    assert sweep.main([plan_file(**changes)]) == 1
    printed = capsys.readouterr().err
    assert message in printed and len(printed.splitlines()) == 1


def test_a_key_that_is_no_text_is_one_line(tmp_path, capsys):
    path = tmp_path / "plan.yaml"  # JSON has no such keys
    path.write_text("trainers: [CoOp]\ndatasets: [emoji]\nset: {1: 2}\n")
    assert sweep.main([str(path)]) == 1
    assert capsys.readouterr().err.endswith(".yaml: set has the key 1: give an option, as OPTIM.LR\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trainers", "CoOp", "--datasets", "emoji", "--seeds", "-1"], "seeds has -1"),
        (["--set", "OPTIM.LR"], "stands alone"),
        (["--grid", "OPTIM.LR"], "give its values"),
        (["--set", "OPTIM.LR", "1", "--set", "OPTIM.LR", "2"], "--set OPTIM.LR is given twice"),
        (["--grid", "OPTIM.LR", "1", "--grid", "OPTIM.LR", "2"], "--grid OPTIM.LR is given twice: give it once, with"),
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


def test_a_recipe_may_be_named_by_what_stands_behind_the_usual_one(plan_file):
    for dataset, name in (("emoji", "mini_plus"), ("eurosat", "vit_b16_c2_ep20_batch8_4+4ctx_plus")):
        path = plan_file(trainers=["PromptKD"], datasets=[dataset], recipe="plus", seeds=[1])
        teacher, student = jobs_of(read_plan(path, {}))
        assert f"/PromptKD/{name}/" in student.name and "plus" not in teacher.name
    path = plan_file(trainers=["PromptKD"], datasets=["emoji"], recipe="mini_features", seeds=[1])
    assert "/mini_features/" in jobs_of(read_plan(path, {}))[-1].name
