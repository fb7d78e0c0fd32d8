"""Which runs make a row of tools/collect.py, and what a row says where runs are missing; made-up results."""

import json

import pytest
from made_up import built, result, rows_of, write

from promptkd.tables import command as collect


def test_runs_of_different_settings_are_rows_of_their_own(tmp_path):
    for weight, base in ((200.0, 70.0), (1000.0, 80.0)):
        for seed in (1, 2):
            settings = {"TRAINER.PROMPTKD.KD_WEIGHT": weight, "SEED": seed, "OPTIM.LR": 0.005}
            write(tmp_path / f"{weight}-{seed}", result("PromptKD", seed=seed, base=base, settings=settings))
    summaries, _ = collect.collect([str(tmp_path)])
    means = {method.label.partition("(")[2]: row["EuroSAT"].mean("base") for method, row in summaries.items()}
    assert means == {"KD_WEIGHT 200.0)": 70.0, "KD_WEIGHT 1000.0)": 80.0}


def test_runs_of_changed_pools_never_mix(tmp_path):
    """Not even where no other run is there to tell them from: the pool is a part of each row's name."""
    pools = {
        "clean": {},
        "tail": {"POOL.IMBALANCE": 10.0},
        "both": {"POOL.IMBALANCE": 10.0, "POOL.FOREIGN_SHARE": 0.3, "POOL.FOREIGN_FROM": ""},
        "few": {"POOL.DROP_CLASSES": 3},
    }
    for number, (name, settings) in enumerate(pools.items()):
        for seed in (1, 2):
            write(tmp_path / name / str(seed), result("UPL", seed=seed, base=60.0 + number, settings=settings))
    labels = {
        name: [method.label.partition("(")[2] for method in collect.collect([str(tmp_path / name)])[0]]
        for name in pools
    }
    assert labels == {
        "clean": [""],
        "tail": ["pool 1:10)"],
        "both": ["pool 1:10, 30 % foreign)"],
        "few": ["pool without 3 classes)"],
    }
    summaries, left_out = collect.collect([str(tmp_path)])
    assert left_out == [] and sorted(row["EuroSAT"].mean("base") for row in summaries.values()) == [60, 61, 62, 63]


def test_a_setting_for_each_data_set_does_not_split_a_row(tmp_path):
    for dataset, weight in (("EuroSAT", 1000.0), ("DescribableTextures", 200.0)):
        write(tmp_path / dataset, result("PromptKD", dataset, settings={"TRAINER.PROMPTKD.KD_WEIGHT": weight}))
    assert len(collect.collect([str(tmp_path)])[0]) == 1


def test_two_runs_of_a_seed_that_nothing_tells_apart_count_once(tmp_path):
    write(tmp_path / "a", result(base=70.0, config_hash="1" * 16))
    write(tmp_path / "b", result(base=90.0, config_hash="2" * 16))
    summaries, left_out = collect.collect([str(tmp_path)])
    (row,) = summaries.values()
    assert row["EuroSAT"].mean("base") == 70.0
    assert len(left_out) == 1 and "b/results.json" in left_out[0] and "seed 1" in left_out[0]


def taught(tmp_path, dataset, seed, base, *parts):
    settings = {"TRAINER.PROMPTKD.TEACHER": "/".join(["/out/base2new", dataset, "shots_16/PromptSRC", *parts])}
    place = tmp_path / "-".join([dataset, str(seed), *(part.replace("/", "-") for part in parts)])
    write(place, result("PromptKD", dataset, seed, base=base, settings=settings))


def test_a_grid_over_teachers_gives_a_row_for_each(tmp_path):
    """Each data set has its own teachers, which all seeds of its students share; one of them is not yet there."""
    for seed in (1, 2):
        taught(tmp_path, "EuroSAT", seed, 70.0, "vit+MAX_EPOCH=1", "seed1")
        taught(tmp_path, "EuroSAT", seed, 80.0, "vit+MAX_EPOCH=2", "seed1")
        taught(tmp_path, "UCF101", seed, 60.0, "vit+MAX_EPOCH=1", "seed1")
    summaries, left_out = collect.collect([str(tmp_path)])
    assert left_out == []
    shown = {
        m.label.partition("(")[2]: {n: (c.mean("base"), c.seeds) for n, c in row.items()}
        for m, row in summaries.items()
    }
    assert shown == {
        "TEACHER MAX_EPOCH=1)": {"EuroSAT": (70.0, [1, 2]), "UCF101": (60.0, [1, 2])},
        "TEACHER MAX_EPOCH=2)": {"EuroSAT": (80.0, [1, 2])},
    }


