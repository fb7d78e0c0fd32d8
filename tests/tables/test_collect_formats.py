"""Tables in every format, averages, curves, missing cells, published numbers; made-up results."""

import csv
import io
import json
import re
import statistics
import sys

import pytest
from made_up import built, result, rows_of, write

from promptkd.tables import command as collect
from promptkd.tables import published
from promptkd.tables.narrow import narrow
from promptkd.tables.summaries import ALL, NOTHING, Method
from promptkd.tables.table import Difference, Percentage


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


UPL = {"TRAINER.UPL.SHOTS": 16, "TRAINER.UPL.MEMBERS": 16, "TRAINER.UPL.UNLABELLED": "all", "TRAINER.UPL.LABELLERS": ""}
TFUPT = {"ALPHA": 0.3, "BETA": 1.0, "SHOTS": 16, "IMAGES": "train", "DESCRIPTIONS": "gpt.json", "TRAINING_SHOTS": 0}
TFUPT |= {"TRAINING_PROPORTION": 0.75, "SCHEDULE": "as_published"}
TFUPT = {f"TRAINER.TFUPT.{key}": value for key, value in TFUPT.items()} | {"OPTIM.MAX_EPOCH": 30, "OPTIM.LR": 0.012}
TFUP = {key.replace("TFUPT", "TFUP"): value for key, value in TFUPT.items()}
ON_TEST = "best epoch on the TEST images of the first class group (uses test labels)"


def unsupervised(**changes):
    entries = {"protocol": "fewshot", "transductive": True, "trainer": "UPL", "backbone": "RN50", "teacher": "",
               "shots": ALL, "selection": "last epoch"}  # fmt: skip
    return Method(**(entries | changes))


EIGHT = {"TRAINER.UPL.LABELLERS": "RN50,RN50x4,RN50x16,RN50x64,RN101,ViT-B/16,ViT-B/32,ViT-L/14"}


def test_published_numbers_without_labels():
    """UPL and UPL* on the benchmark, TFUP on DomainNet: the row whose settings are the published ones."""
    find = published.find
    assert find(unsupervised(), ["UCF101"], "all", UPL).value == 67.17
    assert find(unsupervised(), ["UCF101"], "all", UPL | EIGHT).value == 70.18
    assert find(unsupervised(), published.AVERAGED["fewshot"], "all", UPL).value == 63.38
    zero = {"trainer": "ZeroshotCLIP", "transductive": False, "shots": NOTHING}
    assert find(unsupervised(**zero), ["UCF101"], "all").value == 62.70
    assert find(unsupervised(**zero), published.AVERAGED["fewshot"], "all").value == 59.18
    on_domainnet = {"backbone": "ViT-B/16", "protocol": "all"}
    tfup = unsupervised(trainer="TFUP", shots=NOTHING, **on_domainnet)
    assert find(tfup, ["DomainNet-clipart"], "all", TFUP).value == 73.9
    assert find(tfup, [f"DomainNet-{name}" for name in published.DOMAINNET], "all", TFUP).value == 60.9
    tfupt = unsupervised(trainer="TFUPT", **on_domainnet)
    assert find(tfupt, ["DomainNet-real"], "all", TFUPT).value == 84.57
    best = unsupervised(trainer="TFUPT", selection=ON_TEST, **on_domainnet)
    assert find(best, ["DomainNet-real"], "all", TFUPT).value == 85.8


@pytest.mark.parametrize(
    "settings",
    [{"TRAINER.UPL.SHOTS": 8}, {"TRAINER.UPL.MEMBERS": 1}, {"TRAINER.UPL.LABELLERS": "ViT-L/14"}, {}],
)
def test_published_numbers_without_labels_need_the_published_settings(settings):
    assert published.find(unsupervised(), ["UCF101"], "all", UPL | settings if settings else {}) is None
    assert published.find(unsupervised(pool="pool 1:10"), ["UCF101"], "all", UPL) is None
    assert published.find(unsupervised(transductive=False), ["UCF101"], "all", UPL) is None
    tfup = unsupervised(trainer="TFUP", shots=NOTHING, backbone="ViT-B/16")
    assert published.find(tfup, ["DomainNet-clipart"], "all", TFUP | {"TRAINER.TFUP.DESCRIPTIONS": ""}) is None


