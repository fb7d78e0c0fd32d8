"""PROMPT_TEST_BUDGET=1: a test that takes too long fails the run, unless it is marked slow."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import time_budget


@pytest.mark.parametrize(
    ("report", "fails"),
    [
        ({"duration": 21.0}, True),
        ({"duration": 19.0}, False),
        ({"duration": 21.0, "keywords": {"slow": 1}}, False),
        ({"duration": 21.0, "when": "setup"}, False),
    ],
)
def test_what_takes_too_long_fails_the_run(report: dict, fails: bool):
    plugin, session = time_budget.TimeBudget(), SimpleNamespace(exitstatus=pytest.ExitCode.OK)
    plugin.pytest_runtest_logreport(SimpleNamespace(**{"nodeid": "a", "when": "call", "keywords": {}} | report))
    plugin.pytest_sessionfinish(session)
    assert session.exitstatus == (pytest.ExitCode.TESTS_FAILED if fails else pytest.ExitCode.OK)
    assert plugin.over == (["a: 21.0 s, 20 s at most"] if fails else [])
