"""Keys, defaults, and what a wrong key gets."""

import pytest
from yacs.config import CfgNode

from dassl.config import clean_cfg, get_cfg_default


def test_defaults_are_the_published_ones():
    cfg = get_cfg_default()
    assert isinstance(cfg, CfgNode)
    assert sorted(cfg) == sorted(
        ["VERSION", "OUTPUT_DIR", "RESUME", "SEED", "USE_CUDA", "VERBOSE"]
        + ["INPUT", "DATASET", "DATALOADER", "MODEL", "OPTIM", "TRAIN", "TEST", "TRAINER"]
    )
    assert (cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.WARMUP_RECOUNT) == ("adam", 0.0003, True)
    assert (cfg.INPUT.SIZE, cfg.INPUT.INTERPOLATION) == ((224, 224), "bilinear")
    assert cfg.DATALOADER.TRAIN_U == {
        "SAME_AS_X": True, "SAMPLER": "RandomSampler", "BATCH_SIZE": 32, "N_DOMAIN": 0, "N_INS": 16
    }  # fmt: skip
    assert cfg.TEST.FINAL_MODEL == "last_step"


def test_each_call_gives_a_fresh_tree():
    get_cfg_default().INPUT.PIXEL_MEAN[0] = 9.0
    assert get_cfg_default().INPUT.PIXEL_MEAN[0] == 0.485


def test_file_and_list_override(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("OPTIM:\n  LR: 1\n  MAX_EPOCH: 3\nINPUT:\n  TRANSFORMS: ['normalize']\n")
    cfg = get_cfg_default()
    cfg.merge_from_file(str(path))
    cfg.merge_from_list(["INPUT.SIZE", "(64,64)", "SEED", "0", "OPTIM.WEIGHT_DECAY", "1", "TRAINER.NAME", "CoOp"])
    assert cfg.OPTIM.LR == 1.0 and isinstance(cfg.OPTIM.LR, float)
    assert cfg.OPTIM.WEIGHT_DECAY == 1.0 and isinstance(cfg.OPTIM.WEIGHT_DECAY, float)
    assert (cfg.OPTIM.MAX_EPOCH, cfg.INPUT.SIZE, cfg.SEED, cfg.INPUT.TRANSFORMS) == (3, (64, 64), 0, ("normalize",))


@pytest.mark.parametrize(
    ("key", "close"),
    [("OPTIM.MAX_EPOCHS", "OPTIM.MAX_EPOCH"), ("TEST.MAX_EPOCH", "OPTIM.MAX_EPOCH"), ("SEEDS", "SEED")],
)
def test_unknown_key_names_the_closest(tmp_path, key, close):
    with pytest.raises(ValueError, match=f"unknown configuration key {key}; did you mean {close}\\?"):
        get_cfg_default().merge_from_list([key, "1"])
    node, path = key.rsplit(".", 1) if "." in key else ("", key), tmp_path / "run.yaml"
    path.write_text(f"{node[0]}: {{{node[1]}: 1}}\n" if node[0] else f"{key}: 1\n")
    with pytest.raises(ValueError, match=f"unknown configuration key {key}; did you mean {close}\\?"):
        get_cfg_default().merge_from_file(str(path))


def test_wrong_values_are_errors():
    with pytest.raises(ValueError, match="stands alone"):
        get_cfg_default().merge_from_list(["SEED", "1", "VERBOSE"])
    with pytest.raises(ValueError, match="OPTIM.LR|Type mismatch"):
        get_cfg_default().merge_from_list(["OPTIM.LR", "high"])


def test_key_of_a_trainer_added_later():
    cfg = get_cfg_default()
    cfg.TRAINER.COOP = CfgNode({"N_CTX": 16, "RATE": 0.5})
    cfg.merge_from_list(["TRAINER.COOP.N_CTX", "4", "TRAINER.COOP.RATE", "1"])
    assert cfg.TRAINER.COOP == {"N_CTX": 4, "RATE": 1.0}


def test_clean_cfg_drops_other_trainers_only():
    cfg = get_cfg_default()
    cfg.TRAINER.MODAL = "base2novel"
    cfg.TRAINER.COOP = CfgNode({"N_CTX": 16})
    cfg.TRAINER.PROMPTKD = CfgNode({"N_CTX_VISION": 4})
    clean_cfg(cfg, "PromptKD")
    assert sorted(cfg.TRAINER) == ["MODAL", "NAME", "PROMPTKD"]


def test_files_set_keys_of_plain_nodes(tmp_path):
    """As a trainer's extend_cfg adds them, yacs' own nodes in the tree."""
    cfg = get_cfg_default()
    cfg.TRAINER.MINE = CfgNode()
    cfg.TRAINER.MINE.N_CTX = 16
    cfg.TRAINER.MINE.INNER = CfgNode({"SCALE": 1.0})
    file = tmp_path / "recipe.yaml"
    file.write_text("TRAINER:\n  MINE:\n    N_CTX: 4\n    INNER:\n      SCALE: 2\n")
    cfg.merge_from_file(str(file))
    assert (cfg.TRAINER.MINE.N_CTX, cfg.TRAINER.MINE.INNER.SCALE) == (4, 2.0)
    file.write_text("TRAINER:\n  MINE:\n    N_CTXS: 4\n")
    with pytest.raises(ValueError, match="unknown configuration key TRAINER.MINE.N_CTXS; did you mean"):
        cfg.merge_from_file(str(file))
