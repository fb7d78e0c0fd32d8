"""Projectors and their closed form, against plain solves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from promptkd.model.projector import ResidualProjector, linear_part, make_projector
from promptkd.model.ridge import RidgeRegression


def naive_ridge(x: np.ndarray, y: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """The same least squares by rows added for the penalty, and numpy's lstsq."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    penalty = strength * x.var(axis=0).mean() * len(x)
    rows = np.vstack([x - mean_x, np.sqrt(penalty) * np.eye(x.shape[1])])
    wanted = np.vstack([y - mean_y, np.zeros((x.shape[1], y.shape[1]))])
    weight = np.linalg.lstsq(rows, wanted, rcond=None)[0].T
    return weight, mean_y - weight @ mean_x


@pytest.mark.parametrize("images", [200, 12], ids=["more images than channels", "fewer"])
@pytest.mark.parametrize("strength", [1e-3, 1.0])
def test_ridge_is_the_solution_of_a_least_squares_problem(images, strength):
    generator = torch.Generator().manual_seed(0)
    x = 3 + torch.randn(images, 20, generator=generator) @ torch.randn(20, 20, generator=generator)
    y = torch.randn(images, 7, generator=generator)
    regression = RidgeRegression(20, 7)
    for some in torch.arange(images).split(9):
        regression.add(x[some], y[some])
    weight, bias = regression.solve(strength)
    expected = naive_ridge(x.double().numpy(), y.double().numpy(), strength)
    np.testing.assert_allclose(weight.numpy(), expected[0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(bias.numpy(), expected[1], rtol=1e-6, atol=1e-9)


def test_ridge_does_not_depend_on_the_size_of_the_features():
    x, y = torch.randn(30, 6), torch.randn(30, 4)
    small, large = RidgeRegression(6, 4), RidgeRegression(6, 4)
    small.add(x, y)
    large.add(1000 * x, y)
    torch.testing.assert_close(1000 * large.solve(0.1)[0], small.solve(0.1)[0])


def test_ridge_of_shares_is_that_of_all():
    """Two processes with 20 and 10 rows; each sum is met by the other's in the same order."""
    x, y = torch.randn(30, 6), torch.randn(30, 4)
    parts = [RidgeRegression(6, 4) for _ in range(3)]
    for part, some in zip(parts, (slice(0, 30), slice(0, 20), slice(20, 30)), strict=True):
        part.add(x[some], y[some])
    other = iter([torch.tensor(10.0, dtype=torch.float64), *parts[2]._sums])
    weight, bias = parts[1].solve(0.1, lambda value: value + next(other))
    torch.testing.assert_close((weight, bias), parts[0].solve(0.1))


def test_ridge_of_nothing_and_of_one_picture():
    with pytest.raises(ValueError, match="no rows"):
        RidgeRegression(3, 2).solve(1.0)
    regression = RidgeRegression(3, 2)
    regression.add(torch.ones(5, 3), torch.full((5, 2), 4.0))
    weight, bias = regression.solve(0.1)
    assert not weight.any() and bias.tolist() == [4.0, 4.0]


@pytest.mark.parametrize("layers", [2, 3])
def test_a_residual_projector_starts_as_its_linear_map(layers):
    module, features = make_projector("residual", 6, 9, layers), torch.randn(5, 6)
    assert isinstance(module, ResidualProjector)
    assert torch.equal(module(features), module.linear(features))
    module(features).square().sum().backward()
    last = module.mlp[-1]
    assert isinstance(last, nn.Linear) and last.weight.grad is not None and last.weight.grad.any()  # and it learns
    torch.optim.SGD(module.parameters(), 0.1).step()
    assert not torch.equal(module(features), module.linear(features))


def test_which_projectors_have_a_linear_part():
    assert linear_part(make_projector("mlp", 4, 5, 2)) is None
    one = make_projector("mlp", 4, 5, 1)
    assert linear_part(one) is one[0]  # type: ignore[index]
    with pytest.raises(ValueError, match="PROJECT_LAYER 2 or 3, or PROJECTOR mlp"):
        make_projector("residual", 4, 5, 1)
