"""Saving, loading, and training parts of a network."""

import os
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from dassl import utils
from dassl.utils import reading


@pytest.fixture(autouse=True)
def pytorchs_reader():
    reading.set_reader(reading.read_with_torch)


def _state(model, epoch=3, **more):
    return {"state_dict": model.state_dict(), "epoch": epoch, "optimizer": None, "scheduler": None} | more


def test_checkpoint_loads_under_weights_only(tmp_path, capsys):
    model = nn.Linear(2, 2)
    state = _state(model, val_result=np.float64(81.5), scheduler={"rates": [np.float32(0.5)], "epoch": np.int64(2)})
    utils.save_checkpoint(state, str(tmp_path))
    path = tmp_path / "model.pth.tar-3"
    assert capsys.readouterr().out == f"Checkpoint saved to {path}\n"
    loaded = torch.load(path, weights_only=True)
    assert torch.equal(loaded["state_dict"]["weight"], model.weight)
    assert (loaded["epoch"], loaded["val_result"]) == (3, 81.5) and type(loaded["val_result"]) is float
    assert loaded["scheduler"] == {"rates": [0.5], "epoch": 2}
    assert (tmp_path / "checkpoint").read_text() == "model.pth.tar-3\n"
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "model.pth.tar-3"]


def test_names_and_module_prefix(tmp_path):
    state = _state(nn.Linear(2, 2))
    state["state_dict"] = OrderedDict((f"module.{key}", value) for key, value in state["state_dict"].items())
    utils.save_checkpoint(state, str(tmp_path), is_best=True, model_name="mine.pth.tar")
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "mine.pth.tar", "model-best.pth.tar"]
    assert (tmp_path / "checkpoint").read_text() == "mine.pth.tar\n"
    for name in ("mine.pth.tar", "model-best.pth.tar"):
        assert list(utils.load_checkpoint(str(tmp_path / name))["state_dict"]) == ["weight", "bias"]
    utils.save_checkpoint(state, str(tmp_path), remove_module_from_keys=False)
    loaded = utils.load_checkpoint(str(tmp_path / "model.pth.tar-3"))
    assert list(loaded["state_dict"]) == ["module.weight", "module.bias"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, RuntimeError])
def test_interrupted_save_keeps_the_earlier_one(tmp_path, monkeypatch, error):
    model = nn.Linear(2, 2)
    utils.save_checkpoint(_state(model), str(tmp_path), model_name="model-best.pth.tar")

    def half(state, path):
        with open(path, "wb") as file:
            file.write(b"half")
        raise error("no space")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError if error is RuntimeError else error, match="no space"):
        utils.save_checkpoint(_state(model, 4), str(tmp_path), model_name="model-best.pth.tar")
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "model-best.pth.tar"]
    assert utils.load_checkpoint(str(tmp_path / "model-best.pth.tar"))["epoch"] == 3


def test_load_errors(tmp_path):
    (tmp_path / "model.pth.tar-2").write_bytes(b"no checkpoint")
    with pytest.raises(FileNotFoundError, match="model.pth.tar-9.*in that folder: model.pth.tar-2"):
        utils.load_checkpoint(str(tmp_path / "model.pth.tar-9"))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        utils.load_checkpoint(str(tmp_path / "none" / "a"))
    with pytest.raises(ValueError, match="model.pth.tar-2"):
        utils.load_checkpoint(str(tmp_path / "model.pth.tar-2"))
    with pytest.raises(ValueError, match="empty"):
        utils.load_checkpoint("")
    torch.save({"scheduler": nn.Linear(1, 1)}, tmp_path / "objects")
    with pytest.raises(ValueError, match="holds Python objects"):
        utils.load_checkpoint(str(tmp_path / "objects"))
    torch.save({"state_dict": nn.Linear(30, 30).state_dict()}, tmp_path / "cut")
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:2000])
    with pytest.raises(ValueError, match="cut"):
        utils.load_checkpoint(str(tmp_path / "cut"))