def test_several_teachers_are_a_name_of_their_own_and_each_of_them_teaches(tmp_path):
    places = [f"out/base2new/EuroSAT/shots_16/{name}/vit/seed1" for name in ("PromptSRC", "CoOp")]
    each = [{"trainer": name, "backbone": "ViT-L/14"} for name in ("PromptSRC", "CoOp")]
    for seed in (1, 2):
        settings = {"TRAINER.PROMPTKD.TEACHERS": [f"/{place}" for place in places]}
        teacher = each[0] | {"teachers": each, "mix": "entropy"}
        entries = {"seed": seed, "settings": settings, "teacher": teacher, "learned_parameters": 9}
        write(tmp_path / f"kd{seed}", result("PromptKD", **entries))
    for place, one in zip(places, each, strict=True):
        write(tmp_path / place, result(one["trainer"]))
    rows = {method.trainer: method for method in collect.collect([str(tmp_path)])[0]}
    assert rows["PromptKD"].teacher == "PromptSRC ViT-L/14 + CoOp ViT-L/14, entropy"
    assert not rows["PromptKD"].variant and [rows[one["trainer"]].teaches for one in each] == [True, True]


@pytest.mark.parametrize(
    ("teachers", "labels"),
    [
        ({1: ["vit/seed1"], 2: ["vit/seed2"]}, {"": [1, 2]}),  # each seed its own teacher: one row
        ({1: ["vit/seed1", "vit+LR=1/seed1"]}, {"TEACHER vit": [1], "TEACHER LR=1": [1]}),
        ({1: ["vit/seed1", "vit/seed2"]}, {"TEACHER seed1": [1], "TEACHER seed2": [1]}),
        (
            {1: ["a/b/a", "b/a/a"]},
            {f"TEACHER /out/base2new/EuroSAT/shots_16/PromptSRC/{path}": [1] for path in ("a/b/a", "b/a/a")},
        ),
    ],
)
def test_rows_of_students_whose_teachers_differ(tmp_path, teachers, labels):
    for seed, paths in teachers.items():
        for path in paths:
            taught(tmp_path, "EuroSAT", seed, 70.0, path)
    summaries, left_out = collect.collect([str(tmp_path)])
    assert left_out == []
    assert {m.label.partition("(")[2].rstrip(")"): row["EuroSAT"].seeds for m, row in summaries.items()} == labels


def test_other_teachers_backbones_shots_and_selections_are_rows_of_their_own(tmp_path):
    small = {"source": "x", "backbone": "ViT-B/16", "trainer": "PromptSRC"}
    variants = [{}, {"teacher": small}, {"backbone": "ViT-B/32"}, {"shots": 4}, {"selection": "best epoch on the TEST"}]
    for i, entries in enumerate(variants):
        write(tmp_path / str(i), result("PromptKD", config_hash=f"{i:016d}", **entries))
    summaries, left_out = collect.collect([str(tmp_path)])
    assert (len(summaries), left_out) == (len(variants), [])
    assert any("best epoch on the TEST" in method.label for method in summaries)


def test_missing_cells_and_seeds_are_shown(tmp_path):
    for seed in (1, 2, 3):
        write(tmp_path / f"src{seed}", result("PromptSRC", "Emoji", seed))
        write(tmp_path / f"other{seed}", result("PromptSRC", "Folder", seed))
    write(tmp_path / "coop", result("CoOp", "Emoji", 2))
    write(tmp_path / "zero", result("ZeroshotCLIP", "Emoji", 1))
    rows = rows_of(built(tmp_path)[0])
    assert rows["CoOp ViT-B/16", "Emoji"][-1] == "1 (lacks 1, 3)"
    assert rows["CoOp ViT-B/16", "Folder"][1:] == ["missing", "missing", "missing", "0 (lacks 1, 2, 3)"]
    assert ("CoOp ViT-B/16", "average of 1 (lacks Folder)") in rows
    assert rows["ZeroshotCLIP ViT-B/16", "Emoji"][-1] == "1"  # every seed would give the same
    assert rows["PromptSRC ViT-B/16", "average of 2"][-1] == "3"


def test_cross_and_few_shot_averages_say_what_they_lack(tmp_path):
    for protocol in ("cross", "fewshot"):
        entries = {"protocol": protocol, "learned_on": "ImageNet"}
        for name in ("A", "B", "C", "D", "E"):
            for seed in (1, 2):
                write(
                    tmp_path / f"{protocol}/whole/{name}/{seed}", result("CoOp", name, seed, accuracy=50.0, **entries)
                )
        for name in ("A", "B", "C", "D"):
            write(tmp_path / f"{protocol}/four/{name}", result("MaPLe", name, accuracy=70.0, **entries))
        write(tmp_path / f"{protocol}/one", result("VPT", "A", accuracy=90.0, **entries))
    few, cross = built(tmp_path)
    rows = rows_of(few)
    assert [rows[f"{name} ViT-B/16", "average"][0] for name in ("MaPLe", "VPT")] == [
        "missing (lacks E)", "missing (lacks B, C, D and 1 more)",
    ]  # fmt: skip
    whole = rows["CoOp ViT-B/16", "average"][0]
    assert (whole.mean, whole.best, whole.note) == (50.0, False, "")  # one row alone is not the best
    assert rows["VPT ViT-B/16", "B"] == ["missing (0 of 2 seeds)"]
    vpt = next(row for row in cross.rows if row[0].startswith("VPT"))
    assert vpt[3:] == ["missing (0 of 2 seeds)"] * 4 + ["missing (lacks B, C, D and 1 more)"]


