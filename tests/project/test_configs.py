"""Every shipped configuration loads, every recipe is known to the launcher or named in the field, every key is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import train
from dassl.config import get_cfg_default
from promptkd.data.benchmark import DATASET_DEFAULTS
from promptkd.engine import config
from promptkd.home import ROOT
from promptkd.sweep import recipes

RECIPES = sorted((ROOT / "configs" / "trainers").glob("*/*.yaml"))
DATASETS = sorted((ROOT / "configs" / "datasets").glob("*.yaml"))
# Keys of Dassl's for its own models and data sets, which prompt learning leaves alone.
DASSL = Path(train.__file__).parent / "toolkit" / "dassl"


def configure(*words: str):
    return train.configure(train.parser().parse_args(list(words)))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recipe_loads_and_says_where_it_comes_from(recipe):
    cfg = configure("--trainer", recipe.parent.name, "--config-file", str(recipe), "DATASET.NAME", "EuroSAT")
    assert cfg.TRAINER.NAME == recipe.parent.name and cfg.INPUT.INTERPOLATION == "bicubic"
    assert recipe.read_text().startswith("#"), "a recipe begins with its paper, command and expected accuracy"


@pytest.mark.parametrize("file", DATASETS, ids=lambda path: path.stem)
def test_data_set_configuration_names_a_data_set(file):
    from dassl.data.datasets import DATASET_REGISTRY

    cfg = configure("--dataset-config-file", str(file))
    assert cfg.DATASET.NAME in DATASET_REGISTRY.registered_names()


def test_launcher_knows_only_recipes_that_exist():
    for trainer, by_protocol in recipes.RECIPES.items():
        for name in [*by_protocol.values(), "mini"]:
            assert (ROOT / "configs" / "trainers" / trainer / f"{name}.yaml").is_file(), (trainer, name)
    for dataset, backbone in (("eurosat", ""), *((name, "") for name in recipes.MINI_DATASETS)):
        trainer, name = recipes.teacher_recipe(dataset, backbone)
        assert (ROOT / "configs" / "trainers" / trainer / f"{name}.yaml").is_file()


def test_a_bundled_model_may_have_a_recipe_of_its_own():
    """The bundled ResNet takes no visual prompts, so PromptKD's usual one is not for it."""
    assert recipes.recipe("PromptKD", "emoji", backbone="mini-resnet") == "mini_resnet"
    assert recipes.recipe("PromptKD", "emoji", backbone="mini-student") == "mini"
    assert recipes.recipe("CoOp", "emoji", backbone="mini-resnet") == "mini"


def test_weight_of_distillation_per_data_set():
    """The paper's: 200 for three data sets, 1000 else; the command line has the last word."""
    recipe = str(ROOT / "configs/trainers/PromptKD/vit_b16_c2_ep20_batch8_4+4ctx.yaml")
    for name, weight in (("dtd", 200), ("fgvc_aircraft", 200), ("oxford_flowers", 200), ("eurosat", 1000)):
        words = ["--dataset-config-file", str(ROOT / f"configs/datasets/{name}.yaml"), "--config-file", recipe]
        assert configure(*words).TRAINER.PROMPTKD.KD_WEIGHT == weight
    assert (
        configure(*words[:2], "--config-file", recipe, "TRAINER.PROMPTKD.KD_WEIGHT", "7").TRAINER.PROMPTKD.KD_WEIGHT
        == 7
    )


def test_published_command_line_runs():
    """The words of the published PromptKD script."""
    cfg = configure(
        *("--root", "/data", "--seed", "1", "--trainer", "PromptKD"),
        *("--dataset-config-file", "configs/datasets/eurosat.yaml"),
        *("--config-file", "configs/trainers/PromptKD/vit_b16_c2_ep20_batch8_4+4ctx.yaml"),
        *("--output-dir", "output/x", "DATASET.NUM_SHOTS", "0", "TRAINER.MODAL", "base2novel"),
        *("TRAINER.PROMPTKD.TEMPERATURE", "1.0", "TRAINER.PROMPTKD.KD_WEIGHT", "1000.0"),
    )
    assert cfg.DATASET.NUM_SHOTS == 0 and cfg.TRAINER.PROMPTKD.TEMPERATURE == 1.0 and cfg.SEED == 1
    assert cfg.OPTIM.MAX_EPOCH == 20 and cfg.OPTIM.LR == 0.005 and cfg.DATALOADER.TRAIN_X.BATCH_SIZE == 8


def test_published_yaml_keys_are_known():
    """A user's copy of the published recipe, with its unused keys."""
    cfg = config.default_config({})
    published = "TRAINER: {PROMPTKD: {N_CTX_VISION: 4, N_CTX_TEXT: 4, CTX_INIT: a photo of a, PREC: fp16, "
    published += "PROMPT_DEPTH_VISION: 9, PROMPT_DEPTH_TEXT: 9, PROJECT_LAYER: 2, CE_WEIGHT: 0.0, KD_WEIGHT: 1.0, "
    published += "TEMPERATURE: 1.0, TEACHER_NAME: ViT-L/14}, MODAL: base2novel}\n"
    published += "INPUT:\n  SIZE: (224, 224)\n  PIXEL_MEAN: [0.48145466, 0.4578275, 0.40821073]"
    config.merge(cfg, yaml.safe_load(published), "published")
    assert cfg.TRAINER.PROMPTKD.KD_WEIGHT == 1.0 and cfg.INPUT.SIZE == (224, 224)


def test_every_key_of_ours_is_read_somewhere():
    """A key that nothing reads misleads: each name that Dassl does not have appears in the code beside its default."""
    ours = [path for folder in ("promptkd", "trainers", "datasets") for path in (ROOT / folder).rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in ours if path.name != "keys.py")
    keys = config.changed(config.default_config(DATASET_DEFAULTS), get_cfg_default())
    checked = {"TRAINER.PROMPTKD.CE_WEIGHT"}  # stands in published recipes, may be 0 alone, and is refused else
    assert checked < set(keys)
    for key in set(keys) - checked:
        leaf = key.rpartition(".")[2]
        reads = re.findall(rf"\.{leaf}\b|option\(cfg, \"{leaf}\"\)|\.{leaf.lower()}\b", code)
        assert reads, f"{key} is read nowhere"
