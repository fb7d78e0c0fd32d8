"""Layers and losses of dassl.modeling.ops against plain loops, and ProGrad's step."""

import math
import random

import pytest
import torch
from torch import nn

from dassl.engine import TrainerBase
from dassl.modeling import ops
from dassl.modeling.ops.utils import (
    create_onehot,
    ema_model_update,
    linear_rampup,
    reverse_index,
    sharpen_prob,
    shuffle_index,
    sigmoid_rampup,
)
from dassl.optim.radam import AdamW, PlainRAdam, RAdam


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    random.seed(0)


def test_mixup_lies_between_and_keeps_the_order():
    x1, x2 = torch.zeros(64, 1, 2, 2), torch.ones(64, 1, 2, 2)
    y1, y2 = torch.zeros(64, 3), torch.ones(64, 3)
    images, labels = ops.mixup(x1, x2, y1, y2, 0.5, preserve_order=True)
    assert torch.allclose(images[:, 0, 0, 0], labels[:, 0]) and images.max() <= 0.5 and images.std() > 0.05
    images, _ = ops.mixup(x1, x2, y1, y2, 0.5)
    assert images.max() > 0.5


@pytest.mark.parametrize("kind", [ops.MixStyle, ops.EFDMix])
def test_styles_are_mixed_in_training_alone(kind):
    layer, x = kind(p=1.0, alpha=0.3), torch.randn(4, 2, 5, 3) * 2 + 1
    assert torch.equal(layer.eval()(x), x)
    mixed = layer.train()(x)
    assert mixed.shape == x.shape and not torch.allclose(mixed, x)
    # ranks stay, only the distribution of the values changes
    assert torch.equal(mixed.flatten(2).argsort(-1), x.flatten(2).argsort(-1))
    share, partners = torch.tensor([1.0, 0.0, 0.0, 0.25]), torch.tensor([1, 0, 3, 2])
    mixed = layer.mixed(x, share, partners)
    torch.testing.assert_close(mixed[0], x[0])
    torch.testing.assert_close(mixed[1].mean((1, 2)), x[0].mean((1, 2)))
    torch.testing.assert_close(mixed[3].mean((1, 2)), 0.25 * x[3].mean((1, 2)) + 0.75 * x[2].mean((1, 2)))
    with pytest.raises(ValueError, match="mix is 'other'"):
        kind(p=1.0, mix="other")(x)


def test_switches_of_mixstyle():
    model, x = nn.Sequential(ops.MixStyle(p=1.0)), torch.randn(6, 2, 4, 4)
    with ops.run_without_mixstyle(model):
        assert torch.equal(model(x), x)
    assert not torch.allclose(model(x), x)
    model.apply(ops.deactivate_mixstyle)
    assert torch.equal(model(x), x)
    with ops.run_with_mixstyle(model, mix="crossdomain"):
        assert not torch.allclose(model(x), x) and model[0].mix == "crossdomain"
        partners = model[0]._partners(6)
        assert set(partners[:3].tolist()) == {3, 4, 5}
    assert torch.equal(model(x), x)
    model.apply(ops.random_mixstyle)
    assert model[0].mix == "random"


@pytest.mark.parametrize("kernel", ["linear", "poly", "rbf"])
def test_discrepancy_is_gretton_s(kernel):
    x, y = torch.randn(4, 3), torch.randn(5, 3) + 1

    def k(a, b):
        if kernel == "rbf":
            return sum(math.exp(-float(((a - b) ** 2).sum()) / (2 * s * s)) for s in (1, 5, 10))
        inner = float((a * b).sum())
        return inner if kernel == "linear" else (inner + 2) ** 2

    def mean(values):
        values = list(values)
        return sum(values) / len(values)

    within = [mean(k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j) for z in (x, y)]
    expected = sum(within) - 2 * mean(k(a, b) for a in x for b in y)
    assert ops.MaximumMeanDiscrepancy(kernel)(x, y).item() == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="unknown kernel"):
        ops.MaximumMeanDiscrepancy("cubic")


def test_transport_moves_to_the_nearest():
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    y = x.flip(0) + torch.tensor([0.0, 0.5])
    divergence = ops.SinkhornDivergence("euclidean", eps=0.01, max_iter=200)
    cost, plan = divergence.transport_cost(x, y, return_pi=True)
    torch.testing.assert_close(plan, torch.eye(3).flip(0) / 3, atol=1e-3, rtol=0)
    assert cost.item() == pytest.approx(0.25, abs=1e-3)
    assert divergence(x, y).item() == pytest.approx(0.5, abs=1e-2)
    assert divergence(x, x).item() == pytest.approx(0, abs=1e-6)
    energy = ops.MinibatchEnergyDistance("cosine", max_iter=50)
    x.requires_grad_()
    energy(torch.cat([x, x + 1])[:4], torch.randn(4, 2)).backward()
    assert x.grad.isfinite().all()
    with pytest.raises(ValueError, match="unknown distance"):
        ops.SinkhornDivergence("other")(x, y)


def test_reversed_gradient_and_chains():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (ops.ReverseGrad()(x, 0.5) * torch.tensor([3.0, 4.0])).sum().backward()
    assert x.grad.tolist() == [-1.5, -2.0]
    with pytest.raises(ValueError, match="grad_scaling is -1"):
        ops.ReverseGrad()(x, -1.0)

    class Both(nn.Module):
        def forward(self, a, b):
            return a + b, a - b

    chain = ops.Sequential2(Both(), Both())
    assert [float(value) for value in chain(torch.tensor(3.0), torch.tensor(1.0))] == [6.0, 2.0]


