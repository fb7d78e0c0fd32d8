"""The tables of tools.collect in every format, averages, curves, missing cells, published numbers; made-up results."""

import csv
import io
import json
import statistics

import pytest
from made_up import result, write

from tools import collect, published, tables
from tools.cells import ALL, NOTHING, Method
from tools.entries import Difference, Value


def built(output, compare=True):
    return tables.build(collect.collect([str(output)])[0], compare)


def rows_of(table):
    return {(row[0], row[1]): row[2:] for row in table.rows}


def test_average_is_over_data_sets_and_its_hm_is_of_the_averages(tmp_path):
    for seed in (1, 2):
        write(tmp_path / f"a{seed}", result("PromptSRC", "Emoji", seed, 80.0 + seed, 60.0))
        write(tmp_path / f"b{seed}", result("PromptSRC", "Folder", seed, 40.0, 20.0 + 2 * seed))
    (table,) = built(tmp_path)
    base, new, hm, seeds = rows_of(table)["PromptSRC ViT-B/16", "average of 2"][1:]
    assert base.mean == pytest.approx((81.5 + 40) / 2)
    assert base.std == pytest.approx(statistics.stdev([60.5, 61.0]))
    assert hm.mean == pytest.approx(2 * 60.75 * 41.5 / (60.75 + 41.5))
    assert hm.std == pytest.approx(statistics.stdev([2 * 60.5 * 41 / 101.5, 2 * 61 * 42 / 103]))
    assert seeds == "2"


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


def test_best_is_marked_per_data_set_and_column(tmp_path):
    write(tmp_path / "a", result("PromptSRC", "Emoji", base=90.0, new=50.0))
    write(tmp_path / "b", result("CoOp", "Emoji", base=80.0, new=70.0))
    rows = rows_of(built(tmp_path)[0])
    assert [value.best for value in rows["PromptSRC ViT-B/16", "Emoji"][1:4]] == [True, False, False]
    assert [value.best for value in rows["CoOp ViT-B/16", "Emoji"][1:4]] == [False, True, True]


def test_few_shot_curves(tmp_path):
    for shots in (1, 2, 16):
        for seed in (1, 2):
            if (shots, seed) != (16, 2):
                entries = {"accuracy": 50.0 + shots + seed, "shots": shots}
                write(tmp_path / f"{shots}-{seed}", result("CoOp", "Emoji", seed, **entries))
    write(tmp_path / "z", result("ZeroshotCLIP", "Emoji", accuracy=40.0))
    write(tmp_path / "m", result("MaPLe", "Emoji", accuracy=60.0, shots=16))
    (table,) = built(tmp_path)
    assert table.headers == ["method", "data set", "0 shots", "1 shot", "2 shots", "16 shots"]
    rows = rows_of(table)
    zero, one, two, sixteen = rows["CoOp ViT-B/16", "Emoji"]
    assert (zero, one.mean, two.mean, sixteen.mean) == ("", 52.5, 53.5, 67.0)  # nobody learns from 0 images
    assert (one.note, sixteen.note) == ("", "1 of 2 seeds")
    zero_shot = rows["ZeroshotCLIP ViT-B/16", "Emoji"]
    assert (zero_shot[0].mean, zero_shot[1:]) == (40.0, ["", "", ""])
    assert rows["MaPLe ViT-B/16", "Emoji"][:3] == ["", "missing (0 of 2 seeds)", "missing (0 of 2 seeds)"]


