"""Every key has a kind and limits: a value that cannot be meant is refused before data are read, by key and value."""

from __future__ import annotations

import logging

import pytest

import train
from dassl.config import get_cfg_default
from promptkd.data.benchmark import DATASET_DEFAULTS
from promptkd.engine import config
from promptkd.engine.checks import leaves
from promptkd.engine.keys import KEYS
from promptkd.engine.limits import Limits
from promptkd.home import ROOT

DATASET = ["--dataset-config-file", str(ROOT / "configs" / "datasets" / "eurosat.yaml")]
KD, SRC = "TRAINER.PROMPTKD.", "TRAINER.PROMPTSRC."


def configure(*words: str, trainer: str = "CoOp"):
    return train.configure(train.parser().parse_args(["--trainer", trainer, *DATASET, *words]))


WRONG = {
    "OUTPUT_DIR": [""],
    "SEED": [str(2**32), "1.5", "nan", "one"],
    "USE_CUDA": ["yes", "1", "maybe"],
    "INPUT.SIZE": ["(224,)", "(0, 224)", "(-1, -1)", "('a', 'b')", "224", "(224, 224, 3)", "(1e9, 1e9)", "[]"],
    "INPUT.INTERPOLATION": ["lanczos", ""],
    "INPUT.TRANSFORMS": ["('random_flop',)", "random_flip", "[1, 2]"],
    "INPUT.PIXEL_MEAN": ["[0.5, 0.5]", "[0.5, 0.5, nan]", "[1e9, 0, 0]", "0.5"],
    "INPUT.PIXEL_STD": ["[0, 0.2, 0.2]", "[0.2, 0.2, 0.2, 0.2]", "[-0.2, 0.2, 0.2]"],
    "INPUT.CROP_PADDING": ["-1"],
    "INPUT.RRCROP_SCALE": ["(0, 1)", "(0.5, 0.1)", "(0.08, 1.5)", "(0.08,)", "('a', 1)"],
    "INPUT.CUTOUT_N": ["0"],
    "INPUT.CUTOUT_LEN": ["-3"],
    "INPUT.GN_STD": ["-0.1", "inf"],
    "INPUT.RANDAUGMENT_N": ["-2"],
    "INPUT.RANDAUGMENT_M": ["31", "-1"],
    "INPUT.COLORJITTER_H": ["0.6"],
    "INPUT.COLORJITTER_B": ["-0.4"],
    "INPUT.RGS_P": ["1.1", "-0.1"],
    "INPUT.GB_P": ["2"],
    "INPUT.GB_K": ["4", "0"],
    "INPUT.DRAFT": ["0.5", "-1", "nan"],
    "DATASET.NUM_SHOTS": ["-2", "1.5", "many"],
    "DATASET.SUBSAMPLE_CLASSES": ["novel", ""],
    "DATALOADER.NUM_WORKERS": ["-1"],
    "DATALOADER.TRAIN_X.SAMPLER": ["Random", ""],
    "DATALOADER.TRAIN_X.BATCH_SIZE": ["0", "-8", "2000000000"],
    "DATALOADER.TRAIN_X.N_INS": ["0"],
    "DATALOADER.TRAIN_X.N_DOMAIN": ["-1"],
    "DATALOADER.TRAIN_U.BATCH_SIZE": ["0"],
    "DATALOADER.TEST.SAMPLER": ["RandomClassSampler", "Sequential"],
    "DATALOADER.TEST.BATCH_SIZE": ["0"],
    "DATALOADER.PREFETCH_FACTOR": ["0"],
    "DATALOADER.DECODED_CACHE_GB": ["-1", "inf"],
    "MODEL.BACKBONE.NAME": [""],
    "MODEL.HEAD.DROPOUT": ["1"],
    "OPTIM.NAME": ["SGDD", ""],
    "OPTIM.LR": ["0", "-0.1", "1e9", "nan", "inf", "1e999", "fast"],
    "OPTIM.WEIGHT_DECAY": ["-1", "nan"],
    "OPTIM.MOMENTUM": ["1", "-0.1", "2"],
    "OPTIM.SGD_DAMPNING": ["2", "-1"],
    "OPTIM.RMSPROP_ALPHA": ["1.5"],
    "OPTIM.ADAM_BETA1": ["1", "-0.1"],
    "OPTIM.ADAM_BETA2": ["1.0"],
    "OPTIM.BASE_LR_MULT": ["-1"],
    "OPTIM.NEW_LAYERS": ["projector", "[1]"],
    "OPTIM.LR_SCHEDULER": ["cosin", ""],
    "OPTIM.STEPSIZE": ["()", "(-2,)", "10", "('a',)", "(1.5,)"],
    "OPTIM.GAMMA": ["0", "-0.1", "2"],
    "OPTIM.MAX_EPOCH": ["0", "-1", "1e9", "2.5"],
    "OPTIM.WARMUP_EPOCH": ["-2", "11"],  # of 10 epochs
    "OPTIM.WARMUP_TYPE": ["quadratic"],
    "OPTIM.WARMUP_CONS_LR": ["0", "-1e-5", "nan"],
    "OPTIM.WARMUP_MIN_LR": ["-1"],
    "OPTIM.SCALE_LR_TO_BATCH": ["-8"],
    "TRAIN.PRINT_FREQ": ["0", "-5"],
    "TRAIN.CHECKPOINT_FREQ": ["-1"],
    "TRAIN.COUNT_ITER": ["train_y"],
    "TRAIN.ACCUMULATE": ["0", "1000"],
    "TRAIN.TEXT_CHUNK": ["-2"],
    "TEST.EVALUATOR": ["Regression"],
    "TEST.SPLIT": ["train"],
    "TEST.FINAL_MODEL": ["best"],
    "PROTOCOL": ["few_shot"],
    "LOAD_EPOCH": ["-2"],
    "TRAINER.MODAL": ["novel2base"],
    "TRAINER.COOP.N_CTX": ["0", "-4", "5000"],
    "TRAINER.COOP.PREC": ["fp8", ""],
    "TRAINER.COOP.CSC": ["on"],
    "TRAINER.COOP.CLASS_TOKEN_POSITION": ["start"],
    "TRAINER.COOP.CTX_INIT": ["a photo of a {}."],
    f"{KD}KD_WEIGHT": ["-1", "nan", "1e30"],
    f"{KD}TEMPERATURE": ["0", "-1", "inf"],
    f"{KD}PROJECT_LAYER": ["0", "4"],
    f"{KD}PROMPT_DEPTH_VISION": ["-1"],
    f"{KD}N_CTX_VISION": ["-1"],
    f"{KD}TEACHER_NAME": [""],
    f"{KD}UNLABELLED": ["new"],
    f"{KD}CACHE_VIEWS": ["0"],
    f"{KD}CACHE_GB": ["0", "-1"],
    f"{KD}TEACHER_CACHE": ["full"],
    f"{SRC}GPA_STD": ["0", "inf"],
    f"{SRC}GPA_MEAN": ["nan"],
    f"{SRC}TEXT_LOSS_WEIGHT": ["-25"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_wrong_value_is_refused_by_key_and_value(key, value):
    trainer = "PromptKD" if key.startswith(KD) else "PromptSRC" if key.startswith(SRC) else "CoOp"
    with pytest.raises(ValueError, match=key.replace(".", r"\.")) as error:
        configure(key, value, trainer=trainer)
    text = str(error.value)
    assert "\n" not in text and len(text) < 400
    assert any(
        word in text for word in ("set", "give", "choose", "wants", "write", "leave", "cannot be empty", "is above 0")
    ), text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["OPTIM.LR_SCHEDULER", "multi_step"], r"OPTIM.STEPSIZE \(-1,\): of multi_step they are epochs"),
        (["OPTIM.SGD_NESTEROV", "True", "OPTIM.MOMENTUM", "0"], "OPTIM.SGD_NESTEROV True: it needs momentum"),
        (["DATALOADER.TRAIN_X.SAMPLER", "RandomClassSampler", "DATALOADER.TRAIN_X.N_INS", "5"], "multiple of it"),
        (["OPTIM.WARMUP_RECOUNT", "False", "OPTIM.WARMUP_EPOCH", "10"], "as long as the cosine"),
        (["INPUT.GB_K", "4"], "INPUT.GB_K 4: set an odd number"),
        (["OPTIM.NAME", "adamm"], "OPTIM.NAME 'adamm': choose sgd, adam, .*closest: adam"),
        (["OPTIM.LR", "1000"], "OPTIM.LR 1000.0: set at most 100"),
        (["SEED", "99999999999"], "SEED 99999999999: give 0 to 4294967295, or -1"),
    ],
)
def test_messages_say_what_would_do(words, message):
    with pytest.raises(ValueError, match=message):
        configure(*words)


