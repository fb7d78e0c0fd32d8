"""Two processes learn, measure and write what one does: `torchrun --nproc_per_node=2`, gloo on the CPU."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import result
from tiny_runs import LEARN, PROCESSES, SRC, same_bits, torchrun

import train
from promptkd.engine import checkpoints

pytestmark = pytest.mark.slow

FOLDERS = {"PromptSRC": "VLPromptLearner", "PromptKD": "VLPromptLearner", "CoOp": "prompt_learner"}


@pytest.fixture(scope="module")
def argv(argv):
    """Test batches of 6 are three: one process has two of them, and the last is of three images."""
    return lambda *words: argv(*words[:2], *LEARN, "DATALOADER.TEST.BATCH_SIZE", "6", *words[2:])


@pytest.fixture(scope="module")
def runs(argv, clips, tmp_path_factory) -> tuple[Path, str, str]:
    """A folder with each run by "one" and by "two" processes, and what the two printed."""
    folder = tmp_path_factory.mktemp("runs")
    teacher = ["TRAINER.PROMPTKD.TEACHER", clips["teacher"], "TRAINER.PROMPTKD.PROMPT_DEPTH_VISION", "2"]
    learns = ["TRAINER.PROMPTKD.KD_WEIGHT", "50", "OPTIM.LR", "0.005", "DATALOADER.TRAIN_X.BATCH_SIZE", "10"]
    options = {
        "PromptSRC": [*SRC, "OPTIM.LR", "0.05"],
        "PromptKD": [*teacher, *learns, "TEST.FINAL_MODEL", "best_val"],
        "CoOp": ["TRAINER.COOP.N_CTX", "3", "OPTIM.LR", "0.05", "TRAIN.ACCUMULATE", "2", "LOGGER", "tensorboard,csv"],
    }
    jobs = []
    for trainer, words in options.items():
        train.main(argv(trainer, folder / "one" / trainer, *words))
        jobs.append({"argv": argv(trainer, folder / "two" / trainer, *words), "state": str(folder / trainer)})
    cache = ["TRAINER.PROMPTKD.TEACHER_CACHE", "exact", "TRAINER.PROMPTKD.CACHE_DIR", str(folder / "cache")]
    levers = [*options["PromptKD"], "INPUT.ON_DEVICE", "True", *cache]
    train.main(argv("PromptKD", folder / "one/levers/PromptKD", *levers))
    for name in ("computes", "reads"):
        jobs.append(
            {"argv": argv("PromptKD", folder / name / "PromptKD", *levers), "state": str(folder / f"it-{name}")}
        )
    evaluates = ["--eval-only", *options["CoOp"], "MODEL_DIR", str(folder / "one/CoOp")]
    jobs.append({"argv": argv("CoOp", folder / "two/again", *evaluates), "state": str(folder / "again")})
    resumed = shutil.copytree(folder / "one/CoOp", folder / "two/resumed/CoOp")
    (resumed / "prompt_learner/model.pth.tar-2").unlink()
    jobs.append({"argv": argv("CoOp", resumed, *options["CoOp"]), "state": str(folder / "resumed")})
    mixed = {"argv": argv("CoOp", folder / "two/mixed", *options["CoOp"], "TRAINER.COOP.PREC", "fp16"), "bf16": [1, 0]}
    jobs.append(mixed | {"state": str(folder / "mixed")})
    broken = {"argv": argv("CoOp", folder / "two/broken", *options["CoOp"]), "state": "", "fails": 1, "bf16": [0, 0]}
    (folder / "jobs.json").write_text(json.dumps([*jobs, broken]))
    done = torchrun(str(PROCESSES), str(folder / "jobs.json"))
    assert (folder / "again-1").is_file(), done.stderr
    return folder, done.stdout, done.stderr


def learned(run: Path, epoch: int) -> dict[str, torch.Tensor]:
    return checkpoints.read_checkpoint(run / FOLDERS[run.name] / f"model.pth.tar-{epoch}")["state_dict"]


def predictions(run: Path) -> list[dict[str, str]]:
    with open(run / "predictions.csv", newline="") as file:
        return list(csv.DictReader(file))


def same_metrics(one: dict, two: dict) -> None:
    """Counts of images and what follows from them are equal; what is summed over probabilities is to rounding."""
    assert one.keys() == two.keys()
    for name, value in one.items():
        if not isinstance(value, dict):
            assert value == two[name]
            continue
        summed = {"ece", "brier"} & value.keys()
        assert {key: value[key] for key in value.keys() - summed} == {
            k: two[name][k] for k in two[name].keys() - summed
        }
        assert all(value[key] == pytest.approx(two[name][key], rel=1e-3) for key in summed)


SAME = {f"two/{trainer}": f"one/{trainer}" for trainer in FOLDERS}
SAME |= {"two/resumed/CoOp": "one/CoOp", "computes/PromptKD": "one/levers/PromptKD"}


@pytest.mark.parametrize("name", SAME)
def test_same_weights_as_one_process(runs, name):
    """To rounding: far nearer than an epoch moves them. PromptKD has BatchNorm, PromptSRC its mean over epochs.

    "resumed": one process had the first epoch, two have the second. "computes": with a teacher cache, on the device;
    after one epoch, as rounding then flips a unit of the projector's ReLU (between 1 and 2 threads of a process, too).
    """
    one, two = runs[0] / SAME[name], runs[0] / name
    first, last = learned(one, 1), learned(one, 2)
    epoch = 1 if name.startswith("computes") else 2
    wanted, actual = learned(one, epoch), learned(two, epoch)
    moved = {name: (value - first[name]).abs().max() for name, value in last.items()}
    # a bias before BatchNorm has no gradient but rounding's
    assert all(value > 1e-4 for name, value in moved.items() if name != "projector.0.bias"), moved
    for key, value in wanted.items():
        assert (actual[key] - value).abs().max() <= 1e-3 * moved[key] + 1e-6, key


def test_the_main_process_chooses_the_arithmetic(runs):
    """Process 0 alone prefers bfloat16."""
    assert [torch.load(runs[0] / f"mixed-{rank}", weights_only=True)["arithmetic"] for rank in range(2)] == [
        "bfloat16"
    ] * 2


def test_processes_share_a_teacher_cache(runs):
    """The second run of two processes computes nothing, and learns the same, bit for bit."""
    folder = runs[0]
    counts = [result(folder / name / "PromptKD")["teacher"]["cache"] for name in ("computes", "reads")]
    assert counts[0]["read"] == counts[1]["computed"] == 0 and counts[0]["computed"] == counts[1]["read"] > 0
    first, second = (learned(folder / name / "PromptKD", 2) for name in ("computes", "reads"))
    assert same_bits(first, second)


@pytest.mark.parametrize("trainer", FOLDERS)
def test_processes_agree(runs, trainer):
    """Both hold the same, bit for bit: weights, BatchNorm's statistics, GPA's sums, and the accuracy."""
    first, second = (torch.load(runs[0] / f"{trainer}-{rank}", weights_only=True) for rank in (0, 1))
    assert same_bits(first["learned"], second["learned"])
    assert same_bits(first["averaged"], second["averaged"]) == (trainer == "PromptSRC")  # the others have none
    assert first["accuracy"] == second["accuracy"]


@pytest.mark.parametrize("trainer", FOLDERS)
def test_same_measures_and_files(runs, trainer):
    one, two = (runs[0] / name / trainer for name in ("one", "two"))
    assert {path.relative_to(one) for path in one.rglob("*") if "tfevents" not in path.name} == {
        path.relative_to(two) for path in two.rglob("*") if "tfevents" not in path.name
    }
    assert len(list(two.rglob("*tfevents*"))) == 1
    mine, theirs = result(one), result(two)
    same_metrics(mine["metrics"], theirs["metrics"])
    assert mine["config_hash"] == theirs["config_hash"]
    same_metrics((mine["teacher"] or {}).get("metrics", {}), (theirs["teacher"] or {}).get("metrics", {}))
    assert (mine["processes"], theirs["processes"]) == (1, 2)
    for row, other in zip(predictions(one), predictions(two), strict=True):
        assert [row[key] for key in ("path", "group", "label", "prediction")] == [
            other[key] for key in ("path", "group", "label", "prediction")
        ]
        assert float(row["p1"]) == pytest.approx(float(other["p1"]), abs=1e-4)


def test_evaluation_is_the_same(runs):
    """Each image once, in the same order; probabilities to rounding, which depends on the number of threads."""
    tables = []
    for name in ("two/again", "one/CoOp"):
        with (runs[0] / name / "predictions.csv").open(newline="") as file:
            tables.append(list(csv.reader(file)))
    (head, *two), (_, *one) = tables
    numbers = [column for column, name in enumerate(head) if name in ("p1", "p2", "p3", "p4", "p5")]
    assert len(two) == 15 and len(numbers) == 5
    assert [row[:4] for row in two] == [row[:4] for row in one]  # path, group, label, prediction
    for ours, theirs in zip(two, one, strict=True):
        assert [float(ours[n]) for n in numbers] == pytest.approx([float(theirs[n]) for n in numbers], abs=1e-5)
    assert result(runs[0] / "two/again")["metrics"] == result(runs[0] / "one/CoOp")["metrics"]


def test_losses_in_the_log_are_means_over_processes(runs):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    values = []
    for name in ("one", "two"):
        events = EventAccumulator(str(runs[0] / name / "PromptSRC" / "tensorboard")).Reload()
        values.append([event.value for event in events.Scalars("train/loss_ce")])
    assert values[0] == pytest.approx(values[1], rel=1e-4) and len(values[0]) == 6


def test_one_process_prints_and_one_tells_of_an_error(runs):
    _, out, err = runs
    assert out.count("Model: ") == 9 and out.count("Trained in ") == 7
    assert [line for line in err.splitlines() if line.startswith("error:")] == [
        "error: this process has no image (PROMPT_TRACEBACK=1 shows where)"
    ]


def test_a_batch_that_cannot_be_shared_is_refused(argv, tmp_path):
    words = argv("CoOp", tmp_path / "run", "DATALOADER.TRAIN_X.BATCH_SIZE", "5")
    done = torchrun("train.py", *words)
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "cannot be shared equally: set it to 4 or 6, or use 1 processes" in errors[0]


def test_the_main_process_alone_keeps_the_numbers(runs):
    """metrics.csv has each number once, the same as that of one process."""
    folder, _, _ = runs
    tables = []
    for run in ("one/CoOp", "two/CoOp"):
        with open(folder / run / "metrics.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len({(row["step"], row["name"]) for row in rows})
        tables.append({(row["step"], row["name"]): float(row["value"]) for row in rows})
    one, two = tables
    assert one.keys() == two.keys() and one
    losses = [key for key in one if "loss" in key[1]]
    assert losses and all(two[key] == pytest.approx(one[key], rel=1e-4) for key in losses)
