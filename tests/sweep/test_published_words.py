"""What users of the published UPL, TFUP and KDPL type, taken here, or answered by one line that says what to write."""

from __future__ import annotations

import pytest

from promptkd.engine import command
from promptkd.home import ROOT
from promptkd.sweep import launch
from promptkd.sweep.expand import jobs_of
from promptkd.sweep.plan import read_plan

UPL = "rn50_ep50 end 16 8 False True rn50_random_init"
CONFIGS = ROOT / "configs"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch):
    for name in ("DATA", "OUTPUT", "SHOTS", "SOURCE", "RECIPE", "TEACHER", "KD_WEIGHT"):
        monkeypatch.delenv(name, raising=False)


def jobs(protocol: str, trainer: str, words: str):
    return [job for plan in launch.read_words(protocol, [trainer], words.split()) for job in jobs_of(plan)]


def configured(words: str):
    return command.configure(command.parser().parse_args([word.replace("~", " ") for word in words.split()]))


def test_words_of_upl_train(capsys):
    """`bash upl_train.sh sscaltech101 rn50_ep50 end 16 8 False True TAG` is our few-shot command with 8 a class."""
    (job,) = jobs("fewshot", "UPLTrainer", f"sscaltech101 {UPL} 3 OPTIM.MAX_EPOCH 2")
    assert "UPLTrainer is UPL here\n" in capsys.readouterr().out
    assert job.name == "fewshot/caltech101/shots_8/UPL/rn50_ep50/seed3"
    pairs = dict(zip(job.command, job.command[1:], strict=False))
    kept = {key: pairs[f"TRAINER.UPL.{key}"] for key in ("N_CTX", "CSC", "CLASS_TOKEN_POSITION", "SHOTS")}
    assert kept == {"N_CTX": "16", "CSC": "False", "CLASS_TOKEN_POSITION": "end", "SHOTS": "8"}
    assert pairs["OPTIM.MAX_EPOCH"] == "2"
    (short,) = jobs("fewshot", "UPL", f"caltech101 {UPL.rsplit(' ', 2)[0]} 3")
    assert short.name == job.name, "the two last words change nothing, and may be left out"


def test_a_plan_takes_the_published_names():
    plan = read_plan("", {"trainers": ["UPLTrainer"], "datasets": ["ssdtd", "sun397"], "protocols": ["fewshot"]})
    assert plan.trainers == ["UPL"] and plan.datasets == ["dtd", "sun397"]


def test_words_of_tfup():
    """`python main.py --config configs/office_home.yaml --domain_name art`, and with --training."""
    words = "--config configs/office_home.yaml --domain_name art"
    (job,) = jobs("fewshot", "TFUP", words)
    assert job.name == "fewshot/office_home_art/shots_16/TFUP/vit_b16/seed1"
    (job,) = jobs("fewshot", "TFUPT", f"{words} --training 16 1")
    assert job.name == "fewshot/office_home_art/shots_16/TFUPT/vit_b16_ep30/seed1"


@pytest.mark.parametrize(
    ("trainer", "words", "message"),
    [
        ("UPL", "ssdtd anay_rn50 end 16 -1 False", "anay_rn50 is UPL's labelling pass, which is part of a run here"),
        ("UPL", "ssdtd rn50_ep50 end 16", "UPL's published words are DATASET RECIPE end N_CTX K False"),
        ("UPL", "ssdtd rn50_ep50 end 16 -1 False", "UPL's published words are DATASET RECIPE end N_CTX K False"),
        ("UPL", "ssdtd rn50_ep50 end 16 16 True", "TRAINER.UPL.CSC True: choose False"),
        ("UPL", "ssdtd rn50_ep51 end 16 16 False", "closest in "),
        ("UPL", "ssdtdd 16", "no data set 'ssdtdd'"),
        ("TFUP", "office_home --training", "--training is TFUP-T, here a method of its own: write --trainer TFUPT"),
        ("TFUP", "office_home --domain_name", "--domain_name has no value"),
        ("TFUP", "office_home --domain_name arts", "no domain of office_home 'arts'; closest: art"),
        ("CoOp_KDPL", "dtd MODEL.PSEUDO_LABEL_MODELS RN50", "write TRAINER.UPL.LABELLERS, names by commas"),
        ("TFUP", "dtd TRAINER.TFUP.PATH_TO_PROMPTS a.json", "write TRAINER.TFUP.DESCRIPTIONS"),
        ("UPL", "dtd DATASET.CONF_THRESHOLD 0.9", "a key of a published repository alone: leave it out"),
    ],
)
def test_what_cannot_be_meant_is_one_line(trainer: str, words: str, message: str, capsys):
    assert launch.main(["fewshot", trainer, *words.split()]) == 1
    printed = capsys.readouterr().err
    assert message in printed and len(printed.splitlines()) == 1


