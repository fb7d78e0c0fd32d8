"""Reliability and the expected calibration error, against a naive loop and by hand."""

from __future__ import annotations

import random

import pytest

from promptkd.results import calibration


def naive(confidences: list[float], right: list[bool], bins: int) -> float:
    """Equation 3 of arXiv 1706.04599, word by word."""
    error = 0.0
    for m in range(bins):
        inside = [i for i, p in enumerate(confidences) if m / bins < p <= (m + 1) / bins or (m == 0 and p == 0)]
        if inside:
            accuracy = sum(right[i] for i in inside) / len(inside)
            confidence = sum(confidences[i] for i in inside) / len(inside)
            error += len(inside) / len(confidences) * abs(accuracy - confidence)
    return 100 * error


@pytest.mark.parametrize("bins", [1, 7, 10, 15])
def test_error_is_that_of_the_equation(bins):
    draw = random.Random(bins)
    confidences = [draw.random() for _ in range(500)] + [m / bins for m in range(bins + 1)]  # the bounds, too
    right = [draw.random() < p**2 for p in confidences]
    assert calibration.expected_calibration_error(confidences, right, bins) == pytest.approx(
        naive(confidences, right, bins)
    )
    assert sum(one.count for one in calibration.reliability(confidences, right, bins)) == len(confidences)


def test_by_hand():
    assert calibration.expected_calibration_error([1.0, 1.0, 0.5, 0.5], [1, 1, 1, 0], 10) == 0
    assert calibration.expected_calibration_error([0.9, 0.9], [True, False], 10) == pytest.approx(40)
    (low, high) = calibration.reliability([0.5, 0.5000001], [1, 0], 2)
    assert (low.count, low.accuracy, high.count, high.accuracy) == (1, 1.0, 1, 0.0), "0.5 is the first bin's end"
    assert calibration.expected_calibration_error([], []) is None


def test_what_is_no_probability_is_an_error():
    for wrong in (1.5, -0.1, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            calibration.reliability([wrong], [True])
    with pytest.raises(ValueError, match="2 confidences of 1 predictions"):
        calibration.reliability([0.1, 0.2], [True])
    with pytest.raises(ValueError, match="0 bins"):
        calibration.reliability([], [], 0)


def test_lines_of_predictions_without_a_label_do_not_count():
    rows = [
        {"label": "cat", "prediction": "cat", "p1": "0.75"},
        {"label": "", "prediction": "cat", "p1": "0.9"},
        {"label": "dog", "prediction": "cat", "p1": "0.6"},
    ]
    assert calibration.confidences_of(rows) == ([0.75, 0.6], [True, False])