def test_values_at_the_limits_and_those_of_practice_stay():
    cfg = configure("OPTIM.WARMUP_EPOCH", "1", "OPTIM.MAX_EPOCH", "1", "SEED", str(2**32 - 1), "OPTIM.LR", "100")
    assert cfg.SEED == 2**32 - 1
    cfg = configure("INPUT.RRCROP_SCALE", "(0.5, 1)", "OPTIM.SGD_DAMPNING", "0.5", "DATASET.NUM_SHOTS", "0")
    assert cfg.INPUT.RRCROP_SCALE == (0.5, 1) and cfg.OPTIM.SGD_DAMPNING == 0.5
    assert configure("OPTIM.SGD_DAMPNING", "0").OPTIM.SGD_DAMPNING.__class__ is int, "as hashes know it"


def test_every_key_is_declared_and_its_default_is_within_its_limits():
    cfg = config.default_config(DATASET_DEFAULTS)
    keys = {key: value for key, value in leaves(cfg) if not key.startswith("TRAINER.") or key.count(".") == 1}
    assert set(keys) == set(KEYS)
    for key, value in keys.items():
        if key not in ("MODEL.BACKBONE.NAME",):  # base.yaml has one
            KEYS[key].limits.check(key, value)
    assert {key for key, _ in leaves(get_cfg_default())} <= set(KEYS)


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (Limits(least=0), "0 or more"),
        (Limits(least=1, most=5), "1 to 5"),
        (Limits(above=0, below=1), "more than 0 and less than 1"),
        (Limits(least=1, most=10**6), "1 or more"),
        (Limits(least=1, most=9, or_zero=True), "0, or 1 to 9"),
        (Limits(least=1, odd=True), "1 or more, odd"),
        (Limits(), ""),
    ],
)
def test_limits_in_words(limits, text):
    assert limits.text() == text