def test_norms_of_domains():
    layer, x = ops.DSBN1d(3, 2), torch.randn(8, 3) * 2 + 5
    layer.select_bn(1)
    torch.testing.assert_close(layer(x).mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    assert layer.bn[0].running_mean.eq(0).all() and layer.bn[1].running_mean.ne(0).all()
    with pytest.raises(ValueError, match="no domain 2"):
        layer.select_bn(2)
    norm = ops.TransNorm2d(2)
    halves = torch.cat([torch.randn(4, 2, 3, 3), torch.randn(4, 2, 3, 3) + torch.tensor([0.0, 9.0])[:, None, None]])
    output = norm(halves)
    means = output.unflatten(0, (2, 4)).mean((1, 3, 4))
    torch.testing.assert_close(means, torch.zeros(2, 2), atol=1e-5, rtol=0)
    # the channel that the domains share is made larger; factors are 1 + alpha, alpha of mean 1
    deviations = output[:4].std((0, 2, 3))
    assert deviations[0] > deviations[1] and deviations.sum().item() == pytest.approx(4, abs=0.1)
    assert norm.running_mean_t[1] > 7 and norm.eval()(halves).shape == halves.shape
    with pytest.raises(ValueError, match="expected 2 dimensions, got 4"):
        ops.TransNorm1d(2)(halves)


def test_dynamic_convolution_is_the_sum_of_its_parts():
    layer, x = ops.Conv2dDynamic(4, 8, 3, 2, 1, squeeze=2, bias=False), torch.randn(2, 4, 7, 7)
    weights = layer.attention(x)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    parts = list(layer.kernel_templates.values())
    expected = layer.conv(x) + sum(part(x) * weights[:, i].reshape(2, 1, 1, 1) for i, part in enumerate(parts))
    torch.testing.assert_close(layer(x), expected)
    with pytest.raises(ValueError, match="the kernel is odd"):
        ops.Conv2dDynamic(4, 6, 4, 1, 2)
    with pytest.raises(ValueError, match="give squeeze"):
        ops.Attention(8, 4)


def test_losses_and_small_functions():
    logits, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    soft = torch.full((5, 3), 0.1 / 3) + 0.9 * create_onehot(labels, 3)
    expected = -(soft * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(ops.cross_entropy(logits, labels, 0.1, "none"), expected)
    torch.testing.assert_close(ops.cross_entropy(logits, labels, 0.1), expected.mean())
    sharp = sharpen_prob(torch.tensor([[0.5, 0.5], [0.8, 0.2]]))
    torch.testing.assert_close(sharp, torch.tensor([[0.5, 0.5], [0.64 / 0.68, 0.04 / 0.68]]))
    data = torch.arange(5)
    assert reverse_index(data, labels)[0].tolist() == [4, 3, 2, 1, 0]
    shuffled = shuffle_index(data, labels)
    assert labels[shuffled[0]].tolist() == shuffled[1].tolist()
    assert (linear_rampup(5, 10), linear_rampup(20, 10)) == (0.5, 1.0)
    assert sigmoid_rampup(10, 10) == 1.0 and sigmoid_rampup(0, 10) == pytest.approx(math.exp(-5))
    one, average = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    before = average.weight.clone()
    ema_model_update(one, average, 0.75)
    torch.testing.assert_close(average.weight, 0.75 * before + 0.25 * one.weight)


def test_optimisers_under_upstreams_names():
    def moved(kind, **options):
        weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        optimiser, positions = kind([weight], lr=0.1, **options), []
        for _ in range(8):
            optimiser.zero_grad()
            weight.pow(2).sum().backward()
            optimiser.step()
            positions.append(weight.detach().clone())
        return torch.stack(positions)

    torch.testing.assert_close(moved(RAdam), moved(torch.optim.RAdam))
    torch.testing.assert_close(moved(PlainRAdam, weight_decay=0.1), moved(RAdam, weight_decay=0.1))
    torch.testing.assert_close(moved(AdamW, weight_decay=0.1), moved(torch.optim.AdamW, weight_decay=0.1))
    warmed = moved(AdamW, warmup=4)
    assert 0 < abs(1 - warmed[0, 0]) < abs(1 - moved(AdamW)[0, 0]) / 3
    with pytest.raises(ValueError, match="degenerated_to_sgd"):
        RAdam([nn.Parameter(torch.zeros(1))], degenerated_to_sgd=False)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_prograd_takes_away_what_is_in_conflict(share):
    weight, other = nn.Parameter(torch.tensor([1.0, 0.0])), nn.Parameter(torch.tensor([1.0]))
    unused = nn.Parameter(torch.tensor([5.0]))
    model = nn.ParameterList([weight, other, unused])
    trainer = TrainerBase()
    trainer.register_model("model", model, torch.optim.SGD(model.parameters(), lr=1.0))
    task = (weight * torch.tensor([1.0, -1.0])).sum() + other.sum()  # gradient (1, -1) against (0, 2)
    general = (weight * torch.tensor([0.0, 2.0])).sum() + other.sum() * 3
    trainer.prograd_backward_and_update(task, general, share)
    assert weight.tolist() == pytest.approx([0.0, 1.0 - share]) and other.tolist() == [0.0]
    assert unused.tolist() == [5.0] and unused.grad is None
