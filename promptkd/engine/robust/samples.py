"""The test images that an attack is measured on: a fixed, class-balanced choice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from promptkd import distributed
from promptkd.engine.task import Task


def loader_of_sample(task: Task, labels: Sequence[int], count: int) -> Iterable[Mapping[str, Any]]:
    """A loader over this process's share of a balanced sample of the test images of some classes.

    It is empty where there are more processes than images.

    Args:
        task: whose test images.
        labels: of the classes.
        count: images of the sample, 0 for all.
    """
    wanted = set(labels)
    sample = balanced_sample([one for one in task.evaluation_loader.dataset.data_source if one.label in wanted], count)
    share = sample[distributed.rank() :: distributed.world_size()]
    return task.loader(share) if share else ()


def balanced_sample(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` items, as many of each class as can be, evenly spaced in the list of each; in their order.

    No random number enters, so that each method is measured on the same images. Lists of test images are sorted by
    class: the first `count` would be few classes.

    Args:
        items: Dassl's items, with `label`.
        count: 0 for all.
    """
    if not count or count >= len(items):
        return list(items)
    rows: dict[int, list[int]] = defaultdict(list)
    for row, item in enumerate(items):
        rows[item.label].append(row)
    take = dict.fromkeys(sorted(rows), 0)
    left = count
    while left:  # one more of each class that has one, class by class
        for label in take:
            if left and take[label] < len(rows[label]):
                take[label] += 1
                left -= 1
    chosen = [
        rows[label][place * len(rows[label]) // number] for label, number in take.items() for place in range(number)
    ]
    return [items[row] for row in sorted(chosen)]
