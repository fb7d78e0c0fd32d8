"""The record of a run, the hash of its configuration, and the ownership of its directory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import made_up
import pytest
import yaml
from yacs.config import CfgNode

from promptkd.home import ROOT
from promptkd.results.directory import check_directory, dataset_of, read_configuration, take_directory
from promptkd.results.numbers import harmonic_mean
from promptkd.results.record import FORMAT, RunRecord, check_result
from promptkd.results.settings import as_dict, fingerprint, relevant

STORED = json.loads((ROOT / "tests" / "recorded" / "fingerprints.json").read_text())


def record(**entries: object) -> RunRecord:
    return RunRecord.from_dict(made_up.result(**entries))


def config(**options: object) -> CfgNode:
    """A small configuration with what the code here looks at."""
    cfg = CfgNode({"SEED": 1, "EVAL_ONLY": False, "OUTPUT_DIR": "out", "LOAD_EPOCH": -1, "INPUT": {"SIZE": (32, 32)}})
    cfg.DATASET = CfgNode({"NAME": "EuroSAT", "ROOT": "data"})
    cfg.TRAINER = CfgNode({"NAME": "CoOp", "COOP": {"N_CTX": 4, "PREC": "fp16"}, "VPT": {"N_CTX": 2}})
    for name, value in options.items():
        cfg[name] = value
    return cfg


@pytest.mark.parametrize("entry", STORED, ids=lambda entry: f"{entry['trainer']}-{entry['recipe']}")
def test_fingerprints_are_those_of_earlier_results(entry, tmp_path):
    """Computed before the machinery became a package: results of then and now are of the same runs."""
    from train import configure, parser

    words = ["--trainer", entry["trainer"], "--seed", "3"]
    words += ["--dataset-config-file", str(ROOT / "configs" / "datasets" / f"{entry['dataset']}.yaml")]
    words += ["--config-file", str(ROOT / "configs" / "trainers" / entry["trainer"] / f"{entry['recipe']}.yaml")]
    cfg = configure(parser().parse_args([*words, "--output-dir", str(tmp_path), *entry["options"]]))
    assert fingerprint(cfg) == entry["fingerprint"]
    take_directory(tmp_path, cfg)
    assert fingerprint(read_configuration(tmp_path)) == entry["fingerprint"], "from config.yaml"


def test_what_decides_the_numbers():
    cfg = config()
    assert relevant(cfg) == {"SEED": 1, "INPUT.SIZE": [32, 32], "DATASET.NAME": "EuroSAT", "TRAINER.NAME": "CoOp",
                             "TRAINER.COOP.N_CTX": 4, "TRAINER.COOP.PREC": "fp16"}  # fmt: skip
    assert relevant(config(LOAD_EPOCH=5))["LOAD_EPOCH"] == 5
    assert fingerprint(config(OUTPUT_DIR="elsewhere")) == fingerprint(cfg) != fingerprint(config(SEED=2))
    assert len(fingerprint(cfg)) == 16


def test_record_is_the_file_it_was_read_from(tmp_path):
    content = made_up.result(settings={"SEED": 1}, data_root="/data", learned_on="EuroSAT", processes=1)
    path = made_up.write(tmp_path, content)
    read = RunRecord.read(path)
    assert read.to_dict() == content and list(read.to_dict())[:3] == ["format", "trainer", "backbone"]
    assert read.accuracies == {"base": 80.0, "new": 60.0, "hm": harmonic_mean(80.0, 60.0)}
    assert set(read.measures) == {"base", "new"}
    assert read.write(tmp_path / "copy") == tmp_path / "copy" / "results.json"
    text = (tmp_path / "copy" / "results.json").read_text()
    assert text == json.dumps(read.to_dict(), indent=1) + "\n" and read == RunRecord.read(
        tmp_path / "copy/results.json"
    )


def test_results_of_early_versions_are_read():
    """They had no learned_on, settings or data_root; format 1 has got more entries since."""
    old = made_up.result()
    for name in ("template", "fewshot_sha256", "train_images", "versions", "device", "commit", "command"):
        del old[name]
    read = RunRecord.from_dict(old | {"from_tomorrow": 1})
    assert (read.learned_on, read.settings, read.template, read.device) == (None, {}, None, None)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"format": 2}, "format 2: this version reads 1"),
        ({"seed": True}, "broken: seed is True"),
        ({"train_images": "many"}, "broken: train_images is 'many'"),
        ({"teacher": "PromptSRC"}, "broken: teacher is 'PromptSRC'"),
        ({"metrics": {}}, "predictions only"),
        ({"base": 130.0}, "broken: accuracy of base is 130.0, no percentage"),
    ],
)
def test_what_is_no_record(entries, message):
    with pytest.raises(ValueError, match=message):
        RunRecord.from_dict(made_up.result(**entries))


def test_a_run_without_labelled_images():
    assert RunRecord.from_dict(made_up.result(metrics={}), needs_metrics=False).accuracies == {}


def test_an_evaluation_keeps_what_training_knows(tmp_path):
    trained = record(trainer="PromptKD", train_seconds=7.5)
    trained.write(tmp_path)
    again = replace(trained, eval_only=True, train_seconds=0.0, train_images_per_second=0.0, teacher=None, epochs=3)
    again.write(tmp_path)
    kept = RunRecord.read(tmp_path / "results.json")
    assert (kept.train_seconds, kept.teacher, kept.eval_only, kept.epochs) == (7.5, trained.teacher, False, 3)
    trained.write(tmp_path)
    assert RunRecord.read(tmp_path / "results.json") == trained


def test_a_result_of_another_configuration_stays(tmp_path):
    record(seed=1).write(tmp_path)
    with pytest.raises(ValueError, match=r"result of another configuration \(PromptSRC, seed 1\): choose another"):
        record(seed=2).write(tmp_path)
    with pytest.raises(ValueError, match="result of another configuration"):
        check_directory(tmp_path, config(EVAL_ONLY=True))
    (tmp_path / "results.json").write_text('{"somebody": "else"}')
    with pytest.raises(ValueError, match=r"results.json is foreign: no result.*choose another --output-dir, or remove"):
        record(seed=1).write(tmp_path)
    assert (tmp_path / "results.json").read_text() == '{"somebody": "else"}'


WHOLE = json.dumps(made_up.result())


@pytest.mark.parametrize(
    "content", ["", "{", WHOLE[:-40], "\0" * 300, WHOLE.replace("80.0", "NaN"), "9" * 5000, "[" * 90_000]
)
def test_a_damaged_result_costs_its_run_and_no_more(tmp_path, content, capsys):
    """As a machine leaves it that lost its power: said, kept aside and written anew."""
    path = tmp_path / "results.json"
    path.write_text(content)
    assert check_result(tmp_path, "0" * 16) is None
    check_directory(tmp_path, config())
    record(seed=1).write(tmp_path)
    assert RunRecord.read(path) == record(seed=1)
    assert (tmp_path / "results.json.damaged").read_text() == content
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 and all(line.startswith(f"WARNING: {path} ") for line in printed)


def test_a_folder_in_the_place_of_a_file_is_refused_before_training(tmp_path):
    (tmp_path / "predictions.csv").mkdir()
    with pytest.raises(OSError, match="predictions.csv is a folder: a run writes a file there, remove it"):
        check_directory(tmp_path, config())


def test_a_directory_is_one_runs(tmp_path):
    assert dataset_of(tmp_path) is None
    take_directory(tmp_path / "run", config())
    assert dataset_of(tmp_path / "run") == "EuroSAT"
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()) == as_dict(config())
    take_directory(tmp_path / "run", config(OUTPUT_DIR="elsewhere"))
    with pytest.raises(ValueError, match="holds another run .SEED is 2, was 1.*choose another --output-dir"):
        take_directory(tmp_path / "run", config(SEED=2))
    check_directory(tmp_path / "run", config(SEED=2, EVAL_ONLY=True))  # evaluations leave no config.yaml


@pytest.mark.parametrize("text", ["- a list", "a: [", "SEED: 1", "TRAINER: {NAME: 3}\nDATASET: {NAME: x}"])
def test_a_broken_configuration_is_named(text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match="config.yaml is broken: "):
        check_directory(tmp_path, config())


def test_records_need_no_torch():
    code = "import sys, promptkd.results.record, promptkd.results.directory, promptkd.results.predictions\n"
    code += "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'dassl', 'open_clip')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
    assert FORMAT == 1
