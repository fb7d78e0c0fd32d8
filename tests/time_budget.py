"""A pytest plugin for PROMPT_TEST_BUDGET=1: a run fails where a test that is not marked slow takes too long."""

from __future__ import annotations

import pytest

SECONDS = 20.0  # of a test without what it sets up; a slow one is marked, so that `-m "not slow"` stays fast


class TimeBudget:
    """Remembers the tests that took longer than SECONDS; they fail the run at its end, whatever they found."""

    def __init__(self) -> None:
        self.over: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.duration > SECONDS and "slow" not in report.keywords:
            self.over.append(f"{report.nodeid}: {report.duration:.1f} s, {SECONDS:g} s at most")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.over and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.over:
            terminalreporter.section("tests to make shorter, or to mark slow")
            terminalreporter.write("".join(f"{line}\n" for line in self.over))
