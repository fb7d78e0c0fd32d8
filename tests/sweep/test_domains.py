"""Data sets with domains in plans: each domain is a data set of its own, with directories and rows of its own."""

from __future__ import annotations

import json

import pytest
from domain_trees import write_classes

from promptkd.results.record import RunRecord
from promptkd.sweep import launch
from promptkd.sweep.expand import jobs_of
from promptkd.sweep.plan import read_plan
from promptkd.tables import command as collect


def jobs(command: str, trainer: str, *words: str):
    return [job for plan in launch.read_words(command, [trainer], words) for job in jobs_of(plan)]


def domains(found) -> list[str]:
    """The folder of each job behind its protocol; checks that its command says the same domain."""
    for job in found:
        command = list(job.command)
        domain = command[command.index("DATASET.DOMAIN") + 1]
        assert job.name.split("/")[1].endswith(f"_{domain}"), job
    return [job.name.split("/")[1] for job in found]


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUT", str(tmp_path / "out"))
    monkeypatch.setenv("DATA", str(tmp_path / "data"))
    for name in ("SOURCE", "SHOTS", "TEACHER", "RECIPE"):
        monkeypatch.delenv(name, raising=False)


def test_a_data_set_means_all_its_domains():
    found = jobs("fewshot", "TFUP", "office_home", "16")
    assert domains(found) == [f"office_home_{name}" for name in ("art", "clipart", "product", "real_world")]
    assert len({job.directory for job in found}) == len({job.config_hash for job in found}) == 4
    assert domains(jobs("base2new", "TFUP", "visda17")) == ["visda17_real"], "nobody is tested on renderings"


@pytest.mark.parametrize("words", [["office_home_art"], ["office_home", "DATASET.DOMAIN", "Art"]])
def test_one_domain(words):
    (data, *options) = words
    assert domains(jobs("fewshot", "TFUP", data, "16", *options)) == ["office_home_art"]


def test_domains_of_a_plan():
    given = {"trainers": ["ZeroshotCLIP"], "datasets": ["office_home"], "protocols": ["fewshot"]}
    plan = read_plan("", given | {"grid": {"DATASET.DOMAIN": ["Real World", "clipart"]}})
    assert plan.datasets == ["office_home_real_world", "office_home_clipart"] and not plan.grid
    assert domains(jobs_of(plan)) == plan.datasets


@pytest.mark.parametrize(
    "words, says",
    [
        (["office_home", "DATASET.DOMAIN", "artt"], "no domain of office_home 'artt'; closest: art"),
        (["office_home_art", "DATASET.DOMAIN", "clipart"], "the plan names office_home_art; leave one out"),
        (["eurosat", "DATASET.DOMAIN", "art"], "eurosat has no domains"),
        (["office_home_atr"], "no data set 'office_home_atr'; closest: office_home_art"),
        (["office31", "office31_dslr"], "the plan names office31_dslr twice"),
    ],
)
def test_a_domain_that_does_not_fit(words, says):
    with pytest.raises(ValueError) as error:
        jobs("base2new", "TFUP", *words)
    assert says in str(error.value)


def test_across_domains(monkeypatch):
    """Learned on one domain, tested on the others; held out, as the source's own labels are read."""
    monkeypatch.setenv("SOURCE", "office_home_art")
    found = jobs("xd_test", "CoOp", "office_home", "1", "DATASET.DOMAIN_TEST", "held_out")
    places = domains(found)
    assert places[0] == "office_home_art" and all(job.needs == (found[0].name,) for job in found[1:])
    assert places[1:] == [f"office_home_art_to_office_home_{name}" for name in ("clipart", "product", "real_world")]
    monkeypatch.setenv("SOURCE", "office_home")
    with pytest.raises(ValueError, match="source office_home has domains: name one, as office_home_art"):
        jobs("xd_test", "CoOp", "office_home", "1")


@pytest.mark.slow
def test_runs_of_two_domains_stay_apart(tmp_path, capsys):
    """Through the command line on tiny trees: two domains are two rows of the table, and a run says what it saw."""
    for domain in ("amazon", "dslr"):
        write_classes(tmp_path / "data" / "office31" / domain / "images", {"bike": 3, "mug": 3, "pen": 3})
    words = ["office31", "2", "DATASET.DOMAIN", "dslr", "MODEL.BACKBONE.NAME", "mini-student", "USE_CUDA", "False"]
    assert launch.main(["fewshot", "TFUP", *words]) == 0
    words[3] = "Amazon"
    assert launch.main(["fewshot", "TFUP", *words]) == 0
    capsys.readouterr()
    assert collect.main([str(tmp_path / "out"), "--format", "json"]) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert {cell["dataset"] for cell in cells if len(cell["datasets"]) == 1} == {"Office31-amazon", "Office31-dslr"}
    for path in (tmp_path / "out").rglob("results.json"):
        record = RunRecord.read(path)
        assert record.transductive and record.seen["from"] == "test images" and record.seen["images"] == 9
        assert path.parts[-6] == f"office31_{record.dataset.removeprefix('Office31-')}"