def test_cross_table_has_a_column_per_data_set_and_averages_the_targets(tmp_path):
    for name, accuracy in (("ImageNet", 70.0), ("Emoji", 50.0), ("EuroSAT", 40.0)):
        write(tmp_path / name, result("CoOp", name, accuracy=accuracy, protocol="cross"))
    write(tmp_path / "kd", result("PromptKD", "Emoji", accuracy=60.0, protocol="cross"))
    inductive, transductive = built(tmp_path, compare=False)
    assert inductive.headers == ["method", "shots", "ImageNet", "Emoji", "EuroSAT", "average"]
    assert [value.mean for value in inductive.rows[0][2:]] == [70.0, 50.0, 40.0, 45.0]
    assert transductive.headers == ["method", "shots", "Emoji"]  # one data set has no average


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
    cells, left_out = collect.collect([str(tmp_path)])
    listed = json.loads(collect.text_of(cells, left_out, "json"))["cells"]
    found = {(c["protocol"], c["trainer"], c["shots"], c["dataset"], c["metric"]): c for c in listed}
    assert len(found) == len(listed) == len(collect.text_of(cells, left_out, "csv").splitlines()) - 1
    for metric in ("base", "new", "hm"):
        gone = found["base2new", "VPT", "16", "Folder", metric]
        assert (gone["mean"], gone["std"], gone["seeds"], gone["n_seeds"], gone["difference"]) == (
            None,
            None,
            [],
            0,
            None,
        )
    average = found["base2new", "VPT", "16", "average", "base"]
    assert (average["mean"], average["datasets"], average["lacks"]) == (80.0, ["Emoji"], ["Folder"])
    average = found["cross", "VPT", "16", "average", "all"]
    assert (average["mean"], average["std"], average["lacks"]) == (None, None, ["Folder"])
    assert found["cross", "CoOp", "16", "average", "all"]["mean"] == 50.0
    assert found["fewshot", "VPT", "1", "Emoji", "all"]["mean"] is None
    assert ("base2new", "VPT", "16", "Folder", "all") not in found


def test_records_average_cross_without_the_source(tmp_path):
    for name, accuracy in (("ImageNet", 90.0), ("A", 50.0), ("B", 40.0)):
        entries = {"accuracy": accuracy, "protocol": "cross", "learned_on": "ImageNet"}
        write(tmp_path / name, result("CoOp", name, **entries))
    cells, left_out = collect.collect([str(tmp_path)])
    (average,) = [c for c in json.loads(collect.text_of(cells, left_out, "json"))["cells"] if c["dataset"] == "average"]
    assert (average["mean"], average["datasets"]) == (45.0, ["A", "B"])


def test_published_numbers_stand_beside_ours(tmp_path):
    write(tmp_path / "src", result("PromptSRC", "DescribableTextures", base=80.0, new=60.0))
    write(tmp_path / "kd", result("PromptKD", "DescribableTextures", base=86.0, new=72.0))
    inductive, transductive = built(tmp_path)
    assert inductive.headers[3:6] == ["base", "paper", "diff"]
    row = inductive.rows[0]
    assert row[4] == "83.37"  # PromptKD's Table 1
    assert row[5] == Difference(pytest.approx(80.0 - 83.37), True)
    assert transductive.rows[0][4] == "85.84"
    assert any("test images" in note for note in transductive.notes)
    assert any("PromptKD Table 1" in note for note in inductive.notes)


def test_numbers_that_are_not_verified_are_marked(tmp_path):
    write(tmp_path / "a", result("PromptSRC", "EuroSAT", accuracy=80.0, shots=4))
    (table,) = built(tmp_path)
    assert [row[0].strip() for row in table.rows] == ["PromptSRC ViT-B/16", "paper", "diff"]
    assert table.rows[1][2] == "86.30?"
    assert any(note.startswith("? not verified") for note in table.notes)
    assert built(tmp_path, compare=False)[0].rows[1:] == []


def kd(**changes):
    entries = {"protocol": "base2new", "transductive": True, "trainer": "PromptKD", "backbone": "ViT-B/16",
               "teacher": "PromptSRC ViT-L/14", "shots": ALL, "selection": "last epoch"}  # fmt: skip
    return Method(**(entries | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"transductive": False},
        {"teacher": "PromptSRC ViT-B/16"},
        {"backbone": "ViT-B/32"},
        {"shots": 16},
        {"protocol": "fewshot"},
        {"trainer": "Mine"},
    ],
)
def test_published_numbers_only_where_like_compares_to_like(changes):
    assert published.find(kd(), ["EuroSAT"], "new").value == 82.08
    assert published.find(kd(**changes), ["EuroSAT"], "new") is None


