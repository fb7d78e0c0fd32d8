"""Every format that is read from elsewhere, changed at random: it is read, or a line names the file; at no cost."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz import cost
from fuzz_formats import FORMATS, MUTATIONS, Format, judged


@pytest.mark.parametrize("make", FORMATS, ids=lambda make: make.__name__)
def test_a_changed_file_costs_one_line(make: Callable[[Path], Format], tmp_path: Path) -> None:
    format, rng = make(tmp_path), random.Random(make.__name__)
    path = tmp_path / format.name
    path.write_bytes(format.content)
    format.read(path)  # as it is, it is good
    refused = 0
    for number in range(MUTATIONS):
        path.write_bytes(format.change(format.content, rng))
        error, seconds, grown = cost(lambda: format.read(path))
        wrong = judged(format, error, seconds, grown)
        assert not wrong, f"mutation {number} of {format.name}: {wrong}: {error!r}"
        refused += error is not None
    assert refused > MUTATIONS / 10  # it is changed, and that is noticed
