"""Losses and averages against loops written out."""

from __future__ import annotations

import math

import pytest
import torch

from promptkd.engine.losses import gaussian_weights, mean_divergence, mean_kl
from promptkd.results.numbers import harmonic_mean


def naive_kl(student, teacher, temperature):
    """T^2 * sum_b sum_c p log(p / q), over B * C."""
    total = 0.0
    for s_row, t_row in zip(student.tolist(), teacher.tolist(), strict=True):
        s_sum = sum(math.exp(v / temperature) for v in s_row)
        t_sum = sum(math.exp(v / temperature) for v in t_row)
        for s, t in zip(s_row, t_row, strict=True):
            p, q = math.exp(t / temperature) / t_sum, math.exp(s / temperature) / s_sum
            total += p * math.log(p / q)
    return temperature**2 * total / student.numel()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_mean_kl(temperature):
    student, teacher = torch.randn(3, 5), 2 * torch.randn(3, 5)
    assert mean_kl(student, teacher, temperature).item() == pytest.approx(
        naive_kl(student, teacher, temperature), rel=1e-4
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_batch_mean_kl_is_c_times_it(temperature):
    student, teacher = torch.randn(4, 6), torch.randn(4, 6)
    expected = 6 * naive_kl(student, teacher, temperature)
    assert mean_divergence(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-4)
    assert 6 * mean_kl(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-4)


def test_mean_kl_in_half_precision_is_taken_in_float32():
    student, teacher = (30 * torch.randn(3, 5)).half(), (30 * torch.randn(3, 5)).half()
    assert mean_kl(student, teacher).dtype == torch.float32
    assert mean_kl(student, student).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("mean, std", [(15, 1), (6, 10), (45, 5)])
def test_gaussian_weights(mean, std):
    density = [math.exp(-0.5 * ((e - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi)) for e in range(1, 21)]
    expected = [value / sum(density) for value in density]
    assert gaussian_weights(20, mean, std) == pytest.approx(expected, rel=1e-9)


def test_gaussian_weights_far_from_the_mean():
    weights = gaussian_weights(3, 100, 1)  # every density underflows to 0
    assert sum(weights) == pytest.approx(1) and weights[2] > 0.99


def test_harmonic_mean():
    assert harmonic_mean(80.0, 60.0) == pytest.approx(2 / (1 / 80 + 1 / 60))
    assert harmonic_mean(0.0, 60.0) == 0.0
