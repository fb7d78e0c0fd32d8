"""Optimisers and schedules; official schedules are replayed."""

import json
import math
import pathlib

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as torch_schedulers
from yacs.config import CfgNode

from dassl.config import get_cfg_default
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.optim.radam import RAdam
from dassl.utils import resume_from_checkpoint, save_checkpoint

OFFICIAL = json.loads((pathlib.Path(__file__).parent / "data" / "lr_schedule.json").read_text())


def _optim_cfg(**values):
    cfg = get_cfg_default().OPTIM
    cfg.update(NAME="sgd", **values)
    return cfg


def _built(cfg):
    optimizer = build_optimizer([nn.Parameter(torch.zeros(1))], cfg)
    return optimizer, build_lr_scheduler(optimizer, cfg)


def _step(optimizer, scheduler):
    optimizer.step()
    scheduler.step()


def _rates(cfg, epochs):
    optimizer, scheduler = _built(cfg)
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        _step(optimizer, scheduler)
    return rates


@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_official_schedule(name):
    record = OFFICIAL[name]
    expected = [*record["lr_per_epoch"], record["lr_after_last_step"]]
    assert _rates(CfgNode(record["optim"]), len(expected)) == pytest.approx(expected, rel=1e-12, abs=0)


def test_cosine_after_constant_warmup_is_the_closed_form():
    rates = _rates(_optim_cfg(LR=0.1, LR_SCHEDULER="cosine", MAX_EPOCH=7, WARMUP_EPOCH=1, WARMUP_TYPE="constant"), 7)
    assert rates[0] == 1e-5
    assert rates[1:] == pytest.approx([0.1 * (1 + math.cos(math.pi * (e - 1) / 7)) / 2 for e in range(1, 7)], rel=1e-12)


@pytest.mark.parametrize(
    ("values", "make"),
    [
        ({"LR_SCHEDULER": "single_step", "STEPSIZE": (3,)}, lambda o: torch_schedulers.StepLR(o, 3, 0.1)),
        ({"LR_SCHEDULER": "single_step"}, lambda o: torch_schedulers.StepLR(o, 10, 0.1)),
        ({"LR_SCHEDULER": "multi_step", "STEPSIZE": (2, 5)}, lambda o: torch_schedulers.MultiStepLR(o, [2, 5], 0.1)),
        ({"LR_SCHEDULER": "cosine"}, lambda o: torch_schedulers.CosineAnnealingLR(o, 10)),
    ],
)
def test_without_warmup_the_rates_are_torchs(values, make):
    cfg = _optim_cfg(LR=0.3, **values)
    optimizer = build_optimizer([nn.Parameter(torch.zeros(1))], cfg)
    scheduler, expected = make(optimizer), []
    for _ in range(10):
        expected.append(optimizer.param_groups[0]["lr"])
        _step(optimizer, scheduler)
    assert _rates(cfg, 10) == pytest.approx(expected, rel=1e-12)


def test_without_recount_the_main_schedule_goes_on_from_the_warmup():
    # as torch's cosine does when its epoch is moved to the end of the warm-up
    cfg = _optim_cfg(LR=0.3, LR_SCHEDULER="cosine", WARMUP_EPOCH=3, WARMUP_RECOUNT=False)
    optimizer = build_optimizer([nn.Parameter(torch.zeros(1))], cfg)
    main = torch_schedulers.CosineAnnealingLR(optimizer, 10)
    main.last_epoch = 3
    expected = [1e-5, 0.1, 0.2]
    for _ in range(7):
        expected.append(optimizer.param_groups[0]["lr"])
        _step(optimizer, main)
    assert _rates(cfg, 10) == pytest.approx(expected, rel=1e-12)
    cfg.WARMUP_EPOCH = 10
    with pytest.raises(ValueError, match="as long as the cosine"):
        _built(cfg)


