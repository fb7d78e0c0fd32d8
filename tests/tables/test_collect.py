"""The collector: what counts, what is left out, and the numbers of the tables, on made-up results.json files."""

import csv
import io
import json
import statistics

import pytest
from made_up import SRC_TEACHER, group, result, write

from promptkd.results import search
from promptkd.tables import build as tables
from promptkd.tables import command as collect


def hm(base, new):
    return 2 * base * new / (base + new)


@pytest.fixture
def output(tmp_path):
    """PromptSRC and PromptKD on two data sets with three seeds, at different depths."""
    for seed, base, new in ((1, 80.0, 60.0), (2, 82.0, 66.0), (3, 87.0, 63.0)):
        write(tmp_path / f"a/EuroSAT/seed{seed}", result("PromptSRC", "EuroSAT", seed, base, new))
        write(tmp_path / f"b/kd/deep/er/{seed}", result("PromptKD", "EuroSAT", seed, base + 5, new + 10))
        write(tmp_path / f"b/DTD/{seed}", result("PromptSRC", "DescribableTextures", seed, base - 10, new - 10))
    return tmp_path


def test_means_over_seeds_and_hm_of_the_means(output):
    summaries, left_out = collect.collect([str(output)])
    assert left_out == []
    (src,) = [method for method in summaries if method.trainer == "PromptSRC"]
    cell = summaries[src]["EuroSAT"]
    assert cell.seeds == [1, 2, 3]
    assert cell.mean("base") == pytest.approx((80 + 82 + 87) / 3)
    assert cell.std("base") == pytest.approx(statistics.stdev([80, 82, 87]))
    assert cell.mean("hm") == pytest.approx(hm(83, 63))
    assert cell.mean("hm") != pytest.approx(statistics.fmean([hm(80, 60), hm(82, 66), hm(87, 63)]), abs=1e-4)
    assert cell.std("hm") == pytest.approx(statistics.stdev([hm(80, 60), hm(82, 66), hm(87, 63)]))


def test_transductive_runs_have_a_table_of_their_own(output):
    made = tables.build(collect.collect([str(output)])[0])
    assert [table.title.split(":")[0] for table in made] == ["base2new, inductive", "base2new, TRANSDUCTIVE"]
    inductive, transductive = made
    assert {row[0] for row in inductive.rows} == {"PromptSRC ViT-B/16"}
    assert {row[0] for row in transductive.rows} == {"PromptKD ViT-B/16 <- PromptSRC ViT-L/14"}
    assert [row[1] for row in inductive.rows] == ["DescribableTextures", "EuroSAT", "average of 2"]


def test_terminal_table(output, capsys):
    assert collect.main([str(output), "--no-published"]) == 0
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.startswith("PromptKD"))
    spread = statistics.stdev([hm(85, 70), hm(87, 76), hm(92, 73)])
    assert row.endswith("  3")
    assert [cell.strip() for cell in row.split("  ") if cell][1:] == [
        *("EuroSAT", "all", "88.00 +- 3.61", "73.00 +- 3.00", f"{hm(88, 73):.2f} +- {spread:.2f}", "3")
    ]


