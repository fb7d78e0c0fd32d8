"""Whether a classifier's confidence is its accuracy: reliability in bins, and the expected calibration error.

Plain functions of numbers, without PyTorch: they serve predictions.csv as well as tensors' `tolist()`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

BINS = 15  # as in Guo et al. (arXiv 1706.04599), table 1


@dataclass(frozen=True)
class Bin:
    """The predictions whose confidence is in (low, high]; means are 0 where there are none.

    Attributes:
        low, high: of the confidence, 0 to 1; the first bin holds a confidence of 0 too.
        count: how many predictions.
        confidence: their mean confidence, 0 to 1.
        accuracy: the share of them that is right, 0 to 1.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(confidences: Sequence[float], right: Sequence[bool | int], bins: int = BINS) -> list[Bin]:
    """The reliability diagram's numbers: predictions in bins of equal width by their confidence.

    Guo et al., "On Calibration of Modern Neural Networks" (arXiv 1706.04599), section 2: acc(B_m) and conf(B_m).

    Args:
        confidences: of N predictions, the probability of the predicted class, 0 to 1.
        right: whether each is right.
        bins: M.

    Raises:
        ValueError: no bins, lists of different lengths, or a confidence that is no probability.
    """
    if bins < 1:
        raise ValueError(f"{bins} bins: give 1 or more")
    if len(confidences) != len(right):
        raise ValueError(f"{len(confidences)} confidences of {len(right)} predictions: give one for each")
    sums = [[0, 0.0, 0] for _ in range(bins)]  # count, confidences, right ones
    for confidence, correct in zip(confidences, right, strict=True):
        if not -1e-6 <= confidence <= 1 + 1e-6:  # NaN is neither; float32 sums leave 1.0000001
            raise ValueError(f"a confidence is {confidence}: probabilities are between 0 and 1")
        one = sums[_bin_of(min(max(confidence, 0.0), 1.0), bins)]
        one[0] += 1
        one[1] += confidence
        one[2] += bool(correct)
    return [
        Bin(
            place / bins,
            (place + 1) / bins,
            int(count),
            total / count if count else 0.0,
            hits / count if count else 0.0,
        )
        for place, (count, total, hits) in enumerate(sums)
    ]


def expected_calibration_error(
    confidences: Sequence[float], right: Sequence[bool | int], bins: int = BINS
) -> float | None:
    """ECE in percent: the mean over predictions of |accuracy - confidence| of their bin; None for no predictions.

    Guo et al. (arXiv 1706.04599), equation 3. Args and errors are those of `reliability`.
    """
    return error_of(reliability(confidences, right, bins))


def error_of(diagram: Iterable[Bin]) -> float | None:
    """ECE in percent of a reliability diagram; None where it has no predictions."""
    filled = [one for one in diagram if one.count]
    total = sum(one.count for one in filled)
    if not total:
        return None
    return 100 * sum(one.count * abs(one.accuracy - one.confidence) for one in filled) / total


def confidences_of(rows: Iterable[Mapping[str, str]]) -> tuple[list[float], list[bool]]:
    """The confidence of each labelled line of predictions.csv, and whether its prediction is right.

    Raises:
        KeyError, ValueError: a line lacks a column, or its probability is no number.
    """
    labelled = [row for row in rows if row["label"]]
    return [float(row["p1"]) for row in labelled], [row["label"] == row["prediction"] for row in labelled]


def _bin_of(confidence: float, bins: int) -> int:
    """The number of the bin (m / bins, (m + 1) / bins] that holds a confidence, by the same quotients as its bounds."""
    place = min(int(confidence * bins), bins - 1)
    if place and confidence <= place / bins:
        place -= 1
    elif confidence > (place + 1) / bins:
        place += 1
    return place