@pytest.mark.parametrize("stop", [1, 2, 5])
def test_resumed_schedule_equals_the_unbroken_one(tmp_path, stop):
    cfg = CfgNode(OFFICIAL["promptkd_linear_warmup3"]["optim"])
    expected = _rates(cfg, 12)
    model = nn.Linear(1, 1)
    optimizer = build_optimizer(model, cfg)
    scheduler = build_lr_scheduler(optimizer, cfg)
    for _ in range(stop):
        _step(optimizer, scheduler)
    state = {"state_dict": model.state_dict(), "epoch": stop, "val_result": None}
    state.update(optimizer=optimizer.state_dict(), scheduler=scheduler.state_dict())
    save_checkpoint(state, str(tmp_path))

    fresh_optimizer = build_optimizer(model, cfg)
    fresh = build_lr_scheduler(fresh_optimizer, cfg)
    assert resume_from_checkpoint(str(tmp_path), model, fresh_optimizer, fresh) == stop
    rates = []
    for _ in range(stop, 12):
        rates.append(fresh_optimizer.param_groups[0]["lr"])
        assert fresh.get_last_lr() == rates[-1:]
        _step(fresh_optimizer, fresh)
    assert rates == expected[stop:]


def test_state_of_a_schedule_is_plain():
    cfg = CfgNode(OFFICIAL["promptkd_official_20ep"]["optim"])
    for value in _built(cfg)[1].state_dict().values():
        assert type(value) is int or all(type(item) is float for item in value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("adam", torch.optim.Adam), ("amsgrad", torch.optim.Adam), ("sgd", torch.optim.SGD)),
        *(("rmsprop", torch.optim.RMSprop), ("radam", RAdam), ("adamw", torch.optim.AdamW)),
    ],
)
def test_optimizers(name, kind):
    cfg = get_cfg_default().OPTIM
    cfg.NAME = name
    model = nn.Linear(2, 2)
    optimizer = build_optimizer(model, cfg)
    assert type(optimizer) is kind and optimizer.defaults["lr"] == cfg.LR
    assert optimizer.defaults["weight_decay"] == cfg.WEIGHT_DECAY
    assert optimizer.defaults.get("amsgrad", False) == (name == "amsgrad")
    before = model.weight.detach().clone()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert not torch.equal(before, model.weight)


def test_parameters_and_groups():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    cfg = _optim_cfg(LR=0.5)
    assert len(build_optimizer(model, cfg).param_groups[0]["params"]) == 4
    assert len(build_optimizer(model[0].parameters(), cfg).param_groups[0]["params"]) == 2
    groups = build_optimizer(model, cfg, [{"params": model[1].parameters(), "lr": 0.25}]).param_groups
    assert [group["lr"] for group in groups] == [0.25] and len(groups[0]["params"]) == 2


def test_staged_rates():
    model = nn.Sequential()
    model.add_module("old", nn.Linear(2, 2))
    model.add_module("new", nn.Linear(2, 1))
    cfg = _optim_cfg(LR=0.5, STAGED_LR=True, NEW_LAYERS=("new",), LR_SCHEDULER="cosine", MAX_EPOCH=2)
    optimizer = build_optimizer(model, cfg)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.5]
    assert optimizer.param_groups[1]["params"] == list(model.new.parameters())
    scheduler = build_lr_scheduler(optimizer, cfg)
    _step(optimizer, scheduler)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.025, 0.25])
    cfg.NEW_LAYERS = ("nwe",)
    with pytest.raises(ValueError, match="did you mean 'new'"):
        build_optimizer(model, cfg)


def test_unknown_names():
    with pytest.raises(ValueError, match="'sgdd'; did you mean 'sgd'"):
        build_optimizer([nn.Parameter(torch.zeros(1))], CfgNode({"NAME": "sgdd"}))
    with pytest.raises(ValueError, match="did you mean 'cosine'"):
        _built(_optim_cfg(LR_SCHEDULER="cosin"))
    with pytest.raises(ValueError, match="did you mean 'constant'"):
        _built(_optim_cfg(WARMUP_EPOCH=1, WARMUP_TYPE="const"))
    with pytest.raises(ValueError, match="MAX_EPOCH is 0"):
        _built(_optim_cfg(MAX_EPOCH=0))
    with pytest.raises(TypeError, match="list of epochs"):
        _built(_optim_cfg(LR_SCHEDULER="multi_step", STEPSIZE=3))
