"""The page on attacked and corrupted images: curves over the radius, tables by kind, pictures; damaged records."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from made_up import result, write
from PIL import Image

from promptkd.results.numbers import harmonic_mean
from promptkd.results.record import RunRecord
from promptkd.tables import command as collect

NAME = "attacked/0123456789abcdef.png"


def attacked(base: float, new: float, **more: Any) -> dict[str, Any]:
    groups = {
        name: {"images": 9, "clean": value, "pgd10_eps1": value / 2, "pgd10_eps4": value / 4}
        for name, value in (("base", base), ("new", new))
    }
    return {"groups": groups, "doubts": ["a <doubt>"], **more}


def corrupted(base: float, new: float) -> dict[str, Any]:
    groups = {
        name: {"images": 9, "clean": v, "corrupted": v / 2, "fog": v / 2} for name, v in (("base", base), ("new", new))
    }
    by_severity = {
        name: {"fog": [v / 2 + 5, v / 2 - 5], "noise": [v / 4, v / 4]} for name, v in (("base", base), ("new", new))
    }
    return {"severities": [1, 5], "groups": groups, "by_severity": by_severity}


def example(**changes: Any) -> dict[str, Any]:
    made = {"picture": NAME, "path": "a/<b>.png", "group": "base", "attack": "pgd10_eps4", "label": "cat & co"}
    return made | {"before": 90.0, "prediction": "<dog>", "after": 60.0} | changes


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Two methods, one of two seeds; one run has a picture, one more that is gone, and one that leads out of it."""
    root = tmp_path / "output"
    for seed in (1, 2):
        entries = {"robustness": attacked(60.0 + seed, 40.0), "corruptions": corrupted(60.0, 40.0)}
        write(root / f"src{seed}", result("PromptSRC", seed=seed, **entries))
    run = root / "kd"
    shown = attacked(80.0, 70.0, examples=[example(), example(picture=f"attacked/{1:016x}.png")])
    shown["examples"].append(example(picture=f"attacked/{2:016x}.png"))
    write(run, result("PromptKD", robustness=shown))
    (run / "attacked").mkdir()
    Image.new("RGB", (24, 8), "red").save(run / NAME)
    Image.new("RGB", (24, 8), "blue").save(tmp_path / "outside.png")
    (run / "attacked" / f"{2:016x}.png").symlink_to(tmp_path / "outside.png")
    return root


def page(output: Path, *words: str) -> str:
    path = output.parent / "report.html"
    assert collect.main([str(output), "--html", str(path), *words]) == 0
    return path.read_text(encoding="utf-8")


def test_accuracy_over_the_radius_begins_without_attack(output: Path):
    text = page(output)
    inductive = text[text.index("<h2>Under attack: base2new, inductive") : text.index("<h2>Corrupted images")]
    tips = re.findall(r"<title>(PromptSRC[^<]*: [^<]*)</title>", inductive)
    hm = [harmonic_mean(61.5 / n, 40.0 / n) for n in (1, 2, 4)]
    assert [
        re.search(rf", {x}: {value:.2f} ±", tip) is not None for x, value, tip in zip("014", hm, tips, strict=False)
    ] == [True] * 3
    assert len(tips) == 9  # three radii of HM, base and new
    assert "PromptKD" not in inductive and ", pgd10" not in tips[0]


def test_two_attacks_are_two_lines(output: Path):
    record = result("CoOp", robustness={"groups": {"base": {"clean": 9.0, "pgd10_eps1": 5.0, "aa_eps1": 4.0}}})
    write(output / "two", record)
    text = page(output, "--where", "trainer=CoOp")
    assert "16 shots, pgd10</li>" in text and "16 shots, aa</li>" in text and "Corrupted images" not in text


def test_seeds_that_were_attacked_differently_are_lines_of_their_own(tmp_path: Path):
    """And a radius of many decimals is a point of its line."""
    for seed, start, value in ((1, "zero", 60.0), (2, "random", 90.0), (3, "zero", 40.0)):
        found = attacked(value, value) | {"attack": {"step": "eps/4", "start": start}}
        for values in found["groups"].values():
            values["pgd10_eps0.00123457"] = value - 5
        write(tmp_path / "output" / str(seed), result("CoOp", seed=seed, robustness=found))
    tips = re.findall(r"<title>CoOp ViT-B/16, 16 shots, ([^<]*)</title>", page(tmp_path / "output"))
    assert [tip for tip in tips if tip.startswith("zero start, 0.0012")] == [
        "zero start, 0.00123457: 45.00 ± 14.14"
    ] * 3
    assert [tip for tip in tips if ", 0: " in tip] == ["zero start, 0: 50.00 ± 14.14", "random start, 0: 90.00"] * 3


