"""What the demo shows while it runs."""

from __future__ import annotations

import sys

import pytest

from examples.demo import report
from examples.demo.load import Load


@pytest.fixture
def load() -> Load:
    load = Load(port=1, clients=0, limit=0)
    load.requests, load.wrong = 1234, 56
    load.errors["HTTP status 500"] = 7
    return load


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(report, "monotonic", lambda: now[0])
    return now


NUMBERS = " 1,234 requests,    56 wrong,   7 errors"


def test_a_line_now_and_then_where_there_is_no_terminal(
    load: Load, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with report.Bar("one shared connection") as bar:
        for seconds in (0, 1, 2, 3, 4):
            clock[0] = 1000.0 + seconds
            bar.show(seconds / 8, load)
        bar.event("worker 7 is killed")
        bar.show(1.0, load)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "",
        "one shared connection",
        f"    0% {NUMBERS}",
        f"   25% {NUMBERS}",
        f"   50% {NUMBERS}",
        "  worker 7 is killed",
    ]


def test_a_bar_on_a_terminal(
    load: Load,
    clock: list[float],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with report.Bar("forksafe_pool") as bar:
        for done in (0.25, 0.5, 1.0):
            bar.show(done, load)  # the second comes too soon
    drawn = capsys.readouterr().err.split("\r\033[K")
    assert drawn[0] == "\nforksafe_pool\n"
    assert drawn[1:] == [
        f"  {'█' * 6}{'░' * 18} {NUMBERS}",
        f"  {'█' * 24} {NUMBERS}\n",
    ]
