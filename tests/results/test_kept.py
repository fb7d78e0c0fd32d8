"""What was measured of a run later: it survives another writing of the record, another process, and other radii."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_up
import pytest

from promptkd.results.numbers import harmonic_mean
from promptkd.results.record import RunRecord, update

PICTURE = f"attacked/{1:016x}.png"
ATTACK = {"attack": "pgd", "eps": ["1/255"], "steps": 10, "step": "eps/4", "start": "zero"}
AUROC = {"auroc_other_data": 70.0}


def attacked(eps: int = 1, percent: float = 40.0, images: int = 9, **changes: Any) -> dict[str, Any]:
    """`robustness` of one radius."""
    attack = ATTACK | {"eps": [f"{eps}/255"]} | changes
    values = {"images": images, "clean": 70.0, f"pgd{attack['steps']}_eps{eps}": percent}
    example = {"path": "a.png", "group": "base", "attack": f"pgd10_eps{eps}", "label": "a", "prediction": "b"}
    example |= {"picture": f"attacked/{eps:016x}.png", "before": 60.0, "after": 70.0}
    return {"attack": attack, "groups": {"base": values, "new": values}, "doubts": [], "examples": [example]}


def record(learned: str | None = "a" * 16, **entries: Any) -> RunRecord:
    return RunRecord.from_dict(made_up.result(learned_sha256=learned, **entries))


def measured(directory: Path, **entries: Any) -> RunRecord:
    """A record with all that is measured later, and its picture, in a directory."""
    plain = record(**entries)
    metrics = {group: values | AUROC for group, values in plain.measures.items()} | {"hm": plain.metrics["hm"]}
    corruptions = {"severities": [1], "groups": {"base": {"images": 9, "clean": 70.0, "corrupted": 50.0, "fog": 50.0}}}
    corruptions["by_severity"] = {"base": {"fog": [50.0]}}
    found = {"robustness": attacked(), "corruptions": corruptions, "other_data": {"source": "x", "images": 3}}
    whole = replace(plain, metrics=metrics, **found)
    whole.write(directory)
    (directory / "attacked").mkdir(exist_ok=True)
    for name in (PICTURE, "attacked/mine.png"):
        (directory / name).touch()
    return whole


@pytest.mark.parametrize("eval_only", [False, True])
@pytest.mark.parametrize("learned", ["a" * 16, None])
def test_a_run_that_is_written_again_keeps_what_was_measured_of_it(tmp_path, eval_only, learned):
    before = measured(tmp_path, learned=learned)
    replace(record(learned), eval_only=eval_only, model_dir="/x" if eval_only else None).write(tmp_path)
    assert RunRecord.read(tmp_path / "results.json") == before
    assert (tmp_path / PICTURE).exists()


@pytest.mark.parametrize("change", ["model", "accuracy", "images"])
def test_what_was_measured_of_another_model_or_of_other_images_goes(tmp_path, change, capsys):
    measured(tmp_path, **({"learned": None} if change == "accuracy" else {}))
    now = record("b" * 16, base=81.0 if change == "accuracy" else 80.0)
    if change == "images":
        now = replace(record(), metrics=now.metrics | {"base": now.metrics["base"] | {"images": 101}})
    now.write(tmp_path)
    assert RunRecord.read(tmp_path / "results.json") == now and now.robustness is None
    assert not (tmp_path / PICTURE).exists() and (tmp_path / "attacked/mine.png").exists()
    line = next(one for one in capsys.readouterr().out.splitlines() if one.startswith("WARNING"))
    assert "robustness, corruptions, other_data" in line and "measure anew" in line


def test_radii_of_one_attack_stand_side_by_side(tmp_path, capsys):
    record(robustness=attacked(4, 10.0)).write(tmp_path)
    found = RunRecord.read(update(tmp_path, lambda latest: replace(latest, robustness=attacked(1, 40.0)))).robustness
    assert found is not None and found["attack"]["eps"] == ["1/255", "4/255"]
    assert found["groups"]["base"] == {"images": 9, "clean": 70.0, "pgd10_eps4": 10.0, "pgd10_eps1": 40.0}
    assert found["hm"]["pgd10_eps4"] == harmonic_mean(10.0, 10.0) and found["doubts"] == []
    assert [one["attack"] for one in found["examples"]] == ["pgd10_eps4"]  # pictures are of the largest radius
    # that a larger radius leaves more is seen across both
    update(tmp_path, lambda latest: replace(latest, robustness=attacked(2, 60.0, attack="autoattack")))
    found = RunRecord.read(tmp_path / "results.json").robustness
    assert found is not None and found["attack"]["attack"] == "autoattack" and len(found["attack"]["eps"]) == 3
    assert "pgd10_eps2 leaves 60.0 %, pgd10_eps1 40.0 %" in found["doubts"][0]
    assert "replaced" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (attacked(1, steps=20), "are replaced (steps 10, now 20): pgd10_eps4"),
        (attacked(1, images=5), "are replaced (images 9 of base, 9 of new; now 5 of base, 5 of new): pgd10_eps4"),
    ],
)
def test_another_attack_replaces_the_first_with_a_line(tmp_path, now, line, capsys):
    record(robustness=attacked(4)).write(tmp_path)
    update(tmp_path, lambda latest: replace(latest, robustness=now))
    assert RunRecord.read(tmp_path / "results.json").robustness == now
    assert line in capsys.readouterr().out


@pytest.mark.parametrize("attack", [None, "pgd", {"eps": "1/255"}, {"eps": ["one"]}, {"eps": []}, ATTACK])
def test_an_attack_that_nobody_described_so_is_replaced(tmp_path, attack):
    record(robustness={"attack": attack} if attack is ATTACK else attacked() | {"attack": attack}).write(tmp_path)
    update(tmp_path, lambda latest: replace(latest, robustness=attacked(4)))
    assert RunRecord.read(tmp_path / "results.json").robustness == attacked(4)


def test_two_that_measure_one_run_at_once_lose_nothing(tmp_path):
    whole = measured(tmp_path / "other")
    record().write(tmp_path)
    second = threading.Thread(
        target=update, args=(tmp_path, lambda latest: replace(latest, corruptions=whole.corruptions))
    )

    def first(latest: RunRecord) -> RunRecord:
        second.start()
        second.join(0.3)
        assert second.is_alive()  # it waits
        return replace(latest, robustness=whole.robustness)

    update(tmp_path, first)
    second.join()
    found = RunRecord.read(tmp_path / "results.json")
    assert (found.robustness, found.corruptions) == (whole.robustness, whole.corruptions)