def test_a_shared_teacher_is_neither_short_of_seeds_nor_a_rival(tmp_path):
    """Wherever the output lies now; a method of which one run happens to teach is one as any other."""
    places = {name: f"base2new/Emoji/shots_16/PromptSRC/{name}/seed1" for name in ("large", "small")}
    write(tmp_path / places["large"], result(dataset="Emoji", base=99.0, backbone="ViT-L/14"))
    write(tmp_path / places["small"], result(dataset="Emoji", base=95.0))
    write(tmp_path / "small2", result(dataset="Emoji", seed=2, base=95.0))
    for seed in (1, 2, 3):
        write(tmp_path / f"coop{seed}", result("CoOp", "Emoji", seed, base=70.0))
        for place in places.values():
            settings = {"TRAINER.PROMPTKD.TEACHER": f"/moved/output/{place}"}
            write(tmp_path / f"{place}/{seed}", result("PromptKD", "Emoji", seed, settings=settings))
    rows = rows_of(built(tmp_path)[0])
    teacher, other = rows["PromptSRC ViT-L/14", "Emoji"], rows["PromptSRC ViT-B/16", "Emoji"]
    assert (teacher[1].mean, teacher[1].best, teacher[-1]) == (99.0, False, "1 (teacher)")
    assert (other[1].best, other[-1]) == (True, "2 (lacks 3)")
    assert rows["CoOp ViT-B/16", "Emoji"][-1] == "3"


def test_the_one_seed_of_what_learns_nothing_is_asked_of_nobody_else(tmp_path):
    write(tmp_path / "zero", result("ZeroshotCLIP", "Emoji", 1))
    for seed in (2, 3):
        write(tmp_path / f"coop{seed}", result("CoOp", "Emoji", seed))
    assert rows_of(built(tmp_path)[0])["CoOp ViT-B/16", "Emoji"][-1] == "2"


def test_records_tell_what_is_missing(tmp_path):
    for name, trainer in (("Emoji", "CoOp"), ("Folder", "CoOp"), ("Emoji", "VPT")):
        write(tmp_path / f"b{name}{trainer}", result(trainer, name))
        write(tmp_path / f"x{name}{trainer}", result(trainer, name, accuracy=50.0, protocol="cross"))
    write(tmp_path / "few", result("CoOp", "Emoji", accuracy=50.0, shots=1))
    write(tmp_path / "few2", result("VPT", "Emoji", accuracy=60.0, shots=2))
    summaries, left_out = collect.collect([str(tmp_path)])
    listed = json.loads(collect.text_of(summaries, left_out, "json"))["cells"]
    by_key = {(c["protocol"], c["trainer"], c["shots"], c["dataset"], c["metric"]): c for c in listed}
    assert len(by_key) == len(listed) == len(collect.text_of(summaries, left_out, "csv").splitlines()) - 1
    for metric in ("base", "new", "hm"):
        gone = by_key["base2new", "VPT", "16", "Folder", metric]
        assert (gone["mean"], gone["std"], gone["seeds"], gone["n_seeds"], gone["difference"]) == (
            None,
            None,
            [],
            0,
            None,
        )
    average = by_key["base2new", "VPT", "16", "average", "base"]
    assert (average["mean"], average["datasets"], average["lacks"]) == (80.0, ["Emoji"], ["Folder"])
    average = by_key["cross", "VPT", "16", "average", "all"]
    assert (average["mean"], average["std"], average["lacks"]) == (None, None, ["Folder"])
    assert by_key["cross", "CoOp", "16", "average", "all"]["mean"] == 50.0
    assert by_key["fewshot", "VPT", "1", "Emoji", "all"]["mean"] is None
    assert ("base2new", "VPT", "16", "Folder", "all") not in by_key


def test_records_average_cross_without_the_source(tmp_path):
    for name, accuracy in (("ImageNet", 90.0), ("A", 50.0), ("B", 40.0)):
        entries = {"accuracy": accuracy, "protocol": "cross", "learned_on": "ImageNet"}
        write(tmp_path / name, result("CoOp", name, **entries))
    summaries, left_out = collect.collect([str(tmp_path)])
    (average,) = [
        c for c in json.loads(collect.text_of(summaries, left_out, "json"))["cells"] if c["dataset"] == "average"
    ]
    assert (average["mean"], average["datasets"]) == (45.0, ["A", "B"])
