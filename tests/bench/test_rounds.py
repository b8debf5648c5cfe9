"""How figures become ratios, claims and a page."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

import pytest

from bench import __main__ as command
from bench import page
from bench.rounds import Claim, Effort, Table, interleave, per_operation


def table(ours: list[float], peer: list[float], *claims: Claim) -> Table:
    return Table("work", "work", "ns", "About it.", {"ours": ours, "peer": peer}, [*claims], "ours")


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    """A machine that becomes slower in the middle slows both down."""
    slowed = table([1.0, 1.0, 10.0], [2.0, 2.0, 20.0])
    ratio = slowed.ratio("peer", "ours")
    assert (ratio.median, ratio.low, ratio.high) == (2.0, 2.0, 2.0)


def test_the_spread_leaves_out_one_round_of_ten() -> None:
    peer = [float(number) for number in range(1, 41)]
    ratio = table([1.0] * 40, peer).ratio("peer", "ours")
    assert (ratio.low, ratio.median, ratio.high) == (3.0, 20.5, 38.0)


@pytest.mark.parametrize(
    ("claim", "target", "good", "bad"),
    [
        (Claim("faster", "peer", "ours", at_least=2), "≥ 2", 2.0, 1.98),
        (Claim("the time", "ours", "peer", at_most=1.15), "≤ 1.15", 1.15, 1.17),
    ],
)
def test_a_claim_is_met_or_not(claim: Claim, target: str, good: float, bad: float) -> None:
    assert claim.target == target
    assert claim.is_met_by(good)
    assert not claim.is_met_by(bad)


def test_everybody_takes_turns_and_the_first_round_does_not_count() -> None:
    turns: list[str] = []

    def contender(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    figures = interleave(
        "turns", {name: partial(contender, name) for name in "abc"}, Effort(2, 0.0)
    )
    assert "".join(turns) == "abcbcacab"
    assert figures == {"a": [6.0, 8.0], "b": [4.0, 9.0], "c": [5.0, 7.0]}


def test_an_operation_is_repeated_until_it_takes_long_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[int] = []
    monkeypatch.setattr(time, "perf_counter", lambda: sum(done) * 1e-6)
    contender = per_operation(done.append, SMALL)
    assert contender() == pytest.approx(1000)  # nanoseconds
    assert done == [1, 2, 4, 8, 16, 32, 64, 128, 256, 1000]


SMALL = Effort(rounds=1, seconds=0.001)


def test_the_page_says_which_target_is_missed() -> None:
    met = Claim("than the peer", "peer", "ours", at_least=2)
    missed = Claim("than the peer", "peer", "ours", at_least=3)
    lines = page.targets([table([1.0], [2.0], met, missed)])
    assert lines[2:] == [
        "| work | faster than the peer | ≥ 2 | 2.00 (2.00 … 2.00) | yes |",
        "| work | faster than the peer | ≥ 3 | 2.00 (2.00 … 2.00) | **no** |",
    ]


def test_what_is_published_can_be_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "DOCS", tmp_path)
    claim = Claim("than the peer", "peer", "ours", at_least=2)
    published = table([1.0, 1.0, 1.0], [2.0, 2.5, 3.0], claim)
    assert command.publish([published], command.machine(1)) == 0
    assert "faster than the peer" in (tmp_path / "benchmarks.md").read_text()
    assert (tmp_path / "benchmarks" / "work.svg").read_text().startswith("<?xml")
    assert json.loads((tmp_path / "benchmarks.json").read_text())["tables"][0]["name"] == "work"
    assert command.verify([table([1.0], [2.9], claim)]) == 0
    assert command.verify([table([1.0], [3.1], claim)]) == 1
    assert "OUTSIDE" in capsys.readouterr().out


def test_a_ratio_is_within_its_range_as_far_as_that_is_shown() -> None:
    narrow = table([1.0], [2.0]).ratio("peer", "ours")
    assert narrow.holds(2.004)
    assert not narrow.holds(2.006)
    assert not narrow.holds(1.994)
