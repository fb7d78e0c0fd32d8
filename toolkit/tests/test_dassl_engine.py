"""Trainers, end to end on a toy data set."""

import os
import re
import sys

import pytest
import torch
from dassl_toy import ToyX, toy_config
from torch import nn

from dassl.engine import TRAINER_REGISTRY, SimpleNet, SimpleTrainer, TrainerBase, build_trainer
from dassl.modeling.backbone import BACKBONE_REGISTRY, Backbone, build_backbone
from dassl.utils import set_random_seed


def _weights(trainer):
    return {key: value.clone() for key, value in trainer.model.state_dict().items()}


def _run(cfg, stop_at=None):
    set_random_seed(1)
    trainer = build_trainer(cfg)
    trainer.stop_at = stop_at
    if stop_at is None:
        trainer.train()
    else:
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
    return trainer


def test_last_step_run(tmp_path, capsys):
    trainer = _run(toy_config(tmp_path, "TRAIN.PRINT_FREQ", "2"))
    lines = capsys.readouterr().out.splitlines()
    out = tmp_path / "out"
    start = lines.index("Loading evaluator: Classification")
    ms, loss = r"\d+\.\d{3} \(\d+\.\d{3}\)", r"\d+\.\d{4} \(\d+\.\d{4}\)"
    step = rf"epoch \[\d/4\] batch \[[24]/4\] time {ms} data {ms} loss {loss} lr \S+ eta \d:\d\d:\d\d"
    assert lines[0] == "Loading trainer: ToyX"
    assert lines[start + 1 : start + 3] == [
        "No checkpoint found, train from scratch",
        f"Initialize tensorboard (log_dir={out}/tensorboard)",
    ]
    assert all(re.fullmatch(step, line) for line in lines[start + 3 : start + 11])
    assert lines[start + 3].split(" lr ")[1].startswith("1.0000e-05 ")
    assert lines[start + 4].split(" lr ")[1].startswith("2.0000e-03 ")  # after update_lr, as in the field's logs
    assert lines[start + 11 : start + 16] == [
        f"Checkpoint saved to {out}/linear/model.pth.tar-4",
        "Finish training",
        "Deploy the last-epoch model",
        "Evaluate on the *test* set",
        "=> result",
    ]
    assert re.fullmatch(r"Elapsed: \d:\d\d:\d\d", lines[-1])
    assert sorted(os.listdir(out)) == ["linear", "tensorboard"]
    assert sorted(os.listdir(out / "linear")) == ["checkpoint", "model.pth.tar-4"]
    saved = torch.load(out / "linear" / "model.pth.tar-4", weights_only=True)
    assert sorted(saved) == ["epoch", "optimizer", "scheduler", "state_dict", "val_result"] and saved["epoch"] == 4
    assert torch.equal(saved["state_dict"]["1.weight"], trainer.model[1].weight)
    assert trainer.test() > 80  # colours are easy


def test_best_val_keeps_the_best_epoch(tmp_path, monkeypatch, capsys):
    results = iter([50.0, 75.0, 75.0, 60.0, 12.0])
    splits, deployed = [], []

    def fake_test(self, split=None):
        splits.append(split)
        deployed.append(_weights(self))
        return next(results)

    monkeypatch.setattr(ToyX, "test", fake_test)
    cfg = toy_config(tmp_path, "TEST.FINAL_MODEL", "best_val", "TRAIN.CHECKPOINT_FREQ", "3")
    trainer = _run(cfg)
    folder = tmp_path / "out" / "linear"
    assert splits == ["val"] * 4 + [None] and trainer.best_result == 75.0
    assert sorted(os.listdir(folder)) == ["checkpoint", "model-best.pth.tar", "model.pth.tar-3", "model.pth.tar-4"]
    best = torch.load(folder / "model-best.pth.tar", weights_only=True)
    assert (best["epoch"], best["val_result"]) == (2, 75.0)
    assert torch.equal(deployed[-1]["1.weight"], deployed[1]["1.weight"])
    assert not torch.equal(deployed[-1]["1.weight"], deployed[3]["1.weight"])
    out = capsys.readouterr().out
    assert "Deploy the model with the best val performance" in out
    assert f'Loading weights to linear from "{folder}/model-best.pth.tar" (epoch = 2)' in out


