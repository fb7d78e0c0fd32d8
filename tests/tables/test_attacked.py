"""Tables of robustness: runs that were measured differently share no mean, and say in what they differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_up import group, result, write

from promptkd.tables import published
from promptkd.tables.attacked import attacked_tables, radius
from promptkd.tables.command import collect, text_of
from promptkd.tables.summaries import Method
from promptkd.tables.table import Percentage, Table

KINDS = ["fog", "contrast", "saturate", "pixelate", "brightness"]


def attacked(value: float, images: int = 9, name: str = "pgd10_eps1", **about: Any) -> dict[str, Any]:
    """`robustness` of a record: half of the images withstand."""
    attack = {"attack": "pgd", "steps": 10, "step": "eps/4", "start": "zero"} | about
    groups = {one: {"images": images, "clean": value, name: value / 2} for one in ("base", "new")}
    return {"attack": attack, "groups": groups}


def corrupted(value: float, kinds: list[str] = KINDS[:1], severities: tuple[int, ...] = (1, 5)) -> dict[str, Any]:
    values = {"images": 6, "clean": value, "corrupted": value / 2} | dict.fromkeys(kinds, value / 2)
    by_severity = {kind: [value / 2] * len(severities) for kind in kinds}
    both = ("base", "new")
    return {
        "severities": list(severities),
        "groups": dict.fromkeys(both, values),
        "by_severity": dict.fromkeys(both, by_severity),
    }


def put(root: Path, *runs: dict[str, Any]) -> Path:
    """Runs of seeds 1, 2, ..., of CoOp where nothing else is said."""
    for seed, entries in enumerate(runs, 1):
        write(root / f"{len(list(root.glob('*')))}", result(**({"trainer": "CoOp", "seed": seed} | entries)))
    return root


def table(root: Path, compare: bool = False) -> Table:
    (made,) = attacked_tables(collect([str(root)])[0], compare)
    return made


def columns(made: Table, *names: str, of: str = "base") -> list[list[Any]]:
    """Some cells of the rows of a class group, percentages as their mean, with their note where they have one."""
    rows = [dict(zip(made.headers, row, strict=True)) for row in made.rows]
    cells = [[row.get(name) for name in names] for row in rows if row["group"] == of]
    return [[_plain(cell) for cell in row] for row in cells]


def _plain(cell: Any) -> Any:
    if not isinstance(cell, Percentage):
        return cell
    return (cell.mean, cell.note) if cell.note else cell.mean


def test_different_attacks_share_no_mean(tmp_path: Path):
    weak = attacked(100.0, images=6, step="0.01/255", start="random")
    made = table(put(tmp_path, {"robustness": attacked(60.0)}, {"robustness": weak}, {}))
    assert columns(made, "measured", "clean", "pgd10_eps1", "seeds") == [
        ["step eps/4, zero start, 9 images attacked", 60.0, 30.0, "1 of 3"],
        ["step 0.01/255, random start, 6 images attacked", 100.0, 50.0, "1 of 3"],
    ]
    assert any("share no mean" in note for note in made.notes)
    assert "{llllrrr}" in text_of(*collect([str(tmp_path)]), "latex", compare=False)


def test_one_attack_is_one_row_that_says_which(tmp_path: Path):
    made = table(put(tmp_path, {"robustness": attacked(60.0)}, {"robustness": attacked(40.0)}))
    assert "measured" not in made.headers and columns(made, "clean", "seeds") == [[50.0, "2"]]
    assert "All rows: step eps/4, zero start, 9 images attacked." in made.notes


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (attacked(60.0, step="1/255"), "step 1/255"),
        (attacked(60.0, start="random"), "random start"),
        (attacked(60.0, images=8), "8 images attacked"),
        (attacked(60.0) | {"attack": None}, "step unknown, unknown start"),
    ],
)
def test_methods_that_were_attacked_differently_are_told_apart(tmp_path: Path, other: dict[str, Any], words: str):
    made = table(put(tmp_path, {"robustness": attacked(60.0)}, {"trainer": "MaPLe", "robustness": other, "seed": 1}))
    assert columns(made, "method", "measured", "seeds")[1] == ["MaPLe ViT-B/16", words, "1"]


def test_data_sets_may_differ_in_their_images(tmp_path: Path):
    other = {"dataset": "UCF101", "robustness": attacked(60.0, images=70), "seed": 1}
    assert "measured" not in table(put(tmp_path, {"robustness": attacked(60.0)}, other)).headers


def test_steps_of_an_attack_are_columns_of_their_own(tmp_path: Path):
    """Each cell says where fewer runs have it than the row."""
    more = attacked(40.0)
    for values in more["groups"].values():
        values["pgd100_eps1"] = 10.0
    made = table(put(tmp_path, {"robustness": attacked(60.0)}, {"robustness": more}))
    assert columns(made, "clean", "pgd10_eps1", "pgd100_eps1", "seeds") == [[50.0, 25.0, (10.0, "1 seed"), "2"]]


def test_corruptions_and_attacks_are_kept_apart_each_by_itself(tmp_path: Path):
    runs = [
        {"robustness": attacked(60.0), "corruptions": corrupted(40.0)},
        {"robustness": attacked(40.0), "corruptions": corrupted(20.0, severities=(5,))},
        {"robustness": attacked(50.0), "corruptions": corrupted(20.0)},
    ]
    made = table(put(tmp_path, *runs))
    assert columns(made, "measured", "pgd10_eps1", "corrupted", "seeds") == [
        ["severities 1, 5", 25.0, (15.0, "2 seeds"), "3"],
        ["severities 5", "", 10.0, "1 of 3"],
    ]


@pytest.mark.parametrize(
    ("kinds", "words"),
    [(KINDS[:4], "contrast, fog, pixelate, saturate"), ([*KINDS[:4], "jpeg_compression"], ", jpeg_compression, ")],
)
def test_kinds_are_counted_only_where_that_tells_them_apart(tmp_path: Path, kinds: list[str], words: str):
    runs = [{"corruptions": corrupted(40.0, KINDS)}, {"corruptions": corrupted(40.0, kinds)}]
    first, second = (row[0] for row in columns(table(put(tmp_path, *runs)), "measured"))
    assert words in second and first == f"corrupted by {'5 kinds' if len(kinds) == 4 else ', '.join(sorted(KINDS))}"


def test_other_data_of_several_sources(tmp_path: Path):
    runs = [
        {"robustness": attacked(60.0), "other_data": {"source": source, "images": 9}}
        | {"metrics": {name: group(60.0) | {"auroc_other_data": told} for name in ("base", "new")}}
        for source, told in (("shipped", 70.0), ("shipped", 80.0), ("/pictures", 10.0))
    ]
    made = table(put(tmp_path, *runs))
    assert columns(made, "measured", "clean", "AUROC", "seeds") == [
        ["told from shipped", 60.0, (75.0, "2 seeds"), "3"],
        ["told from /pictures", "", 10.0, "1 of 3"],
    ]


def test_data_formats_have_one_entry_for_each_way(tmp_path: Path):
    random = attacked(100.0, start="random")
    root = put(tmp_path, {"robustness": attacked(60.0)}, {"robustness": random}, {"robustness": attacked(40.0)})
    put(root, {"dataset": "UCF101", "robustness": attacked(60.0)})
    cells = json.loads(text_of(*collect([str(root)]), "json"))["cells"]
    found = [one for one in cells if one["metric"] == "base/pgd10_eps1"]
    assert [(one["dataset"], one["measured"].get("start"), one["mean"], one["seeds"]) for one in found] == [
        ("EuroSAT", "zero", 25.0, [1, 3]),
        ("EuroSAT", "random", 50.0, [2]),
        ("UCF101", "zero", 30.0, [1]),
        ("average", None, None, []),
    ]
    assert "start=random images=9" in text_of(*collect([str(root)]), "csv")


ASKED = {"TEST.ROBUST.ATTACK": "pgd", "TEST.ROBUST.EPS": [1.0], "TEST.CORRUPT.KINDS": "all", "TEST.OUTSIDE": "shipped",
         "TEST.TEMPERATURE": True}  # fmt: skip


def test_what_is_measured_makes_no_variant_of_a_method(tmp_path: Path):
    """Whether the run was asked for it, or `promptkd robust` measured it afterwards."""
    both = {"robustness": attacked(60.0)}
    summaries, remarks = collect([str(put(tmp_path, both, both | {"settings": ASKED}))])
    ((method, row),) = summaries.items()
    assert method.label == "CoOp ViT-B/16" and row["EuroSAT"].seeds == [1, 2] and remarks == []
    assert columns(table(tmp_path), "pgd10_eps1", "seeds") == [[30.0, "2"]]


def test_a_run_that_was_measured_again_elsewhere_counts_once(tmp_path: Path):
    settings = ({}, ASKED, {"TEST.ROBUST.ATTACK": "pgd", "TEST.ROBUST.RANDOM_START": True})
    first, second, third = ({"seed": 1, "settings": one} for one in settings)
    second |= {"robustness": attacked(60.0), "eval_only": True}
    third |= {"robustness": attacked(50.0, start="random"), "eval_only": True}
    root = put(tmp_path, first, second, third)
    summaries, remarks = collect([str(root)])
    (row,) = summaries.values()
    assert [run.record.settings for run in row["EuroSAT"].runs] == [{}] and len(remarks) == 2
    assert "0/results.json again, measured in addition: only its robustness may count" in remarks[0]
    assert columns(table(root), "measured", "pgd10_eps1", "seeds") == [
        ["zero start", 30.0, "1"],
        ["random start", 25.0, "1"],
    ]


def test_a_run_with_other_accuracies_is_not_the_same_run_again(tmp_path: Path):
    root = put(tmp_path, {"seed": 1}, {"seed": 1, "settings": ASKED, "base": 10.0, "robustness": attacked(60.0)})
    summaries, (remark,) = collect([str(root)])
    ((summary,),) = (row.values() for row in summaries.values())
    assert "another configuration of seed 1" in remark and summary.mean("base") == 10.0  # which has more to show


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("pgd10_eps4", 4.0), ("aa_eps0.5", 0.5), ("pgd10_eps0.00123457", 0.00123457), ("clean", None), ("x_eps1e9", None)],
)
def test_the_radius_of_an_attack_is_in_its_name(name: str, wanted: float | None):
    assert radius(name) == wanted


FAP = {"TRAINER.FAP.EPS": 1.0, "TRAINER.FAP.ALPHA": 1.0, "TRAINER.FAP.STEPS": 2, "TRAINER.FAP.WEIGHT": 1.5}
FAP |= {"TRAINER.FAP.N_CTX": 2, "TRAINER.FAP.PROMPT_DEPTH": 9, "OPTIM.MAX_EPOCH": 10}
ADVIVLP = {"TRAINER.ADVIVLP.EPS": 1.0, "TRAINER.ADVIVLP.ALPHA": 1.0, "TRAINER.ADVIVLP.STEPS": 2}
ADVIVLP |= {"TRAINER.ADVIVLP.CLEAN_SHARE": 0.0, "OPTIM.MAX_EPOCH": 10}
WHOLE = attacked(80.0, images=100, name="pgd100_eps1", steps=100, step="1/255")


def papers(root: Path, *names: str, **entries: Any) -> list[str]:
    """The published numbers below ours, of some columns and class groups."""
    made = table(put(root, {"backbone": "ViT-B/32"} | entries), compare=True)
    rows = [dict(zip(made.headers, row, strict=True)) for row in made.rows]
    return [str(row[name]) for row in rows for name in names if str(row["method"]).strip() == "paper"]


def test_published_numbers_beside_the_published_attack_on_all_images(tmp_path: Path):
    found = papers(tmp_path / "a", "clean", "pgd100_eps1", trainer="FAP", settings=FAP, robustness=WHOLE)
    assert found == ["87.70", "51.80", "32.80", "13.40"]
    assert not [row for row in table(tmp_path / "a", compare=False).rows if str(row[0]).strip() == "paper"]
    adv = papers(tmp_path / "b", "pgd100_eps1", trainer="AdvIVLP", settings=ADVIVLP, robustness=WHOLE)
    assert adv == [_published("AdvVLP", "base_pgd100"), _published("AdvVLP", "new_pgd100")]


def _published(method: str, metric: str) -> str:
    lines = published.PATH.read_text(encoding="utf-8").splitlines()
    (line,) = [one for one in lines if f",{method},ViT-B/32,base2new,EuroSAT,{metric},16," in one]
    return f"{float(line.split(',')[7]):.2f}"


@pytest.mark.parametrize(
    "changes",
    [
        {"robustness": attacked(80.0, images=6, name="pgd100_eps1", step="1/255")},
        {"robustness": attacked(80.0, images=100, name="pgd100_eps1", step="0.01/255")},
        {"robustness": attacked(80.0, images=100, name="pgd100_eps1")},
        {"robustness": attacked(80.0, images=100, name="pgd10_eps1", step="1/255")},
    ],
)
def test_no_published_number_beside_another_attack(tmp_path: Path, changes: dict[str, Any]):
    (name,) = [one for one in changes["robustness"]["groups"]["base"] if "_eps" in one]
    found = papers(tmp_path, name, trainer="FAP", settings=FAP, **changes)
    assert set(found) <= {""}


def test_no_published_accuracy_beside_that_of_a_sample(tmp_path: Path):
    sample = attacked(83.0, images=6, name="pgd100_eps1", step="1/255")
    assert papers(tmp_path, "clean", trainer="CoOp", backbone="ViT-B/16", robustness=sample) == []


@pytest.mark.parametrize(
    ("trainer", "settings", "change"),
    [("FAP", FAP, {key: value}) for key, value in (("TRAINER.FAP.EPS", 4.0), ("TRAINER.FAP.ALPHA", 0.5))]
    + [("FAP", FAP, {key: value}) for key, value in (("TRAINER.FAP.STEPS", 10), ("TRAINER.FAP.WEIGHT", 0.0))]
    + [("FAP", FAP, {"OPTIM.MAX_EPOCH": 50}), ("FAP", FAP, {"TRAINER.FAP.N_CTX": 16})]
    + [("AdvIVLP", ADVIVLP, {key: value}) for key, value in (("OPTIM.MAX_EPOCH", 100), ("TRAINER.ADVIVLP.EPS", 4.0))]
    + [("AdvIVLP", ADVIVLP, {"TRAINER.ADVIVLP.CLEAN_SHARE": 0.5}), ("AdvIVLP", ADVIVLP, {"TRAINER.ADVIVLP.STEPS": 3})],
)
def test_published_robust_methods_need_the_published_options(
    trainer: str, settings: dict[str, Any], change: dict[str, Any]
):
    method = Method("base2new", False, trainer, "ViT-B/32", "", 16, "last epoch")
    assert published.find(method, ["EuroSAT"], "base", settings) is not None
    assert published.find(method, ["EuroSAT"], "base", settings | change) is None
    assert published.find(method, ["EuroSAT"], "base") is None


@pytest.mark.parametrize(("backbone", "shots"), [("ViT-B/16", 16), ("ViT-B/32", 4)])
def test_advvlp_is_of_one_clip_and_number_of_shots(backbone: str, shots: int):
    for protocol, metric in (("base2new", "base"), ("fewshot", "all")):
        method = Method(protocol, False, "AdvIVLP", backbone, "", shots, "last epoch")
        assert published.find(method, published.AVERAGED[protocol], metric, ADVIVLP) is None
