"""Orders in which a loader goes over its source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import RandomSampler, Sampler, SequentialSampler
from yacs.config import CfgNode

from dassl.utils import check_availability

from .datasets import Datum

AVAI_SAMPLERS = ["RandomDomainSampler", "SeqDomainSampler", "RandomSampler", "SequentialSampler", "RandomClassSampler"]


class _GroupSampler(Sampler[int]):
    """Batches made of `n_each` items from each of `n_groups` groups, without repetition within an epoch.

    Args:
        key: item -> its group.
        in_order: each batch takes the groups in order of their first appearance; if not, at random, those with most
            batches left first, which leaves the fewest items unused and makes the number of batches a constant.
        fill: a group smaller than `n_each` is filled up by drawing from it again.
    """

    def __init__(
        self,
        data_source: Sequence[Datum],
        key: Callable[[Datum], int],
        n_groups: int,
        n_each: int,
        in_order: bool = False,
        fill: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        groups: defaultdict[int, list[int]] = defaultdict(list)
        for index, item in enumerate(data_source):
            groups[key(item)].append(index)
        if n_groups > len(groups):
            raise ValueError(f"a batch is to hold {n_groups} groups, but the data have only {len(groups)}")
        self.groups = list(groups.values())
        self.n_groups = n_groups
        self.n_each = n_each
        self.in_order = in_order
        self.fill = fill
        self.generator = generator

    def __len__(self) -> int:
        """Number of items of an epoch, a multiple of the batch size."""
        return self._n_batches() * self.n_groups * self.n_each

    def __iter__(self) -> Iterator[int]:
        queues = [self._shuffled(group) for group in self.groups]
        for _ in range(self._n_batches()):
            for number in self._choose(queues):
                for _ in range(self.n_each):
                    yield queues[number].pop()

    def _chunks(self) -> list[int]:
        return [max(len(group) // self.n_each, int(self.fill)) for group in self.groups]

    def _n_batches(self) -> int:
        """How often `n_groups` different groups can be taken, most chunks left first."""
        left, count = self._chunks(), 0
        while True:
            left.sort(reverse=True)
            if left[self.n_groups - 1] == 0:
                return count
            for i in range(self.n_groups):
                left[i] -= 1
            count += 1

    def _shuffled(self, group: list[int]) -> list[int]:
        if len(group) < self.n_each and self.fill:
            return [group[i] for i in torch.randint(len(group), (self.n_each,), generator=self.generator).tolist()]
        return [group[i] for i in torch.randperm(len(group), generator=self.generator).tolist()]

    def _choose(self, queues: list[list[int]]) -> list[int]:
        order = list(range(len(queues)))
        if not self.in_order:
            order = torch.randperm(len(queues), generator=self.generator).tolist()
            order.sort(key=lambda i: len(queues[i]) // self.n_each, reverse=True)  # stable: ties stay at random
        return order[: self.n_groups]


class RandomDomainSampler(_GroupSampler):
    """Each batch: `n_domain` domains at random (not positive: all), the same number of items from each."""

    def __init__(
        self,
        data_source: Sequence[Datum],
        batch_size: int,
        n_domain: int,
        generator: torch.Generator | None = None,
    ) -> None:
        n_domain = n_domain if n_domain > 0 else len({item.domain for item in data_source})
        n_each = _share(batch_size, n_domain, "N_DOMAIN")
        super().__init__(data_source, lambda item: item.domain, n_domain, n_each, generator=generator)


class SeqDomainSampler(_GroupSampler):
    """Each batch: all domains in order, the same number of items from each, drawn at random."""

    def __init__(self, data_source: Sequence[Datum], batch_size: int, generator: torch.Generator | None = None) -> None:
        n_domain = len({item.domain for item in data_source})
        n_each = _share(batch_size, n_domain, "the number of domains")
        super().__init__(data_source, lambda item: item.domain, n_domain, n_each, True, generator=generator)


class RandomClassSampler(_GroupSampler):
    """Each batch: batch_size / n_ins classes at random, `n_ins` items from each."""

    def __init__(
        self, data_source: Sequence[Datum], batch_size: int, n_ins: int, generator: torch.Generator | None = None
    ) -> None:
        n_classes = _share(batch_size, n_ins, "N_INS")
        super().__init__(data_source, lambda item: item.label, n_classes, n_ins, fill=True, generator=generator)


def _share(batch_size: int, parts: int, name: str) -> int:
    if parts < 1 or batch_size % parts:
        raise ValueError(f"BATCH_SIZE {batch_size} is not a multiple of {name} ({parts}); change one of them")
    return batch_size // parts


def build_sampler(
    sampler_type: str,
    cfg: CfgNode | None = None,
    data_source: Sequence[Datum] | None = None,
    batch_size: int = 32,
    n_domain: int = 0,
    n_ins: int = 16,
    generator: torch.Generator | None = None,
) -> Sampler[int]:
    """Build a sampler by name.

    Args:
        cfg: not used; upstream has it.
        n_domain: domains of a batch (RandomDomainSampler).
        n_ins: items of a class in a batch (RandomClassSampler).
        generator: source of randomness; None takes PyTorch's global one.

    Raises:
        ValueError: unknown sampler, or a batch size that cannot be shared out.
    """
    check_availability(sampler_type, AVAI_SAMPLERS)
    source = [] if data_source is None else data_source
    if sampler_type == "RandomSampler":
        return RandomSampler(source, generator=generator)
    if sampler_type == "SequentialSampler":
        return SequentialSampler(source)
    if sampler_type == "RandomDomainSampler":
        return RandomDomainSampler(source, batch_size, n_domain, generator)
    if sampler_type == "SeqDomainSampler":
        return SeqDomainSampler(source, batch_size, generator)
    return RandomClassSampler(source, batch_size, n_ins, generator)