def test_values_are_refused_in_files_too_and_by_a_sweep(tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("OPTIM: {LR: -1}\n")
    with pytest.raises(ValueError, match="OPTIM.LR -1.0: set more than 0"):
        configure("--config-file", str(recipe))
    from promptkd.sweep import command as sweep

    assert sweep.main(["--trainers", "CoOp", "--datasets", "emoji", "--set", "OPTIM.MAX_EPOCH", "0"]) == 1
    assert capsys.readouterr().err.startswith("error: OPTIM.MAX_EPOCH 0: set 1 or more")


def test_a_key_that_a_run_does_not_read_is_named_and_refused_where_asked(tmp_path):
    def entries(*words: str, trainer: str = "CoOp") -> dict[str, str]:
        args = train.parser().parse_args(["--trainer", trainer, *DATASET, *words])
        return {entry.key: entry.why for entry in train_command.configured(args)[1]}

    from promptkd.engine import command as train_command

    assert entries() == {}
    assert "another method than MaPLe" in entries("TRAINER.COOP.N_CTX", "4", trainer="MaPLe")["TRAINER.COOP.N_CTX"]
    assert set(entries("DATASET.TEST_DIR", "x", "DATASET.SKIP_BAD_IMAGES", "True")) == {"DATASET.TEST_DIR"}
    assert set(entries("OPTIM.STEPSIZE", "(3,)", "OPTIM.GAMMA", "0.5")) == {"OPTIM.STEPSIZE", "OPTIM.GAMMA"}
    assert entries("OPTIM.STEPSIZE", "(3,)", "OPTIM.GAMMA", "0.5", "OPTIM.LR_SCHEDULER", "single_step") == {}
    assert set(entries("OPTIM.ADAM_BETA1", "0.5", "OPTIM.MOMENTUM", "0.5")) == {"OPTIM.ADAM_BETA1"}
    assert set(entries("INPUT.GB_K", "3", "INPUT.RRCROP_SCALE", "(0.5, 1)")) == {"INPUT.GB_K"}
    assert set(entries("TRAINER.MODAL", "cross", "MODEL_DIR", "x")) == {"TRAINER.MODAL", "MODEL_DIR"}
    assert set(entries("OPTIM.LR", "0.1", "MODEL_DIR", "x", "EVAL_ONLY", "True")) == {"OPTIM.LR"}
    assert set(entries("OPTIM.LR", "0.1", trainer="ZeroshotCLIP")) == {"OPTIM.LR"}
    assert "CTX_INIT has 2 words" in entries("TRAINER.COOP.N_CTX", "4", "TRAINER.COOP.CTX_INIT", "a_photo").popitem()[1]
    cached = [f"{KD}CACHE_GB", "5", f"{KD}CACHE_VIEWS", "2", f"{KD}UNLABELLED", "base"]
    assert set(entries(*cached, trainer="PromptKD")) == {f"{KD}CACHE_GB", f"{KD}CACHE_VIEWS"}
    assert set(entries(*cached, f"{KD}TEACHER_CACHE", "exact", "SEED", "1", trainer="PromptKD")) == {f"{KD}CACHE_VIEWS"}
    of_teacher = [f"{KD}N_CTX_TEXT", "4", f"{KD}TEACHER_NAME", "RN50"]
    assert set(entries(*of_teacher, trainer="PromptKD")) == {f"{KD}N_CTX_TEXT"}
    (tmp_path / "config.yaml").touch()
    assert len(entries(*of_teacher, f"{KD}TEACHER", str(tmp_path), trainer="PromptKD")) == 2
    with pytest.raises(ValueError, match=r"STRICT True: this run does not read OPTIM.GAMMA \(command line\): .*cosine"):
        configure("OPTIM.GAMMA", "0.5", "STRICT", "True")


def test_a_shipped_file_is_for_many_runs_and_a_users_is_for_this_one(tmp_path, caplog):
    from promptkd.engine import command
    from promptkd.engine.not_read import warn_of

    shipped = sorted((ROOT / "configs" / "trainers").glob("*/*.yaml"))
    for recipe in shipped:
        configure("--config-file", str(recipe), "STRICT", "True", trainer=recipe.parent.name)
    mine = tmp_path / "mine.yaml"
    mine.write_text("OPTIM: {GAMMA: 0.5}\nTRAINER: {VPT: {N_CTX_VISION: 2}}\n")
    args = train.parser().parse_args(["--trainer", "CoOp", *DATASET, "--config-file", str(mine)])
    with caplog.at_level(logging.DEBUG, logger="promptkd"):
        warn_of(command.configured(args)[1])
    (line,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert "OPTIM.GAMMA" in line.getMessage() and "TRAINER.VPT.N_CTX_VISION" in line.getMessage()


def test_the_configuration_of_a_run_is_a_recipe(tmp_path):
    """It has the options of every method, which nobody has to read about."""
    from promptkd.engine import command
    from promptkd.results.directory import take_directory

    cfg = configure("OUTPUT_DIR", str(tmp_path), "OPTIM.LR", "0.1")
    take_directory(tmp_path, cfg)
    args = train.parser().parse_args(["--config-file", str(tmp_path / "config.yaml")])
    again, entries = command.configured(args)
    assert again == cfg and entries == []


def test_strict_decides_no_number():
    from promptkd.results.settings import fingerprint

    assert fingerprint(configure("STRICT", "True")) == fingerprint(configure())
