"""Two methods on the same test images and seeds: their difference, with an interval over seeds and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from promptkd.bounded import shown
from promptkd.results.numbers import GROUPS, harmonic_mean
from promptkd.results.predictions import FILE_NAME, read_rows
from promptkd.results.search import Run
from promptkd.tables.grouping import short

if TYPE_CHECKING:
    from numpy import ndarray

MOST_AT_ONCE = 10_000_000  # draws of images that are in memory together, 8 bytes each
Right = dict[str, dict[str, bool]]  # class group -> image -> whether it is classified rightly


@dataclass(frozen=True)
class Difference:
    """Of one class group (or "hm") of a data set, in percentage points, second minus first.

    Attributes:
        dataset, group: of what.
        first, second: accuracies (percent), means over the seeds; "hm" is the harmonic mean of the means, as in tables.
        value, low, high: the difference, and the ends of its interval.
        seeds, images: that both have.
    """

    dataset: str
    group: str
    first: float
    second: float
    value: float
    low: float
    high: float
    seeds: int
    images: int


def differences(
    first: Sequence[Run], second: Sequence[Run], samples: int = 10_000, level: float = 0.95
) -> list[Difference]:
    """The differences of two methods, whose runs are paired by data set and seed.

    The interval is a percentile bootstrap (Efron and Tibshirani, 1993, chapter 13): seeds are drawn with replacement,
    and images within each class group; both methods are given the same draw. So it covers what another seed and other
    test images would change, and not what another data set would.

    Args:
        first, second: each one method's runs, a run of each data set and seed.
        samples: draws.
        level: of the interval, from 0 to 1.

    Raises:
        ValueError: no data set and seed that both have, several runs of one, or other images; the message says which.
        OSError: predictions cannot be read.
    """
    pairs = [_by_seed(runs, name) for runs, name in ((first, "the first"), (second, "the second"))]
    common = sorted(pairs[0].keys() & pairs[1].keys())
    if not common:
        raise ValueError(
            f"nothing to pair: the first has {_listed(pairs[0])}, the second {_listed(pairs[1])} (data set, protocol, "
            "shots, split, seed)"
        )
    found: list[Difference] = []
    for setting in dict.fromkeys(key[:-1] for key in common):
        seeds = [key for key in common if key[:-1] == setting]
        right = [[_right_of(side[key]) for key in seeds] for side in pairs]
        found += _of_dataset(setting[0], right[0], right[1], samples, level)
    return found


def _by_seed(runs: Sequence[Run], name: str) -> dict[tuple[str, ...], Run]:
    found: dict[tuple[str, ...], Run] = {}
    for run in runs:
        record = run.record
        key = (record.dataset, record.protocol, str(record.shots), record.split, str(record.seed))
        if key in found:
            what = f"{record.trainer} on {short(record.backbone)}"
            raise ValueError(
                f"{name} has two runs of {record.dataset}, seed {record.seed}: {found[key].directory} and "
                f"{run.directory} ({what}): name one method's folder, or choose with --where"
            )
        found[key] = run
    return found


def _listed(runs: Mapping[tuple[str, ...], Run]) -> str:
    names = [" ".join(key) for key in sorted(runs)]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "no run"


def _right_of(run: Run) -> Right:
    right: Right = {}
    for row in read_rows(run.directory / FILE_NAME):
        if not {"path", "group", "label", "prediction"} <= row.keys():
            raise ValueError(f"{run.directory / FILE_NAME} is no table of predictions: {shown(list(row)[:5])}")
        if row["label"]:
            right.setdefault(row["group"], {})[row["path"]] = row["label"] == row["prediction"]
    if not right:
        raise ValueError(f"{run.directory / FILE_NAME} has no image with a label")
    return right


def _of_dataset(dataset: str, first: list[Right], second: list[Right], samples: int, level: float) -> list[Difference]:
    import numpy

    draw = numpy.random.default_rng(0)
    seeds = len(first)
    weights = draw.multinomial(seeds, [1 / seeds] * seeds, samples) / seeds  # (R, S): how often a seed is drawn
    means: dict[str, tuple[float, float]] = {}
    drawn: dict[str, list[ndarray]] = {}  # group -> accuracies of both methods in each draw, (R,)
    images = {}
    for group in (name for name in GROUPS if name in first[0]):
        paths = sorted(first[0][group])
        if any(sorted(one.get(group, {})) != paths for one in (*first, *second)):
            raise ValueError(f"{dataset}, {group}: the runs were not measured on the same images")
        tables = [numpy.array([[one[group][path] for path in paths] for one in side]) for side in (first, second)]
        count = len(paths)
        parts: list[list[ndarray]] = [[], []]
        for some in numpy.array_split(weights, -(-samples * count // MOST_AT_ONCE)):
            often = draw.multinomial(count, [1 / count] * count, len(some)) / count  # (r, N)
            for part, table in zip(parts, tables, strict=True):
                part.append(100 * ((often @ table.T) * some).sum(axis=1))
        drawn[group] = [numpy.concatenate(part) for part in parts]
        means[group] = (100 * float(tables[0].mean()), 100 * float(tables[1].mean()))
        images[group] = count
    if {"base", "new"} <= drawn.keys():
        both = zip(drawn["base"], drawn["new"], strict=True)
        drawn["hm"] = [2 * base * new / numpy.maximum(base + new, 1e-9) for base, new in both]
        means["hm"] = tuple(harmonic_mean(*pair) for pair in zip(means["base"], means["new"], strict=True))  # type: ignore[assignment]
        images["hm"] = images["base"] + images["new"]
    tail = 50 * (1 - level)
    found = []
    for group, (one, other) in means.items():
        low, high = numpy.percentile(drawn[group][1] - drawn[group][0], [tail, 100 - tail])
        found.append(Difference(dataset, group, one, other, other - one, float(low), float(high), seeds, images[group]))
    return found