def test_a_method_that_learns_nothing_has_no_shots(tmp_path):
    write(tmp_path / "z", result("ZeroshotCLIP"))
    (table,) = tables.build(collect.collect([str(tmp_path)])[0])
    assert table.rows[0][2] == "0"
    assert (table.rows[0][3].mean, table.rows[0][3].std) == (80.0, None)  # one seed has no deviation


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "broken: no JSON"),
        (json.dumps(result())[:-20], "broken: no JSON"),
        (b"\xff\xfe\x00", "broken: is not UTF-8 text"),
        ("[1, 2]", "foreign"),
        ('{"mAP": 0.3, "epoch": 2}', "foreign"),
        ('{"format": 1, "creator": "another tool"}', "foreign"),
        (result(format=2), "format 2"),
        ({k: v for k, v in result().items() if k not in ("seed", "config_hash")}, "partial: lacks seed, config_hash"),
        (result(seed="1"), "broken: seed is '1'"),
        (result(seed=True), "broken: seed is True"),
        (result(transductive=1), "broken: transductive is 1"),
        (result(metrics={}), "predictions only"),
        (result(metrics={"hm": 50.0}), "partial: metrics have none"),
        (result(metrics={"base": {"macro_f1": 1.0}}), "partial: no accuracy of base"),
        (result(metrics={"base": None}), "partial: no accuracy of base"),
        (result(base=float("nan"), new=None), "broken: has the number NaN, which is not finite"),
        (result(base=123.0), "broken: accuracy of base is 123.0"),
        (result(metrics=result()["metrics"] | {"hm": 99.0}), "broken: hm is 99.0"),
        (result(metrics=result()["metrics"] | {"hm": None}), "broken: hm is None"),
        (result(base=10**400, new=None), "broken: has a number of 401 digits"),
        ('{"a":' * 100_000, "broken: is nested deeper than 40"),
        (result(settings=None), "broken: settings is None"),
        (result(settings=["OPTIM.LR"]), "broken: settings is ['OPTIM.LR']"),
        (result(accuracy=50.0, protocol="cross", learned_on=["ImageNet"]), "broken: learned_on is ['ImageNet']"),
        (result(versions=["2.15"]), "broken: versions is ['2.15']"),
        (result(command="train.py"), "broken: command is 'train.py'"),
        (result(data_root=None), "broken: data_root is None"),
        (result(metrics={"base": group(80.0) | {"per_class": {"cat": None}}}), "broken: per_class of base"),
        (result(metrics={"base": group(80.0) | {"per_class": {"cat": "good"}}}), "broken: per_class of base"),
        (result(metrics={"base": group(80.0) | {"per_class": [1.0]}}), "broken: per_class of base"),
        (result("PromptKD", teacher=SRC_TEACHER | {"metrics": [80.0]}), "broken: teacher.metrics"),
        (result("PromptKD", teacher=SRC_TEACHER | {"metrics": {"base": {}}}), "broken: teacher.metrics"),
        (result("PromptKD", teacher=SRC_TEACHER | {"teachers": 2}), "broken: teacher.teachers"),
        (result("PromptKD", teacher=SRC_TEACHER | {"teachers": ["one"]}), "broken: teacher.teachers"),
        (result("PromptKD", teacher=SRC_TEACHER | {"teachers": [{"accuracy": {"hm": 101}}]}), "broken: teacher.teach"),
        (result("PromptKD", teacher=SRC_TEACHER | {"mixture_accuracy": [50]}), "broken: teacher.teachers"),
    ],
)
def test_what_is_no_result_is_named_and_left_out(tmp_path, content, reason):
    good = write(tmp_path / "good", result(seed=2))
    bad = write(tmp_path / "bad", content)
    kept, left_out = search.find(tmp_path)
    assert [run.path for run in kept] == [good]
    assert [item.path for item in left_out] == [bad]
    assert left_out[0].reason.startswith(reason) and len(left_out[0].reason) < 200
    assert collect.main([str(tmp_path), "--html", str(tmp_path / "page.html")]) == 0


def test_entries_that_nobody_needs_may_lack(tmp_path):
    made = result("PromptKD", teacher=None)
    for key in ("template", "fewshot_sha256", "train_images", "unlabelled_images", "epochs", "learned_parameters",
                "train_seconds", "train_images_per_second", "eval_images_per_second", "peak_memory_mb", "versions",
                "device", "commit", "command"):  # fmt: skip
        del made[key]
    write(tmp_path / "a", made)
    kept, left_out = search.find(tmp_path)
    assert (len(kept), left_out) == (1, [])
    assert collect.main([str(tmp_path), "--html", str(tmp_path / "page.html")]) == 0


def test_a_duplicate_counts_once(tmp_path):
    first = write(tmp_path / "z_first", result(seed=1))
    again = write(tmp_path / "a_copy", result(seed=1, base=90.0) | {"finished": "2027-01-01T00:00:00+00:00"})
    write(tmp_path / "other_seed", result(seed=2))
    kept, left_out = search.find(tmp_path)
    assert len(kept) == 2
    assert first in [run.path for run in kept]
    assert [item.path for item in left_out] == [again]
    assert str(first) in left_out[0].reason and "other numbers" in left_out[0].reason


def test_a_run_counts_before_its_evaluation(tmp_path):
    """Also a student's, whose evaluation knows its teacher by the class vectors alone, and wherever it lies."""
    for trainer, teacher in (("CoOp", None), ("PromptKD", {"made_by": "PromptSRC on ViT-L/14", "source": "output/t"})):
        trained = result(trainer, finished="2026-05-01T00:00:00+00:00")
        first = write(tmp_path / trainer / "z_run", trained)
        evaluated = {"eval_only": True, "teacher": teacher, "finished": "2026-02-01T00:00:00+00:00"}
        again = write(tmp_path / trainer / "a_evaluation", trained | evaluated)
        summaries, left_out = collect.collect([str(tmp_path / trainer)])
        assert [run.path for row in summaries.values() for summary in row.values() for run in summary.runs] == [first]
        assert left_out == [f"{again}: evaluation of {first}"]
        first.unlink()
        assert len(collect.collect([str(tmp_path / trainer)])[0]) == 1  # alone it counts


def test_evaluations_of_what_was_learned_on_different_data_sets_are_no_duplicates(tmp_path):
    for source in ("ImageNet", "Caltech101"):
        entries = {"learned_on": source, "eval_only": True, "protocol": "cross", "config_hash": "1" * 16}
        write(tmp_path / source, result("CoOp", accuracy=50.0, **entries))
    summaries, left_out = collect.collect([str(tmp_path)])
    assert ({method.source for method in summaries}, left_out) == ({"ImageNet", "Caltech101"}, [])