def test_best_val_needs_validation_images(tmp_path):
    cfg = toy_config(tmp_path, "TEST.FINAL_MODEL", "best_val", "DATASET.SOURCE_DOMAINS", "('noval',)")
    with pytest.raises(ValueError, match="no validation images; set it to last_step"):
        build_trainer(cfg).train()
    cfg.TEST.FINAL_MODEL = "best"
    with pytest.raises(ValueError, match="did you mean 'best_val'"):
        build_trainer(cfg).train()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_resumed_run_equals_the_unbroken_one(tmp_path, optimizer):
    options = ("OPTIM.NAME", optimizer, "TRAIN.CHECKPOINT_FREQ", "1")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = _run(toy_config(tmp_path / "a", *options))
    broken = _run(toy_config(tmp_path / "b", *options), stop_at=2)
    resumed = _run(toy_config(tmp_path / "b", *options))
    assert resumed.start_epoch == 2
    assert broken.lrs + resumed.lrs == whole.lrs and len(set(whole.lrs)) == 4
    assert broken.seen + resumed.seen == whole.seen and whole.seen[:4] != whole.seen[4:8]
    for key, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value)


def test_resume_from_another_directory_and_best_result(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    options = ("TEST.FINAL_MODEL", "best_val", "TRAIN.CHECKPOINT_FREQ", "1")
    accuracy = {"value": 90.0}
    monkeypatch.setattr(ToyX, "test", lambda self, split=None: accuracy["value"])
    _run(toy_config(tmp_path / "a", *options), stop_at=2)
    accuracy["value"] = 10.0
    elsewhere = _run(toy_config(tmp_path / "b", *options, "RESUME", str(tmp_path / "a" / "out")))
    assert elsewhere.start_epoch == 2 and elsewhere.best_result == 10.0  # its own directory holds no better one
    same = _run(toy_config(tmp_path / "a", *options))
    assert same.start_epoch == 2 and same.best_result == 90.0
    best = torch.load(tmp_path / "a" / "out" / "linear" / "model-best.pth.tar", weights_only=True)
    assert best["val_result"] == 90.0


def test_finished_run_is_only_tested(tmp_path):
    first = _run(toy_config(tmp_path))
    again = _run(toy_config(tmp_path))
    assert again.start_epoch == 4 and again.lrs == []
    assert torch.equal(again.model[1].weight, first.model[1].weight)


def test_load_model(tmp_path, capsys):
    cfg = toy_config(tmp_path)
    trained = _run(cfg)
    fresh = build_trainer(cfg)
    fresh.load_model("")
    assert "load_model() is skipped" in capsys.readouterr().out
    fresh.load_model(cfg.OUTPUT_DIR, epoch=4)
    assert torch.equal(fresh.model[1].weight, trained.model[1].weight)
    with pytest.raises(FileNotFoundError, match="linear/model.pth.tar-3.*in that folder: checkpoint, model.pth.tar-4"):
        fresh.load_model(cfg.OUTPUT_DIR, epoch=3)
    with pytest.raises(FileNotFoundError, match="model-best.pth.tar"):
        fresh.load_model(cfg.OUTPUT_DIR)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        fresh.load_model(str(tmp_path / "none"))
    cfg.INPUT.SIZE = (9, 9)
    with pytest.raises(RuntimeError, match="size mismatch"):
        build_trainer(cfg).load_model(cfg.OUTPUT_DIR, epoch=4)


def test_no_test(tmp_path, monkeypatch):
    monkeypatch.setattr(ToyX, "test", lambda self, split=None: pytest.fail("tested"))
    _run(toy_config(tmp_path, "TEST.NO_TEST", "True", "TEST.FINAL_MODEL", "best_val"))
    assert os.listdir(tmp_path / "out" / "linear").count("model.pth.tar-4") == 1


@pytest.mark.parametrize(("count", "batches"), [("train_x", 4), ("train_u", 2), ("smaller_one", 2)])
def test_labelled_and_unlabelled(tmp_path, count, batches):
    options = ("TRAINER.NAME", "ToyXU", "DATASET.ALL_AS_UNLABELED", "True", "TRAIN.COUNT_ITER", count)
    options += ("DATALOADER.TRAIN_U.SAME_AS_X", "False", "DATALOADER.TRAIN_U.BATCH_SIZE", "8", "OPTIM.MAX_EPOCH", "1")
    trainer = _run(toy_config(tmp_path, *options))
    assert len(trainer.seen) == trainer.num_batches == batches
    assert all((len(x), len(u)) == (4, 8) for x, u in trainer.seen)
    if count == "train_x":  # the smaller loader starts over, in another order
        unlabelled = [sorted(sum((u for _, u in trainer.seen[i : i + 2]), [])) for i in (0, 2)]
        assert unlabelled == [list(range(16))] * 2


def test_unlabelled_images_are_needed(tmp_path):
    with pytest.raises(ValueError, match="no unlabelled images"):
        build_trainer(toy_config(tmp_path, "TRAINER.NAME", "ToyXU")).train()


def test_unknown_and_left_out_trainers(tmp_path):
    with pytest.raises(ValueError, match="unknown name 'ToyY'; did you mean 'ToyX"):
        build_trainer(toy_config(tmp_path, "TRAINER.NAME", "ToyY"))
    with pytest.raises(ValueError, match="trainer 'FixMatch' is part of upstream Dassl"):
        build_trainer(toy_config(tmp_path, "TRAINER.NAME", "FixMatch"))
    with pytest.raises(ValueError, match="backbone 'resnet50' is part of upstream Dassl"):
        build_backbone("resnet50")
    assert "ToyX" in TRAINER_REGISTRY.registered_names()


def test_missing_tensorboard_is_one_warning(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.warns(UserWarning, match="no TensorBoard log.*pip install tensorboard") as caught:
        _run(toy_config(tmp_path, "OPTIM.MAX_EPOCH", "1"))
    assert len([w for w in caught if "TensorBoard" in str(w.message)]) == 1


def test_nan_loss_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(nn.functional, "cross_entropy", lambda logits, labels: logits.sum() * float("nan"))
    with pytest.raises(FloatingPointError, match="infinite or NaN"):
        build_trainer(toy_config(tmp_path)).train()


def test_models_by_name(tmp_path):
    trainer = TrainerBase()
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    optim = torch.optim.SGD(first.parameters(), 0.5)
    trainer.register_model("first", first, optim)
    trainer.register_model("second", second)
    assert trainer.get_model_names() == ["first", "second"] and trainer.get_model_names("second") == ["second"]
    with pytest.raises(ValueError, match="did you mean 'second'"):
        trainer.get_model_names(["secnd"])
    with pytest.raises(ValueError, match="already registered"):
        trainer.register_model("first")
    with pytest.raises(AttributeError, match="super"):
        TrainerBase.register_model(TrainerBase.__new__(TrainerBase), "a")
    trainer.set_model_mode("eval", "first")
    assert not first.training and second.training
    trainer.set_model_mode("train")
    assert first.training
    with pytest.raises(ValueError, match="'tain'; did you mean 'train'"):
        trainer.set_model_mode("tain")
    before = first.weight.item()
    for _ in range(2):  # the second call starts from cleared gradients
        trainer.model_backward_and_update(first(torch.ones(1, 1)).sum() + second.weight.sum() * 0)
    assert first.weight.item() == pytest.approx(before - 1.0) and trainer.get_current_lr() == 0.5
    trainer.save_model(0, str(tmp_path))
    trainer.save_model(1, str(tmp_path))
    (tmp_path / "second" / "checkpoint").write_text("model.pth.tar-1\n")
    with pytest.raises(ValueError, match="different epochs: {'first': 2, 'second': 1}"):
        trainer.resume_model_if_exist(str(tmp_path))


@BACKBONE_REGISTRY.register()
class TinyBackbone(Backbone):
    def __init__(self, pretrained=True):
        super().__init__()
        self._out_features = 12
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())

    def forward(self, x):
        return self.body(x)


def test_simple_net_and_its_trainer(tmp_path, capsys):
    options = ["MODEL.BACKBONE.NAME", "TinyBackbone", "MODEL.HEAD.NAME", "mlp", "MODEL.HEAD.HIDDEN_LAYERS", "(5, 7)"]
    cfg = toy_config(tmp_path, *options, "MODEL.HEAD.DROPOUT", "0.1")
    trainer = SimpleTrainer(cfg)
    assert isinstance(trainer.model, SimpleNet) and trainer.model.fdim == 7
    out = capsys.readouterr().out
    assert "Building model\nBackbone: TinyBackbone\nHead: mlp\n# params: 155\n" in out
    logits, feature = trainer.model(torch.rand(4, 3, 8, 8), return_feature=True)
    assert logits.shape == (4, 3) and feature.shape == (4, 7)
    assert SimpleNet(cfg, cfg.MODEL, 0)(torch.rand(4, 3, 8, 8)).shape == (4, 7)
    trainer.save_model(0, str(tmp_path / "weights"))
    cfg.MODEL.INIT_WEIGHTS = str(tmp_path / "weights" / "model" / "model.pth.tar-1")
    again = SimpleTrainer(cfg)
    assert torch.equal(again.model.classifier.weight, trainer.model.classifier.weight)
    assert 0 <= trainer.test("val") <= 100
    cfg.MODEL.HEAD.HIDDEN_LAYERS = ()
    assert SimpleNet(cfg, cfg.MODEL, 2).fdim == 12
