"""What a long run has found makes it a good one, or not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.soak.__main__ import is_well

GOOD: dict[str, Any] = {
    "minutes": 10.0,
    "requests": 400_000,
    "forks": 20_000,
    "errors": 20_000,
    "faults": {"a reload": 30, "a worker killed": 1},
    "astray": 0,
    "hangs": 0,
    "places lost": 0,
    "descriptors leaked": 0,
    "recovery": 0.99,
    "recoveries": 60,
    "memory": 1.09,
    "workers' memory": 1.09,
    "connections left": 0,
}


def test_a_good_run() -> None:
    assert is_well(GOOD)


@pytest.mark.parametrize(
    "found",
    [
        {"requests": 0},
        {"forks": 0},
        {"astray": 1},
        {"hangs": 1},
        {"places lost": 1},
        {"descriptors leaked": 1},
        {"connections left": 1},
        {"errors": 40_000},
        {"recovery": 1.0},
        {"recoveries": 0},
        {"memory": 1.1},
        {"workers' memory": 1.1},
        {"faults": {"a reload": 30, "a worker killed": 0}},
    ],
    ids=lambda found: next(iter(found)),
)
def test_what_makes_it_a_bad_one(found: dict[str, Any]) -> None:
    assert not is_well({**GOOD, **found})


def test_a_short_run_may_be_without_a_kind_of_fault() -> None:
    few = {"faults": {"a reload": 0, "a worker killed": 3}}
    assert is_well({**GOOD, **few, "minutes": 4.9})
    assert not is_well({**GOOD, **few, "minutes": 5.0})