def test_links_to_folders_are_followed_and_each_run_counts_once(tmp_path):
    write(tmp_path / "elsewhere" / "run", result(seed=1))
    real = write(tmp_path / "output" / "z_real", result(seed=2))
    (tmp_path / "output" / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "output" / "a_link").symlink_to(real.parent, target_is_directory=True)
    (real.parent / "circle").symlink_to(tmp_path / "output", target_is_directory=True)
    (tmp_path / "output" / "dangling").symlink_to(tmp_path / "nothing")
    kept, left_out = search.find(tmp_path / "output")
    assert left_out == []
    assert [run.path for run in kept] == [tmp_path / "output" / "linked" / "run" / "results.json", real]


def test_folders_given_twice_or_nested_are_no_duplicates(output):
    kept, left_out = search.find(output, output, output / "a")
    assert (len(kept), left_out) == (9, [])


def test_part_files_are_not_read(tmp_path):
    write(tmp_path / "run", result())
    (tmp_path / "run" / ".results.json.12.part").write_text("{")
    assert search.find(tmp_path)[1] == []


@pytest.mark.parametrize(
    ("conditions", "number"),
    [
        (["trainer=PromptKD"], 3),
        (["trainer=promptkd,PromptSRC", "dataset=eurosat"], 6),
        (["seed=1,2", "transductive=false"], 4),
        (["teacher.backbone=ViT-L/14"], 3),
        (["teacher=none"], 6),
        (["seed=9"], 0),
    ],
)
def test_where(output, conditions, number):
    assert len(search.where(search.find(output)[0], conditions)) == number


def test_where_on_a_setting(tmp_path):
    write(tmp_path / "a", result(seed=1, settings={"OPTIM.LR": 0.1}))
    write(tmp_path / "b", result(seed=2, settings={"OPTIM.LR": 0.2}))
    assert [run.record.seed for run in search.where(search.find(tmp_path)[0], ["settings.OPTIM.LR=0.2"])] == [2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--where", "trainr=PromptKD"], "closest: trainer"),
        (["--where", "PromptKD"], "write KEY=VALUE"),
        (["--where", "seed=7"], "no results"),
    ],
)
def test_command_line_says_what_is_wrong(output, capsys, words, message):
    assert collect.main([str(output), *words]) == 1
    printed = capsys.readouterr()
    assert message in printed.err and printed.out == ""


def test_no_such_folder(tmp_path, capsys):
    assert collect.main([str(tmp_path / "nothing")]) == 1
    assert "no output folder" in capsys.readouterr().err


def test_left_out_files_are_printed(output, capsys):
    write(output / "x", "{")
    assert collect.main([str(output)]) == 0
    assert f"left out: {output / 'x' / 'results.json'}: broken" in capsys.readouterr().err


def test_a_folder_of_everything_that_can_go_wrong(tmp_path, capsys):
    """Each file that does not count is named once, with its reason; the numbers are those of the two that do."""
    for seed, base in ((1, 80.0), (2, 90.0)):
        write(tmp_path / "good" / str(seed), result(seed=seed, base=base))
    whole = json.dumps(result(seed=3, base=10.0))
    bad = {
        "broken/empty": ("", "broken: no JSON"),
        "broken/cut": (whole[: len(whole) // 2], "broken: no JSON"),
        "broken/bytes": (b"\x80\x81", "broken: is not UTF-8 text"),
        "partial/no_seed": ({k: v for k, v in result(seed=4, base=10.0).items() if k != "seed"}, "partial: lacks seed"),
        "partial/no_metrics": (result(seed=5, metrics={"hm": 50.0}), "partial: metrics have none"),
        "foreign/other_tool": ('{"bleu": 31.4}', "foreign: no result of train.py"),
        "foreign/other_format": (result(seed=6, base=10.0, format=9), "format 9: this version reads 1"),
        "copy": (result(seed=1, base=80.0, finished="2027-01-01T00:00:00+00:00"), "duplicate: "),
        "copy/of/a copy": (result(seed=1, base=99.0, finished="2028-01-01T00:00:00+00:00"), "duplicate: "),
    }  # fmt: skip
    paths = {write(tmp_path / name, content): reason for name, (content, reason) in bad.items()}
    assert collect.main([str(tmp_path), "--format", "csv"]) == 0
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert len(lines) == len(paths)
    for path, reason in paths.items():
        assert sum(line.startswith(f"left out: {path}: {reason}") for line in lines) == 1, path
    (base,) = [row for row in csv.DictReader(io.StringIO(printed.out)) if row["metric"] == "base"]
    assert (base["seeds"], base["n_seeds"], float(base["mean"])) == ("1 2", "2", 85.0)


def test_only_what_does_not_count_is_no_result(tmp_path, capsys):
    write(tmp_path / "a", "{")
    write(tmp_path / "b", result(format=9))
    assert collect.main([str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and [line.split(":")[0] for line in printed.err.splitlines()[:2]] == ["left out"] * 2
    assert "no results under" in printed.err