def test_corruptions_of_other_severities_are_lines_of_their_own(output: Path):
    other = corrupted(90.0, 90.0) | {"severities": [2, 5]}
    write(output / "src3", result("PromptSRC", seed=3, corruptions=other))
    section = page(output).partition("<h2>Corrupted images")[2]
    assert "PromptSRC ViT-B/16, 16 shots, severities 1, 5</li>" in section
    assert "severities 2, 5, 2: 36.25" in section and "severities 1, 5, 0: 48.00 ± 0.00" in section
    assert ">PromptSRC ViT-B/16, 16 shots, severities 2, 5</th>" in section  # of the table by kind


def test_corruptions_stand_by_severity_and_kind(output: Path):
    text = page(output)
    section = text[text.index("<h2>Corrupted images") :]
    middle = [
        harmonic_mean(*(v * 3 / 8 + 2.5 for v in (60.0, 40.0))),
        harmonic_mean(*(v * 3 / 8 - 2.5 for v in (60.0, 40.0))),
    ]
    for x, value in ((0, 48.0), (1, middle[0]), (5, middle[1])):
        assert f", {x}: {value:.2f} ± 0.00" in section
    assert "HM (%) by kind" in section and ">fog<" in section and f">{harmonic_mean(30.0, 20.0):.1f}<" in section
    run = next(part for part in text.split('<details class="run"')[1:] if "seed 1" in part and "severity 5" in part)
    assert run.count("<th>severity 5</th>") == 2 and ">35.0</td>" in run


def test_pictures_are_those_of_the_run_alone(output: Path):
    text = page(output, "--where", "trainer=PromptKD")
    assert "a &lt;doubt&gt;" in text and "a <doubt>" not in text
    assert text.count("picture not here") == 2  # it is gone, and it leads out of the run
    assert (
        text.count('src="data:image/jpeg') == 1
        and 'cat &amp; co 90.0 % → <b class="miss">&lt;dog&gt;</b> 60.0 %' in text
    )
    assert "data:image/jpeg" not in page(output, "--where", "trainer=PromptKD", "--gallery", "0")


@pytest.mark.parametrize(
    "changes",
    [
        {"robustness": {"examples": [example(picture="../../etc/x.png")]}},
        {"robustness": {"examples": [example(picture=NAME + "\n")]}},
        {"robustness": {"examples": [example(after=101)]}},
        {"robustness": {"examples": [example(label=None)]}},
        {"robustness": {"examples": {}}},
        {"robustness": {"doubts": "x"}},
        {"corruptions": corrupted(60.0, 40.0) | {"severities": [1]}},
        {"corruptions": corrupted(60.0, 40.0) | {"severities": "12"}},
        {"corruptions": corrupted(60.0, 40.0) | {"severities": [1, 9]}},
        {"corruptions": corrupted(60.0, 40.0) | {"by_severity": {"base": [1]}}},
        {"corruptions": corrupted(60.0, 40.0) | {"by_severity": {"base": {"fog": [1, "2"]}}}},
        {"corruptions": corrupted(60.0, 40.0) | {"by_severity": []}},
    ],
)
def test_a_damaged_record_is_left_out(changes: dict[str, Any]):
    with pytest.raises(ValueError, match="broken"):
        RunRecord.from_dict(result(**changes))


def test_records_from_before_pictures_are_read():
    record = RunRecord.from_dict(result(robustness=attacked(60.0, 40.0), corruptions={"groups": {}, "severities": [1]}))
    assert record.under_attack["hm/pgd10_eps4"] == pytest.approx(harmonic_mean(15.0, 10.0))
    assert record.under_corruptions == {}


def test_corruptions_without_a_severity_make_a_page(tmp_path: Path):
    found = corrupted(60.0, 40.0) | {"by_severity": {"base": {"fog": []}, "new": {}}}
    del found["severities"]
    write(tmp_path / "output" / "run", result(corruptions=found))
    assert "Corrupted images (%)" in page(tmp_path / "output")
