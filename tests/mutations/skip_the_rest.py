"""A pytest plugin: the tests of a file are skipped after the first of them that has failed."""

from __future__ import annotations

import pytest

_noticed: set[str] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        _noticed.add(report.nodeid.partition("::")[0])


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.nodeid.partition("::")[0] in _noticed:
        pytest.skip("this file has noticed already")
