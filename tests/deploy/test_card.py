"""The model card: what results.json and those of other seeds say, and names that forge nothing in YAML or Markdown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import markdown
import pytest
import yaml
from made_up import group, result, write

from promptkd.deploy import card, export
from promptkd.results.record import RunRecord

HOSTILE = [
    "a\n---\nlicense: mit",
    "x | forged | 99.9",
    "<script>alert(1)</script>",
    "![p](http://evil.example/p.png)",
    "[click](http://evil.example)",
    "http://evil.example www.evil.example me@evil.example",
    "`code` **bold** $x$ # head",
    "\u202egpj.exe\x1b]0;t\x07",
    "&lt;b&gt; <!-- ",
    "\"quoted\": [yaml, {a: 'b'}] # no comment",
    "x" * 5000,
]


def made(folder: Path, **entries: Any) -> str:
    """The card of a made-up run."""
    write(folder, result(**entries))
    assert card.main([str(folder)]) == 0
    return (folder / "README.md").read_text(encoding="utf-8")


def head(text: str) -> dict[str, Any]:
    """The metadata, cut out as the Hub does it."""
    found = re.match(r"^---\n(.*?)\n---\n", text, re.DOTALL)
    assert found
    content = yaml.safe_load(found[1])
    assert isinstance(content, dict)
    return content


def test_numbers_of_the_run_and_of_its_seeds(tmp_path):
    settings = {"SEED": 1, "OPTIM.LR": 0.002, "TRAINER.PROMPTKD.TEACHER": "a"}
    teacher = {"trainer": "PromptSRC", "backbone": "ViT-L/14", "source": "/home/me/teacher",
               "metrics": {"base": group(90.0), "new": group(80.0), "hm": 84.7059}}  # fmt: skip
    for seed, base in ((2, 82.0), (3, 84.0)):
        other = settings | {"SEED": seed, "TRAINER.PROMPTKD.TEACHER": f"b{seed}"}
        write(tmp_path / f"seed{seed}", result("PromptKD", seed=seed, base=base, settings=other, teacher=teacher))
    write(tmp_path / "lr", result("PromptKD", seed=4, base=10.0, settings=settings | {"SEED": 4, "OPTIM.LR": 1.0}))
    write(tmp_path / "coop", result("CoOp", seed=5, base=10.0))
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "results.json").write_text("{")
    text = made(tmp_path / "seed1", trainer="PromptKD", settings=settings, teacher=teacher)
    assert "| base classes | 100 | 80.00 | 82.00 ± 2.00 | 90.00 |" in text
    assert "| new classes | 100 | 60.00 | 60.00 ± 0.00 | 80.00 |" in text
    assert "seeds 1 2 3, mean ± deviation" in text and "last epoch, of 20." in text
    assert "**Transductive**" in text and "student of a teacher, PromptSRC ViT-L/14" in text and "/home/me" not in text
    assert text.count("| fill in |") == 4 and 'promptkd.load("hf-hub:OWNER/NAME")' in text
    data = head(text)
    assert (data["license"], data["library_name"]) == ("unknown", "promptkd")
    assert (data["pipeline_tag"], data["base_model"]) == ("image-classification", "openai/clip-vit-base-patch16")
    assert data["datasets"] == ["eurosat"] and "knowledge-distillation" in data["tags"]
    (entry,) = data["model-index"][0]["results"]
    assert [one["value"] for one in entry["metrics"]] == [80.0, 60.0, 68.5714]


def test_several_teachers_are_named_without_their_paths(tmp_path):
    each = [{"trainer": "PromptSRC", "backbone": "ViT-L/14"}, {"trainer": "FeatureTeacher", "backbone": "/me/a.pt"}]
    text = made(tmp_path, trainer="PromptKD", teacher=each[0] | {"teachers": each, "mix": "margin"})
    named = "student of a teacher, PromptSRC ViT-L/14 + FeatureTeacher a.pt, margin"
    assert named in text.replace("\\", "") and "/me" not in text


def test_the_hubs_own_reader_takes_the_head(tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    made(tmp_path, trainer="CoOp", accuracy=71.25)
    data = hub.ModelCard.load(tmp_path / "README.md").data
    assert data.eval_results[0].metric_value == 71.25 and data.eval_results[0].dataset_name == "EuroSAT"
    assert data.model_name == "CoOp ViT-B/16 on EuroSAT"


def test_one_seed_an_inductive_run_and_one_that_measured_nothing(tmp_path):
    text = made(tmp_path / "one", trainer="CoOp")
    assert "**Inductive**: in training it has seen no image of a new class." in text and "One seed" in text
    text = made(tmp_path / "none", trainer="PromptKD", metrics={})
    assert "Nothing was measured" in text and "model-index" not in head(text)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_forge_nothing(tmp_path, name):
    plain = made(tmp_path / "plain", trainer="CoOp", teacher={"trainer": "x", "backbone": "y"}, template="t",
                 metrics={"all": group(50.0) | {"per_class": {"n": 50.0}}})  # fmt: skip
    text = made(
        *[tmp_path / "hostile"],
        trainer=name,
        backbone=name,
        dataset=name,
        template=name,
        selection=name,
        device=name,
        commit=name,
        teacher={"trainer": name, "backbone": name},
        versions={name: name},
        metrics={"all": group(50.0) | {"per_class": {name: 50.0}}},
    )
    data, body = head(text), text.split("\n---\n", 1)[1]
    assert data.keys() == head(plain).keys() - {"base_model"} and data["license"] == "unknown"
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9._-]*", one) for one in (*data["datasets"], *data["tags"]))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", text)
    lines, wanted = body.splitlines(), plain.split("\n---\n", 1)[1].splitlines()
    assert len(lines) == len(wanted), "a name made a line"
    for line, like in zip(lines, wanted, strict=True):
        assert len(re.findall(r"(?<!\\)\|", line)) == len(re.findall(r"(?<!\\)\|", like)), "a name made a cell"
        assert line.startswith("#") == like.startswith("#")
    pages = [markdown.markdown(one, extensions=["tables"]) for one in ("\n".join(lines), "\n".join(wanted))]
    for mark in ("<a ", "<img", "<script", "<code", "<strong", "<em", "<td", "<h"):
        assert pages[0].count(mark) == pages[1].count(mark), mark
    names = [line for line in lines if line.startswith("| ") and line not in wanted]
    assert len(names) > 5
    for line in names:
        assert not re.search(
            r"(?<!\\)[\[\]`*_$~#!@]|<|(?<!\\)://|www\.|&(?!lt;|amp;)", line.replace("&lt;script", "")
        ), line
        assert len(line) < 1500


def test_what_is_there_stays_and_what_is_no_run_is_one_line(tmp_path, capsys):
    made(tmp_path / "run", trainer="CoOp")
    before = (tmp_path / "run" / "README.md").read_text()
    capsys.readouterr()
    cases = {tmp_path / "run": "is there already: remove it, or give another file", tmp_path: "is no finished run"}
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "results.json").write_text('{"format": 1, "trainer"')
    cases[tmp_path / "cut"] = "results.json is broken: "
    for place, message in cases.items():
        assert card.main([str(place)]) == 1
        shown = capsys.readouterr().err
        assert message in shown and shown.count("\n") == 1
    assert (tmp_path / "run" / "README.md").read_text() == before and not (tmp_path / "cut" / "README.md").exists()
    assert card.main([str(tmp_path / "run"), str(tmp_path / "other.md")]) == 0
    assert (tmp_path / "other.md").read_text() == before


def test_an_export_has_its_runs_card_and_a_copy_keeps_it(run, tmp_path):
    run("ZeroshotCLIP", tmp_path / "run")
    assert export.main([str(tmp_path / "run"), "--format", "safetensors"]) == 0
    exported = tmp_path / "run" / "safetensors"
    text = (exported / "README.md").read_text(encoding="utf-8")
    accuracy = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]["all"]["accuracy"]
    assert f"| {accuracy:.2f} |" in text and str(tmp_path) not in text
    assert card.find_run(exported).record == RunRecord.read(tmp_path / "run" / "results.json")
    (exported / "README.md").write_text(text.replace("fill in", "MIT"), encoding="utf-8")
    assert export.main([str(exported), str(tmp_path / "copy"), "--format", "safetensors"]) == 0
    assert (tmp_path / "copy" / "README.md").read_text(encoding="utf-8") == text.replace("fill in", "MIT")
