"""LOGGER: every tracker has the run's numbers and its result, goes on where a run goes on, and costs a run nothing."""

from __future__ import annotations

import csv
import errno
import json
import os
import random
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import result
from tiny_runs import BASE, LEARN, METHODS, same_bits
from yacs.config import CfgNode

from promptkd.engine import checkpoints, trackers
from promptkd.engine.keys import TRACKERS
from promptkd.engine.trackers import Trackers, csv_table, names_in
from promptkd.engine.trackers.tracker import MEMORY, Picture, Scalar, Start

COOP = [*METHODS["CoOp"].words("CoOp"), *BASE, *LEARN]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """wandb and MLflow as on a machine without account, server and network."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    for name, value in {"WANDB_ERROR_REPORTING": "false", "WANDB_MODE": "offline"}.items():
        monkeypatch.setenv(name, value)
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-home"))
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()  # it reads its environment once


def rows(directory: Path) -> list[tuple[int, str, float]]:
    with (directory / csv_table.FILE_NAME).open(newline="") as file:
        table = list(csv.DictReader(file))
    return [(int(row["step"]), row["name"], float(row["value"])) for row in table]


def learned(directory: Path) -> dict[str, torch.Tensor]:
    return checkpoints.read_checkpoint(checkpoints.latest(directory / "prompt_learner"))["state_dict"]


def test_table_has_losses_rate_speed_and_result_and_tensorboard_only_where_it_is_named(run, tmp_path):
    run("CoOp", tmp_path, *COOP, "LOGGER", "csv")
    values: dict[str, list[tuple[int, float]]] = {}
    for step, name, value in rows(tmp_path):
        values.setdefault(name, []).append((step, value))
    steps = [step for step, _ in values["train/loss"]]
    assert steps == list(range(len(steps))) and len(steps) > 4
    assert len(values["train/lr"]) == len(steps) and values["train/lr"][0][1] == 0.002
    assert len(values["train/images_per_second"]) == 2
    metrics = result(tmp_path)["metrics"]
    for group in ("base", "new"):
        assert values[f"test/{group}/accuracy"] == [(steps[-1], metrics[group]["accuracy"])]
    assert values["test/hm"] == [(steps[-1], metrics["hm"])]
    assert not (tmp_path / "tensorboard").exists()


def test_all_trackers_at_once_change_no_number_of_the_run(run, tmp_path):
    pytest.importorskip("wandb")
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run("CoOp", tmp_path / "plain", *COOP, "LOGGER", "")
    run("CoOp", tmp_path / "all", *COOP, "LOGGER", "tensorboard, csv,wandb,mlflow")
    assert same_bits(learned(tmp_path / "plain"), learned(tmp_path / "all"))
    one, other = (result(tmp_path / name) for name in ("plain", "all"))
    assert one["metrics"] == other["metrics"] and one["config_hash"] == other["config_hash"]
    assert not {"tensorboard", "metrics.csv", "wandb", "mlruns", MEMORY} & set(os.listdir(tmp_path / "plain"))

    table = rows(tmp_path / "all")
    losses = [value for _, name, value in table if name == "train/loss"]
    events = EventAccumulator(str(tmp_path / "all" / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(losses)
    assert {"configuration/text_summary", "result/text_summary"} <= set(events.Tags()["tensors"])
    assert len(events.Tags()["images"]) == 5 and "taken for" in events.Tags()["images"][0]  # one of each class

    memory = json.loads((tmp_path / "all" / MEMORY).read_text())
    client = MlflowClient((tmp_path / "all" / "mlruns").as_uri())
    stored = client.get_run(memory["mlflow"])
    assert stored.info.status == "FINISHED" and stored.data.params["OPTIM.MAX_EPOCH"] == "2"
    history = sorted(client.get_metric_history(memory["mlflow"], "train/loss"), key=lambda one: one.step)
    assert [one.value for one in history] == pytest.approx(losses)
    assert stored.data.metrics["test/hm"] == pytest.approx(other["metrics"]["hm"])
    files = {one.path for one in client.list_artifacts(memory["mlflow"])}
    assert {"results.json", "test_images"} <= files

    (offline,) = (tmp_path / "all" / "wandb").glob(f"offline-run-*-{memory['wandb']}")
    stored_run = wandb_content(next(offline.glob("*.wandb")))
    assert stored_run["settings"]["OPTIM.MAX_EPOCH"] == "2"
    assert stored_run["history"]["train/loss"] == pytest.approx(losses)
    assert len(list(offline.glob("files/media/images/*.png"))) == 5


def wandb_records(path: Path) -> Iterator[bytes]:
    """The records in a run's file of wandb's: LevelDB's log format behind a head of 7 bytes."""
    content, at, parts = path.read_bytes(), 7, []
    while at + 7 <= len(content):
        if 2**15 - at % 2**15 < 7:  # no chunk begins so late in a block
            at += 2**15 - at % 2**15
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        parts.append(content[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts.clear()


def wandb_content(path: Path) -> dict[str, dict[str, Any]]:
    """The configuration and the history in a run's file of wandb's."""
    from wandb.proto import wandb_internal_pb2

    settings: dict[str, Any] = {}
    history: dict[str, list[Any]] = {}
    for data in wandb_records(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for entry in record.run.config.update:
            settings[entry.key] = entry.value_json
        for item in record.history.item:
            history.setdefault(item.key or "/".join(item.nested_key), []).append(json.loads(item.value_json))
    return {"settings": settings, "history": history}


def test_a_resumed_run_goes_on_in_the_same_tracker_runs(run, tmp_path):
    pytest.importorskip("wandb")
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = [*COOP, "LOGGER", "csv,mlflow,tensorboard,wandb"]
    run("CoOp", tmp_path / "whole", *words, epochs=3)
    run("CoOp", tmp_path / "cut", *words, epochs=3)
    cut = tmp_path / "cut"
    before = json.loads((cut / MEMORY).read_text())
    steps = len([name for _, name, _ in rows(cut) if name == "train/loss"])
    (cut / "prompt_learner" / "model.pth.tar-3").unlink()  # as if it had been killed in the last epoch
    (cut / "prompt_learner" / "checkpoint").write_text("model.pth.tar-2\n")
    (cut / "results.json").unlink()
    with (cut / csv_table.FILE_NAME).open("a") as file:
        file.write("2,train/lo")  # and while it wrote
    run("CoOp", cut, *words, epochs=3)
    unequal = ("train/images_per_second",)
    kept = [[row for row in rows(tmp_path / name) if row[1] not in unequal] for name in ("whole", "cut")]
    assert kept[0] == kept[1]
    assert json.loads((cut / MEMORY).read_text()) == before
    assert len(list((cut / "wandb").glob("offline-run-*"))) == 2  # which `wandb sync` sends to one run
    assert len(list((cut / "wandb").glob(f"offline-run-*/run-{before['wandb']}.wandb"))) == 2
    client = MlflowClient((cut / "mlruns").as_uri())
    (experiment,) = [one for one in client.search_experiments() if one.name == "promptkd"]
    (only,) = client.search_runs([experiment.experiment_id])
    assert only.info.status == "FINISHED"
    assert {one.step for one in client.get_metric_history(only.info.run_id, "train/loss")} == set(range(steps))
    events = EventAccumulator(str(cut / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(steps))


def test_a_run_that_learns_nothing_reports_its_result(run, tmp_path):
    run("ZeroshotCLIP", tmp_path, "LOGGER", "csv")
    assert ("test/all/accuracy", result(tmp_path)["metrics"]["all"]["accuracy"]) in [row[1:] for row in rows(tmp_path)]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("tensorbord", "LOGGER 'tensorbord': choose tensorboard, csv, wandb, mlflow"),
        ("csv,,tensorboard", "choose tensorboard, csv, wandb, mlflow"),
        ("csv, csv", "name csv once"),
        ("[csv]", "choose tensorboard, csv, wandb, mlflow"),
    ],
)
def test_names_that_are_no_tracker_are_refused_before_training(run, tmp_path, value, message):
    with pytest.raises(ValueError, match="LOGGER") as caught:
        run("CoOp", tmp_path / "run", *COOP, "LOGGER", value)
    assert message in str(caught.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_extra_is_one_line_before_training(run, tmp_path, monkeypatch, name):
    monkeypatch.setattr(trackers, "find_spec", lambda asked: None)
    with pytest.raises(ValueError, match=rf'{name} is not installed: pip install "promptkd\[{name}\]"'):
        run("CoOp", tmp_path / "run", *COOP, "LOGGER", name)
    assert not (tmp_path / "run").exists()


class Failing:
    """A tracker that draws random numbers, and fails at one of its moments."""

    shows_pictures = True

    def __init__(self, moment: str) -> None:
        self.moment, self.calls = moment, 0

    def _do(self, moment: str) -> None:
        random.random()
        np.random.rand()
        torch.rand(1)
        self.calls += 1
        if moment == self.moment:
            raise OSError(errno.ENOSPC, "No space left on device")

    def write(self, values: Any) -> None:
        self._do("write")

    def finish(self, record: Any, pictures: Any, step: int) -> None:
        self._do("finish")

    def close(self, failed: bool) -> None:
        self._do("close")


@pytest.mark.parametrize("moment", ["write", "finish", "close"])
def test_a_tracker_that_fails_warns_once_and_changes_nothing(run, tmp_path, capsys, monkeypatch, moment):
    run("CoOp", tmp_path / "plain", *COOP, "LOGGER", "")
    failing = Failing(moment)
    monkeypatch.setattr(trackers, "_MOST_WAITING", 1)  # each number is written at once
    monkeypatch.setitem(trackers._KINDS, "wandb", (__name__, "OPENED"))
    monkeypatch.setattr(trackers, "check_installed", lambda logger: None)
    monkeypatch.setattr("promptkd.engine.checks.check_installed", lambda logger: None)
    monkeypatch.setitem(globals(), "OPENED", lambda start: failing)
    capsys.readouterr()
    run("CoOp", tmp_path / "run", *COOP, "LOGGER", "wandb,csv")
    assert capsys.readouterr().out.count("wandb is not written any more: [Errno 28] No space left on device") == 1
    assert failing.calls == 1 if moment == "write" else failing.calls > 4
    assert same_bits(learned(tmp_path / "plain"), learned(tmp_path / "run"))
    assert [name for _, name, _ in rows(tmp_path / "run")].count("test/hm") == 1  # the other one goes on


def test_a_folder_that_cannot_be_written_costs_the_table_alone(run, tmp_path, capsys):
    (tmp_path / csv_table.FILE_NAME).mkdir()
    run("CoOp", tmp_path, *COOP, "LOGGER", "csv")
    assert capsys.readouterr().out.count("WARNING: csv is not written: ") == 1 and result(tmp_path)["metrics"]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_server_that_is_not_there_costs_seconds_and_a_warning(tmp_path, monkeypatch, capsys, name):
    pytest.importorskip(name)
    nowhere = "http://127.0.0.1:9"  # nobody listens
    monkeypatch.setenv("MLFLOW_TRACKING_URI", nowhere)
    monkeypatch.setenv("WANDB_BASE_URL", nowhere)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("promptkd.engine.trackers.wandb_run._LIMITS", {"init_timeout": 2, "finish_timeout": 2})
    cfg = CfgNode({"LOGGER": name, "OUTPUT_DIR": str(tmp_path), "RESUME": "", "SEED": 1})
    cfg.MODEL = CfgNode({"BACKBONE": CfgNode({"NAME": "x"})})
    cfg.TRAINER, cfg.DATASET = CfgNode({"NAME": "CoOp"}), CfgNode({"NAME": "Emoji"})
    group = trackers.open_trackers(cfg, 0)
    group.add_scalar("train/loss", 1.0, 0)
    group.close()
    shown = capsys.readouterr().out
    assert shown.count(f"WARNING: {name} is not written") == 1 and len(shown.splitlines()) == 1


def test_names_are_those_of_the_key_and_hostile_ones_stay_text(tmp_path):
    assert trackers._KINDS.keys() == set(TRACKERS) and names_in(" csv,wandb ") == ("csv", "wandb")
    table = csv_table.CsvTable(Start(tmp_path, "", "run", {}, 0))
    table.write([Scalar(0, "=HYPERLINK(1)\n0,x,1", 1.5)])
    table.close(False)
    assert rows(tmp_path) == [(0, "'=HYPERLINK(1)\\n0,x,1", 1.5)]
    (tmp_path / MEMORY).write_text(json.dumps({"mlflow": "../../etc", "wandb": 3, "csv": "abc1"}))
    start = Start(tmp_path, "", "run", {}, 0)
    assert [start.recall(name) for name in ("mlflow", "wandb", "csv")] == ["", "", "abc1"]


def test_pictures_that_went_away_cost_a_warning(capsys):
    seen: list[Any] = []

    class Showing(Failing):
        def finish(self, record: Any, pictures: Any, step: int) -> None:
            seen.append(pictures)

    def gone() -> list[Picture]:
        raise OSError("cannot read the image x.png")

    class Record:
        metrics: dict[str, Any] = {"hm": 1.0}

        def to_dict(self) -> dict[str, Any]:
            return {}

    Trackers({"wandb": Showing("")}).add_result(Record(), gone)  # type: ignore[arg-type]
    assert seen == [()] and "No images for the trackers: cannot read the image x.png" in capsys.readouterr().out