def test_rows_say_who_saw_the_test_images_or_each_class_group(tmp_path):
    """Unlike is not put beside unlike without a mark."""
    groups = {"base": {"count": 1}, "new": {"count": 1}}
    plain = result("UPL", "Emoji", accuracy=50.0, protocol="fewshot") | {"transductive": True}
    tested = plain | {"trainer": "TFUP", "seen": {"from": "test images"}, "config_hash": "b" * 16}
    write(tmp_path / "a", plain | {"seen": {"from": "train split"}})
    write(tmp_path / "b", tested)
    grouped = result("TFUP", "Emoji", base=50.0, new=50.0) | {"transductive": True, "config_hash": "c" * 16}
    write(tmp_path / "c", grouped | {"seen": {"from": "train split", "pseudo_labels": groups}})
    labels = [row[0] for table in built(tmp_path) for row in table.rows]
    assert "UPL ViT-B/16" in labels and "TFUP ViT-B/16 (adapted to each class group)" in labels
    assert "TFUP ViT-B/16 (learned from the test images)" in labels


def test_every_published_row_is_whole():
    with published.PATH.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 1500
    assert all(0 <= float(row["value"]) <= 100 and row["verified"] in ("yes", "no") and row["source"] for row in rows)
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
    summaries, left_out = collect.collect([str(tmp_path)])
    assert r"my\_data \& 100\%" in collect.text_of(summaries, left_out, "latex")


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
    assert isinstance(built(output)[0].rows[0][3], Percentage)


def test_a_table_fits_a_terminal_of_80_columns(tmp_path, capsys, monkeypatch):
    """Student and teacher in two columns, deviations below; as it is where the terminal has room."""
    for seed in (1, 2):
        write(tmp_path / f"kd{seed}", result("PromptKD", "Emoji", seed, 80.0 + seed, 70.0, settings={"OPTIM.LR": 0.1}))
        write(tmp_path / f"two{seed}", result("PromptKD", "Emoji", seed, 60.0, 50.0, settings={"OPTIM.LR": 0.2}))
        write(tmp_path / f"src{seed}", result("PromptSRC_KDPL", "Emoji", seed, 70.0, 50.0))
    monkeypatch.setenv("COLUMNS", "80")
    assert collect.main([str(tmp_path)]) == 0
    assert "PromptKD ViT-B/16 <- PromptSRC ViT-L/14 (LR 0.1)" in capsys.readouterr().out  # a pipe has no columns
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert collect.main([str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80 and "Emoji" in shown.splitlines()[1]
    lines = shown[shown.index("TRANSDUCTIVE") :].splitlines()
    assert lines[3].split() == ["method", "teacher", "shots", "base", "new", "HM", "seeds"]
    rows = [re.split(r" {2,}", line) for line in lines[5:8]]
    assert rows[0][:4] == ["PromptKD", "PromptSRC", "all", "81.50"] and rows[0][-1] == "2"
    assert rows[1][:3] == ["ViT-B/16", "ViT-L/14", "+- 0.71"] and rows[2] == ["(LR 0.1)"]
    monkeypatch.setenv("COLUMNS", "200")
    assert collect.main([str(tmp_path)]) == 0
    assert "PromptKD ViT-B/16 <- PromptSRC ViT-L/14 (LR 0.1)" in capsys.readouterr().out


def test_published_numbers_and_data_sets_stand_below_where_there_is_no_room():
    headers = ["method", "data set", "shots", "base", "paper", "diff", "seeds"]
    rows = [["CoOp R", name, "16", value, "80.00", "+1.50", "1 (lacks 2)"] for name, value in
            (("DescribableTextures", "81.50 +- 0.71"), ("EuroSAT", "81.50"))]  # fmt: skip
    title, text = narrow("t", headers, rows)
    assert title == "t"
    first = [line.split() for line in text.splitlines()[5:9]]
    assert first == [["CoOp", "16", "81.50", "1"], ["R", "+-", "0.71", "(lacks", "2)"],
                     ["DescribableTextures", "80.00"], ["+1.50"]]  # fmt: skip
    assert [line.split() for line in text.splitlines()[9:13]][1:3] == [["R", "(lacks", "2)"], ["EuroSAT", "80.00"]]
