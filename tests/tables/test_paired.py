"""Differences of two methods, image by image, against a bootstrap written as a loop."""

from __future__ import annotations

import random
import statistics
from pathlib import Path

import pytest
from made_up import result, write

from promptkd.results import search
from promptkd.results.predictions import COLUMNS
from promptkd.tables import paired
from promptkd.tables.paired_command import command_line

IMAGES = {"base": 60, "new": 40}


def store(folder: Path, trainer: str, seed: int, chance: float) -> dict[str, list[bool]]:
    """A run whose images are right by chance, and which are."""
    draw = random.Random(f"{trainer} {seed}")
    right = {group: [draw.random() < chance for _ in range(count)] for group, count in IMAGES.items()}
    percent = {group: 100 * statistics.fmean(values) for group, values in right.items()}
    write(folder / f"seed{seed}", result(trainer, "EuroSAT", seed, percent["base"], percent["new"]))
    rows = [
        f"{group}/{number}.png,{group},cat,{'cat' if good else 'dog'}" + "," * (len(COLUMNS) - 4)
        for group, values in right.items()
        for number, good in enumerate(values)
    ]
    (folder / f"seed{seed}/predictions.csv").write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    return right


@pytest.fixture()
def two(tmp_path: Path) -> tuple[Path, list[list[dict[str, list[bool]]]]]:
    sides = [
        [store(tmp_path / name, name, seed, chance) for seed in (1, 2, 3)]
        for name, chance in (("CoOp", 0.5), ("PromptSRC", 0.8))
    ]
    return tmp_path, sides


def test_the_interval_is_that_of_a_loop(two):
    folder, sides = two
    runs = [search.find(folder / name)[0] for name in ("CoOp", "PromptSRC")]
    found = {one.group: one for one in paired.differences(*runs, samples=4000)}
    assert set(found) == {"base", "new", "hm"} and found["hm"].images == 100 and found["hm"].seeds == 3
    draw, means = random.Random(1), []
    for _ in range(1500):
        seeds = [draw.randrange(3) for _ in range(3)]
        chosen = {group: [draw.randrange(count) for _ in range(count)] for group, count in IMAGES.items()}
        drawn = []
        for side in sides:
            base, new = (
                100 * statistics.fmean(side[seed][group][row] for seed in seeds for row in chosen[group])
                for group in ("base", "new")
            )
            drawn.append(2 * base * new / (base + new))
        means.append(drawn[1] - drawn[0])
    means.sort()
    assert found["hm"].low == pytest.approx(means[round(0.025 * 1500)], abs=1.2)
    assert found["hm"].high == pytest.approx(means[round(0.975 * 1500)], abs=1.2)
    percent = [
        {g: 100 * statistics.fmean(v for one in side for v in one[g]) for g in ("base", "new")} for side in sides
    ]
    hm = [2 * one["base"] * one["new"] / (one["base"] + one["new"]) for one in percent]
    assert found["hm"].value == pytest.approx(hm[1] - hm[0])
    assert found["base"].value == pytest.approx(percent[1]["base"] - percent[0]["base"])


def test_the_command_prints_a_table(two, capsys):
    folder, _ = two
    assert command_line([str(folder / "CoOp"), str(folder / "PromptSRC"), "--samples", "500"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "95 % interval" in lines[0] and [line.split()[1] for line in lines[2:]] == ["base", "new", "hm"]
    assert command_line([str(folder), str(folder), "--where", "trainer=CoOp", "--and", "trainer=PromptSRC"]) == 0


def test_what_cannot_be_paired(two, capsys):
    folder, _ = two
    assert command_line([str(folder), str(folder)]) == 1
    assert "the first has two runs of EuroSAT, seed 1" in capsys.readouterr().err
    words = [str(folder / "CoOp"), str(folder / "PromptSRC")]
    assert command_line([*words, "--where", "seed=1", "--and", "seed=2"]) == 1
    assert "nothing to pair: the first has EuroSAT" in capsys.readouterr().err
    assert command_line([*words, "--level", "2"]) == 1 and command_line([*words, "--samples", "3"]) == 1
    path = folder / "CoOp/seed2/predictions.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    capsys.readouterr()
    assert command_line(words) == 1
    assert "EuroSAT, new: the runs were not measured on the same images" in capsys.readouterr().err
    path.write_text("a,b\n1,2\n")
    assert command_line(words) == 1 and "is no table of predictions" in capsys.readouterr().err