def test_train_takes_the_published_names():
    """As UPL's train.py and TFUP's main.py are called, with the recipes here."""
    upl = configured(
        f"--trainer UPLTrainer --dataset-config-file {CONFIGS}/datasets/eurosat.yaml "
        f"--config-file {CONFIGS}/trainers/UPL/rn50_ep50.yaml "
        "DATASET.NAME SSEuroSAT TRAINER.UPLTrainer.N_CTX 4 TRAINER.UPLTrainer.CLASS_TOKEN_POSITION front"
    )
    assert (upl.TRAINER.NAME, upl.DATASET.NAME) == ("UPL", "EuroSAT")
    assert (upl.TRAINER.UPL.N_CTX, upl.TRAINER.UPL.CLASS_TOKEN_POSITION) == (4, "front")
    tfup = (
        f"--dataset-config-file {CONFIGS}/datasets/office_home.yaml --domain_name real_world "
        f"--config-file {CONFIGS}/trainers/TFUPT/vit_b16_ep30.yaml --training --trainer"
    )
    assert configured(f"{tfup} TFUPT").DATASET.DOMAIN == "real_world"
    with pytest.raises(ValueError, match="--training is TFUP-T"):
        configured(f"{tfup} CoOp")
    with pytest.raises(ValueError, match="TRAINER.UPLTrainer.N_CTX is TRAINER.UPL.N_CTX here, which is given too"):
        configured("--trainer UPL TRAINER.UPLTrainer.N_CTX 4 TRAINER.UPL.N_CTX 8")


@pytest.mark.parametrize(
    ("trainer", "recipe"),
    [
        ("CoOp_KDPL", "vit_b32_ctxv1"),
        ("CoOp_KDPL", "rn50_ctxv1"),
        ("CoCoOp_KDPL", "vit_b32_c4_ep10_batch1_ctxv1"),
        ("CoCoOp_KDPL", "rn50_c4_ep10_batch1_ctxv1"),
        ("VPT_KDPL", "vit_b32_c2_ep5_batch4_4"),
        ("MaPLe_KDPL", "vit_b32_c2_ep5_batch4_2ctx"),
        ("PromptSRC_KDPL", "vit_b32_c2_ep20_batch4_4+4ctx"),
    ],
)
def test_commands_of_kdpl(trainer: str, recipe: str):
    """The published train.py command, word for word: names of trainers and recipes, and keys of KDPL and of CoOp."""
    cfg = configured(
        f"--root D --seed 1 --trainer {trainer} --dataset-config-file {CONFIGS}/datasets/eurosat.yaml "
        f"--config-file {CONFIGS}/trainers/{trainer}/{recipe}.yaml --output-dir O TRAINER.KDPL.CLASS_AGNOSTIC False "
        "TRAINER.KDPL.TEACHER ViT-H-14-quickgelu TRAINER.KDPL.K_MAX 1000 TRAINER.KDPL.CTX_INIT a~photo~of~a "
        "TRAINER.KDPL.PREC fp16 TRAINER.COOP.N_CTX 4 TRAINER.COOP.CSC False TRAINER.COOP.CLASS_TOKEN_POSITION end "
        "DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base"
    )
    assert cfg.TRAINER.NAME == trainer and cfg.DATASET.NUM_SHOTS == 16 and not cfg.TRAINER.KDPL.CLASS_AGNOSTIC
