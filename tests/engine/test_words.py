"""Words are words: a text key keeps what is typed, a number has one reading, a key stands once, ~ is the home."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import train
from promptkd import home
from promptkd.engine import config
from promptkd.home import ROOT
from promptkd.model.templates import IMAGENET_TEMPLATES, check_template
from promptkd.results.settings import fingerprint
from promptkd.sweep.launch import read_words
from promptkd.sweep.plan import read_plan
from promptkd.written import Written, number, read_yaml, switch, value_of

DATASET = ["--dataset-config-file", str(ROOT / "configs" / "datasets" / "eurosat.yaml")]
TYPED = ["2024_11_26", "1e5", "010", "0x10", "1:30", "True", "on", "None", "1_000", "(a, b)", "[1]", "1.10", "10"]


def configure(*words: str, trainer: str = "CoOp"):
    return train.configure(train.parser().parse_args(["--trainer", trainer, *DATASET, *words]))


@pytest.mark.parametrize("word", TYPED)
def test_a_text_key_keeps_what_is_typed(word, tmp_path):
    flags = configure("--output-dir", word, "--root", word, "--backbone", word, "--resume", word)
    pairs = configure("OUTPUT_DIR", word, "DATASET.ROOT", word, "MODEL.BACKBONE.NAME", word, "RESUME", word)
    file = tmp_path / "recipe.yaml"
    file.write_text(f"OUTPUT_DIR: '{word}'\nDATASET: {{ROOT: '{word}'}}\nMODEL: {{BACKBONE: {{NAME: '{word}'}}}}\n")
    quoted = configure("--config-file", str(file), "RESUME", word)
    for cfg in (flags, pairs, quoted):
        assert [cfg.OUTPUT_DIR, cfg.DATASET.ROOT, cfg.MODEL.BACKBONE.NAME, cfg.RESUME] == [word] * 4
        assert type(cfg.OUTPUT_DIR) is str


@pytest.mark.parametrize("word", [word for word in TYPED if word not in ("(a, b)", "[1]")])
def test_a_text_key_keeps_what_stands_unquoted_in_yaml(word, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(f"OUTPUT_DIR: {word}\nTRAINER: {{PROMPTKD: {{TEACHER: {word}}}}}\n")
    cfg = configure("--config-file", str(file), trainer="PromptKD")
    assert [cfg.OUTPUT_DIR, cfg.TRAINER.PROMPTKD.TEACHER] == [word, word]


def test_numbers_and_switches_are_read_as_before(tmp_path):
    words = ["OPTIM.LR", "1e-5", "OPTIM.MAX_EPOCH", "5.0", "USE_CUDA", "false", "INPUT.SIZE", "(64, 64)"]
    file = tmp_path / "recipe.yaml"
    file.write_text("OPTIM: {LR: 1e-5, MAX_EPOCH: 5.0}\nUSE_CUDA: false\nINPUT:\n  SIZE: (64, 64)\n")
    for cfg in (configure(*words), configure("--config-file", str(file))):
        assert (cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH, cfg.USE_CUDA, cfg.INPUT.SIZE) == (1e-5, 5, False, (64, 64))
        assert type(cfg.OPTIM.MAX_EPOCH) is int
    assert configure(*words[:4]).OPTIM.LR == 1e-5
    assert configure("--transforms", "random_flip", "normalize").INPUT.TRANSFORMS == ("random_flip", "normalize")


@pytest.mark.parametrize(
    ("key", "word", "message"),
    [
        ("OPTIM.MAX_EPOCH", "010", "with a 0 in front it may be octal: write 10"),
        ("OPTIM.MAX_EPOCH", "1:30", "may be of base 60: write one number"),
        ("USE_CUDA", "yes", "write True"),
        ("USE_CUDA", "Off", "write False"),
        ("OPTIM.LR", ".nan", "give a finite number"),
        ("OPTIM.LR", ".inf", "give a finite number"),
        ("OPTIM.MAX_EPOCH", "ten", "wants int like 10"),
        ("OPTIM.MAX_EPOCH", "2024-11-26", "wants int"),
    ],
)
def test_a_word_with_two_readings_is_refused_in_yaml_and_on_the_command_line(key, word, message, tmp_path):
    section, _, name = key.rpartition(".")
    file = tmp_path / "recipe.yaml"
    file.write_text(f"{section}: {{{name}: {word}}}\n" if section else f"{name}: {word}\n")
    for words in ([key, word], ["--config-file", str(file)]):
        with pytest.raises(ValueError, match=key) as error:
            configure(*words)
        assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("OPTIM: {LR: 0.1, LR: 0.2}\n", "line 1 gives 'LR' a second time"),
        ("OPTIM:\n  LR: 0.1\nTRAINER: {}\nOPTIM:\n  LR: 0.2\n", "line 4 gives 'OPTIM' a second time"),
        ("- OPTIM\n", "is no mapping of keys to values"),
        ("OPTIM\n", "is no mapping of keys to values"),
        ("OPTIM: [\n", "is not YAML"),
        ("[" * 20_000, "is not YAML"),
        ("OPTIM: !!python/object:os.system {}\n", "is not YAML"),
        ("OUTPUT_DIR:\n", "it has no value, write"),
        ("OUTPUT_DIR: [a]\n", "put it in quotes"),
        ("OPTIM: {? [LR] : 1}\n", "a key is a word"),
        ("PER_DATASET: [EuroSAT]\n", "PER_DATASET is no mapping"),
        ("OPTIM: 5\n", "OPTIM is a section, got '5'"),
    ],
)
def test_files_that_cannot_be_meant(text, message, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match="recipe.yaml") as error:
        configure("--config-file", str(file))
    assert message in str(error.value) and len(str(error.value)) < 700


def test_files_that_are_no_text_or_too_large(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_bytes(b"OPTIM: \xff\xfe\n")
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        configure("--config-file", str(file))
    file.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(ValueError, match="more than 1,048,576 bytes"):
        configure("--config-file", str(file))
    file.write_text("# nothing but a comment\n")
    assert fingerprint(configure("--config-file", str(file))) == fingerprint(configure())


def test_a_key_stands_once_on_a_command_line():
    with pytest.raises(ValueError, match="OPTIM.LR is given twice, as '0.1' and as '0.2': give it once"):
        configure("OPTIM.LR", "0.1", "OPTIM.LR", "0.2")
    with pytest.raises(ValueError, match="--seed is given twice, as 1 and as 2"):
        configure("--seed", "1", "--seed", "2")
    assert configure("--seed", "1", "--seed", "1", "OPTIM.LR", "0.1", "OPTIM.LR", "0.1").OPTIM.LR == 0.1
    assert configure("--seed", "1", "SEED", "2").SEED == 2, "a pair goes before a flag, as ever"
    with pytest.raises(ValueError, match="OPTIM.LR is given twice"):
        read_words("base2new", ["CoOp"], ["eurosat", "1", "OPTIM.LR", "0.1", "OPTIM.LR", "0.2"])


def test_the_home_folder_is_meant_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("TRAINER: {PROMPTKD: {TEACHER: ~/teacher, CACHE_DIR: ~/cache}}\nMODEL: {INIT_WEIGHTS: ~/w}\n")
    flags = ["--root=~/data", "--output-dir=~/out", "--resume=~/old", "--model-dir=~/run", "--backbone=~/clip.pt"]
    cfg = configure(*flags, "--config-file=~/mine.yaml", "DATALOADER.DECODED_CACHE_DIR", "~", trainer="PromptKD")
    found = [cfg.DATASET.ROOT, cfg.OUTPUT_DIR, cfg.RESUME, cfg.MODEL_DIR, cfg.MODEL.BACKBONE.NAME]
    assert found == [f"{tmp_path}/{name}" for name in ("data", "out", "old", "run", "clip.pt")]
    options = cfg.TRAINER.PROMPTKD
    assert [options.TEACHER, options.CACHE_DIR] == [f"{tmp_path}/teacher", f"{tmp_path}/cache"]
    assert [cfg.MODEL.INIT_WEIGHTS, cfg.DATALOADER.DECODED_CACHE_DIR] == [f"{tmp_path}/w", str(tmp_path)]
    assert configure("MODEL.BACKBONE.NAME", "ViT-B-16:~/w.pt").MODEL.BACKBONE.NAME == f"ViT-B-16:{tmp_path}/w.pt"
    with pytest.raises(ValueError, match="there is no home folder ~nobody_of_that_name; write ./~nobody"):
        configure("--output-dir=~nobody_of_that_name/x")
    monkeypatch.setenv("DATA", "~/d")
    monkeypatch.setenv("OUTPUT", "~/o")
    plan = tmp_path / "plan.yaml"
    plan.write_text("trainers: [CoOp]\ndatasets: [emoji]\nteacher: ~/t\n")
    made = read_plan("~/plan.yaml", {})
    assert [made.data, made.output, made.teacher] == [f"{tmp_path}/{name}" for name in "dot"]


def test_relative_paths_and_names_stay_as_they_are():
    """They are part of what decides a run: results of before are still of the same runs."""
    words = ["TRAINER.PROMPTKD.TEACHER", "runs/teacher", "MODEL.INIT_WEIGHTS", "a/b", "OUTPUT_DIR", "./out"]
    cfg = configure(*words, trainer="PromptKD")
    assert [cfg.TRAINER.PROMPTKD.TEACHER, cfg.MODEL.INIT_WEIGHTS, cfg.OUTPUT_DIR] == ["runs/teacher", "a/b", "./out"]


def test_an_option_that_names_a_file_of_the_root_or_of_the_current_folder(tmp_path, monkeypatch):
    from promptkd.data.class_names import named_path

    (tmp_path / "root").mkdir()
    for folder in (tmp_path, tmp_path / "root"):
        (folder / "names.txt").write_text(folder.name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert named_path(tmp_path / "root", "~/names.txt", "CLASSNAMES") == tmp_path / "names.txt"
    with pytest.raises(ValueError, match="is both .*: give the whole path of one"):
        named_path(tmp_path / "root", "names.txt", "CLASSNAMES")
    (tmp_path / "names.txt").unlink()
    assert named_path(tmp_path / "root", "names.txt", "CLASSNAMES") == tmp_path / "root" / "names.txt"


def test_plans_keep_words(tmp_path, monkeypatch):
    monkeypatch.delenv("OUTPUT", raising=False)
    plan = tmp_path / "plan.yaml"
    text = "trainers: CoOp\ndatasets: [emoji]\nseeds: [1, 2]\noutput: 2024_11\nset:\n  MODEL.INIT_WEIGHTS: 2024_12\n"
    plan.write_text(f"{text}  OPTIM.LR: 1e-3\ngrid: {{TRAINER.COOP.N_CTX: [2, 4]}}\n")
    made = read_plan(str(plan), {})
    assert (made.output, made.seeds, made.trainers) == ("2024_11", [1, 2], ["CoOp"])
    assert [str(value) for value in made.set.values()] == ["2024_12", "1e-3"]
    for line, message in (
        ("seeds: [010]\n", "write 10"),
        ("seeds: [1]\nseeds: [2]\n", "gives 'seeds' a second time"),
        ("seeds: yes\n", "write True, or put it in quotes"),
    ):
        plan.write_text(f"trainers: [CoOp]\ndatasets: [emoji]\n{line}")
        with pytest.raises(ValueError, match=message):
            read_plan(str(plan), {})


def test_words_of_scripts(monkeypatch):
    for words, message in (
        (["eurosat", "010"], "a seed is '010': with a 0 in front it may be octal: write 10"),
        (["eurosat", "1", "1"], "seed 1 is given twice"),
        (["eurosat", "1", "OPTIM.LR"], "the last one stands alone"),
    ):
        with pytest.raises(ValueError, match=message):
            read_words("base2new", ["CoOp"], words)
    monkeypatch.setenv("SHOTS", "many")
    with pytest.raises(ValueError, match="SHOTS is 'many': give a whole number"):
        read_words("base2new", ["CoOp"], ["eurosat"])


@pytest.mark.parametrize("word", ["", "~", "null", "True", "5", "1e-3", "text", "2024-11-26"])
def test_what_plain_words_stand_for(word):
    expected = {"": None, "~": None, "null": None, "True": True, "5": 5, "1e-3": 1e-3}.get(word, word)
    assert value_of({"a": [Written(word)]}) == {"a": [expected]}


def test_numbers_and_switches():
    assert [number(word) for word in ("5", "-5", "1e-5", "5.", "0x10", "0", "0.5", "a", "")] == [
        *(5, -5, 1e-5, 5.0, 16, 0, 0.5, None, None)
    ]
    assert [switch(word) for word in ("true", "False", "1", "maybe")] == [True, False, None, None]


def test_aliases_and_merges_of_yaml_stay(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("a: &x {k: 1, l: '2'}\nb: *x\nc: {<<: *x, k: 3}\n")
    content = read_yaml(file)
    assert content["b"] == {"k": "1", "l": "2"} and content["c"] == {"k": "3", "l": "2"}
    assert isinstance(content["b"]["k"], Written) and not isinstance(content["b"]["l"], Written)


def test_a_foreign_trainer_may_have_any_key(tmp_path):
    cfg = config.default_config({})
    cfg.set_new_allowed(True)
    config.merge(cfg, {"TRAINER": {"NEW": {"A": Written("5"), "B": Written("[1]"), "C": "(1, 2)", "D": "x"}}}, "file")
    assert dict(cfg.TRAINER.NEW) == {"A": 5, "B": "[1]", "C": (1, 2), "D": "x"}
    config.merge_options(cfg, ["TRAINER.NEW.E", "2024_11", "TRAINER.NEW.F", "yes", "TRAINER.NEW.G", "010"])
    assert [cfg.TRAINER.NEW[key] for key in "EFG"] == [202411, "yes", "010"]


@pytest.mark.parametrize(
    "template",
    ["a photo.", "a photo of a {class}.", "a {0}.", "a {c}.", "a {name} or {}.", "a %s.", "{} and {}.", "a {", "{{}}",
     "a { }.", "a $class.", "a photo of a <class>.", "", "a {}}."],
)  # fmt: skip
def test_a_template_has_one_place_for_the_name(template):
    with pytest.raises(ValueError, match=r"write the place of the class name as \{\}, once"):
        check_template(template)
    if template:
        with pytest.raises(ValueError, match="TEMPLATE .*write the place of the class name"):
            configure("TEMPLATE", template, trainer="ZeroshotCLIP")


def test_templates_of_practice_are_taken():
    for template in [*IMAGENET_TEMPLATES, "{}", "50% of a {}, $5", "a {}: <b>"]:
        check_template(template)
    assert configure("TEMPLATE", "a map of {}.").TEMPLATE == "a map of {}."


def test_templates_of_python_are_checked(clips):
    import promptkd

    clip = promptkd.load_clip(clips["student"])
    from promptkd.model.precision import Precision

    with pytest.raises(ValueError, match="no place for the class name"):
        promptkd.PromptedClip(
            clip, promptkd.PromptSpec(), Precision.choose("fp32", torch.device("cpu")), templates=["a photo."]
        )


def test_a_template_is_refused_before_any_run(tmp_path, monkeypatch, capsys):
    """shared/cases/template-named-placeholder, with other images."""
    from PIL import Image

    from promptkd.sweep import launch

    (tmp_path / "images").mkdir()
    for number_ in range(3):
        Image.new("RGB", (40, 40), (80 * number_, 10, 10)).save(tmp_path / "images" / f"{number_}.png")
    (tmp_path / "classes.txt").write_text("apple\nbanana\n")
    monkeypatch.setenv("OUTPUT", str(tmp_path / "out"))
    monkeypatch.setenv("TEACHER", "mini-teacher")
    for template in ("a photo of a {class}.", "a photo"):
        monkeypatch.setenv("TEMPLATE", template)
        assert launch.main(["folder", "PromptKD", str(tmp_path / "images"), str(tmp_path / "classes.txt")]) == 1
        assert "write the place of the class name as {}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["DATA", "OUTPUT"])
def test_folders_of_the_environment(name, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(name, "~/place")
    assert home.working_folder(name, "x") == f"{tmp_path}/place"
    monkeypatch.setenv(name, "")
    assert Path(home.working_folder(name, "x")).name == "x"


def test_folders_with_the_names_of_numbers_and_the_home_folder(run, data_root, tmp_path, monkeypatch):
    """shared/cases/option-date-output-dir and tilde-output-dir: runs go where they are sent."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "2024_11").symlink_to(data_root)
    run("ZeroshotCLIP", "2024_11_26", "--root=2024_11")
    run("ZeroshotCLIP", "1e5", "DATASET.ROOT", "2024_11", "OUTPUT_DIR", "2025_01_02")
    run("ZeroshotCLIP", "~/out")
    places = sorted(str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("results.json"))
    assert places == ["2024_11_26", "2025_01_02", "home/out"]
    assert {path.name for path in tmp_path.iterdir()} == {"2024_11", "2024_11_26", "2025_01_02", "home"}