def test_resume_restores_the_optimizer(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    utils.save_checkpoint(_state(model, optimizer=optimizer.state_dict()), str(tmp_path))
    fresh = nn.Linear(2, 2)
    fresh_optimizer = torch.optim.SGD(fresh.parameters(), 0.5, momentum=0.9)
    assert utils.resume_from_checkpoint(str(tmp_path), fresh, fresh_optimizer) == 3
    assert torch.equal(fresh.weight, model.weight) and fresh_optimizer.param_groups[0]["lr"] == 0.1
    momentum = fresh_optimizer.state[fresh.weight]["momentum_buffer"]
    assert torch.equal(momentum, optimizer.state[model.weight]["momentum_buffer"])
    with pytest.raises(RuntimeError, match="size mismatch"):
        utils.resume_from_checkpoint(str(tmp_path), nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"state_dict": [1]}, "state_dict is a list"),
        ({"state_dict": {"weight": "text"}}, "'weight' of its state_dict is no tensor"),
        ({"state_dict": {"weight": torch.tensor([float("nan")])}}, "not finite"),
        ({"epoch": "3"}, "epoch is '3'"),
        ({"epoch": -1}, "epoch is '-1'"),
        ({"optimizer": [1]}, "optimizer is a list"),
        ({"optimizer": {"state": {}}}, "optimizer does not fit this run"),
        ({"optimizer": {"state": 3, "param_groups": []}}, "optimizer.state is none"),
        ({"scheduler": {"optimizer": 3}}, "scheduler.optimizer is none of this run's"),
        ({"scheduler": {"last_epoch": "x"}}, "scheduler.last_epoch is none of this run's"),
    ],
)
def test_fields_of_another_kind_are_named(tmp_path, changes, fault):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
    torch.save(_state(model) | changes, tmp_path / "model.pth.tar-3")
    (tmp_path / "checkpoint").write_text("model.pth.tar-3\n")
    with pytest.raises(ValueError, match=f"model.pth.tar-3.*{fault}"):
        utils.resume_from_checkpoint(str(tmp_path), model, optimizer, scheduler)


@pytest.mark.parametrize("name", ["../other/model.pth.tar-3", "/model.pth.tar-3", "..", "", "a/b"])
def test_the_name_of_a_checkpoint_stays_in_its_folder(tmp_path, name):
    (tmp_path / "checkpoint").write_text(name)
    with pytest.raises(ValueError, match="names no file of its folder") as caught:
        utils.resume_from_checkpoint(str(tmp_path), nn.Linear(2, 2))
    assert len(str(caught.value)) < 400


def test_another_reader_reads_the_files(tmp_path):
    utils.save_checkpoint(_state(nn.Linear(2, 2)), str(tmp_path))
    reading.set_reader(lambda path: {"epoch": 7, "read": path})
    path = str(tmp_path / "model.pth.tar-3")
    assert utils.load_checkpoint(path) == {"epoch": 7, "read": path}


def test_load_pretrained_weights_reports_what_does_not_fit(tmp_path, capsys):
    source = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 5))
    utils.save_checkpoint(_state(source), str(tmp_path))
    target = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    before = target[1].weight.detach().clone()
    utils.load_pretrained_weights(target, str(tmp_path / "model.pth.tar-3"))
    assert torch.equal(target[0].weight, source[0].weight) and torch.equal(target[1].weight, before)
    out = capsys.readouterr().out
    assert "Loaded 2 of 4 weights" in out and "1.weight, 1.bias" in out
    with pytest.warns(UserWarning, match="no weight of"):
        utils.load_pretrained_weights(nn.Conv2d(1, 1, 1), str(tmp_path / "model.pth.tar-3"))


def test_counting_and_opening_layers():
    model = nn.Sequential(OrderedDict(a=nn.Linear(2, 3), b=nn.BatchNorm1d(3)))
    assert utils.count_num_param(model) == 15
    assert utils.count_num_param(params=model.a.parameters()) == 9
    assert utils.count_num_param(params=[{"params": model.b.parameters()}, model.a.weight]) == 12
    with pytest.raises(ValueError):
        utils.count_num_param()
    utils.open_specified_layers(model, "a")
    assert model.a.training and not model.b.training
    assert model.a.weight.requires_grad and not model.b.weight.requires_grad
    with pytest.raises(ValueError, match="no layer 'c'"):
        utils.open_specified_layers(model, ["c"])
    utils.open_all_layers(model)
    assert model.b.training and model.b.weight.requires_grad


@pytest.mark.parametrize("kind", ["normal", "xavier", "kaiming", "orthogonal"])
def test_init_network_weights(kind):
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.Linear(64, 64))
    for p in model.parameters():
        nn.init.constant_(p, 7.0)
    utils.init_network_weights(model, kind, gain=0.5)
    assert torch.equal(model[1].weight, torch.ones(64)) and not model[2].bias.any() and not model[0].bias.any()
    if kind == "normal":
        assert model[2].weight.std().item() == pytest.approx(0.5, rel=0.1)
    if kind == "orthogonal":
        product = model[2].weight @ model[2].weight.t()
        assert torch.allclose(product, 0.25 * torch.eye(64), atol=1e-5)
    assert model[0].weight.std() > 0.01
    with pytest.raises(ValueError, match="choose normal"):
        utils.init_network_weights(model, "zeros")