def test_a_published_average_needs_the_same_data_sets():
    names = published.AVERAGED["base2new"]
    assert len(names) == 11
    assert published.find(kd(), names, "hm").value == 83.73
    assert published.find(kd(), names - {"EuroSAT"}, "hm") is None
    assert published.find(kd(), ["Emoji"], "hm") is None


def test_published_teacher_and_zero_shot():
    teacher = Method("base2new", False, "PromptSRC", "ViT-L/14", "", 16, "last epoch")
    assert published.find(teacher, ["EuroSAT"], "base").paper.startswith("PromptKD Table 10")
    zero = Method("base2new", False, "ZeroshotCLIP", "ViT-B/16", "", NOTHING, "last epoch")
    assert published.find(zero, ["EuroSAT"], "base").value == 56.48


def test_every_published_row_is_whole():
    with published.PATH.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 1500
    assert all(0 < float(row["value"]) <= 100 and row["verified"] in ("yes", "no") and row["source"] for row in rows)
    known = set(published.DATASETS.values()) | {"average"}
    used = {row["dataset"] for row in rows if row["setting"] in ("base2new", "fewshot")}
    assert used <= known


@pytest.fixture
def output(tmp_path):
    for seed in (1, 2):
        write(tmp_path / f"a{seed}", result("PromptSRC", "Emoji", seed, 80.0 + seed, 60.0))
        write(tmp_path / f"k{seed}", result("PromptKD", "Emoji", seed, 90.0, 70.0))
    write(tmp_path / "broken", "{")
    return tmp_path


def printed(output, form, capsys):
    assert collect.main([str(output), "--format", form]) == 0
    return capsys.readouterr().out


def test_markdown(output, capsys):
    text = printed(output, "markdown", capsys)
    lines = text.splitlines()
    assert lines[0] == "### base2new, inductive"
    assert "81.50 ± 0.71" in text
    body = [line for line in lines if line.startswith("| PromptKD")]
    assert len(body) == 1 and "&lt;- PromptSRC" in body[0]
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_latex(output, capsys):
    text = printed(output, "latex", capsys)
    assert text.count(r"\begin{tabular}{lllrrrr}") == text.count(r"\end{tabular}") == 2
    assert r"81.50 $\pm$ 0.71" in text and r"PromptKD ViT-B/16 $\leftarrow$ PromptSRC" in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in body} == {6}


def test_latex_escapes(tmp_path):
    write(tmp_path / "a", result("CoOp", "my_data & 100%"))
    cells, left_out = collect.collect([str(tmp_path)])
    assert r"my\_data \& 100\%" in collect.text_of(cells, left_out, "latex")


def test_csv_and_json_have_every_number(output, capsys):
    rows = list(csv.DictReader(io.StringIO(printed(output, "csv", capsys))))
    assert {row["metric"] for row in rows} == {"base", "new", "hm"}
    (row,) = [r for r in rows if r["trainer"] == "PromptSRC" and r["metric"] == "base"]
    assert (row["mean"], row["seeds"], row["n_seeds"], row["transductive"]) == ("81.5", "1 2", "2", "False")
    content = json.loads(printed(output, "json", capsys))
    (cell,) = [c for c in content["cells"] if c["trainer"] == "PromptKD" and c["metric"] == "hm"]
    assert cell["mean"] == pytest.approx(2 * 90 * 70 / 160) and cell["seeds"] == [1, 2] and cell["transductive"] is True
    assert len(content["left_out"]) == 1 and "broken" in content["left_out"][0]
    assert len(content["cells"]) == len(rows)


def test_terminal_rounds_and_keeps_notes(output, capsys):
    text = printed(output, "terminal", capsys)
    assert "81.50 +- 0.71" in text
    assert isinstance(built(output)[0].rows[0][3], Value)
