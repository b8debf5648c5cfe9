"""Whatever is done to a pool, in whichever order: it does what the model does."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.forksafe_pool.fakes import FakeConnection
from tests.forksafe_pool.model import MAX_IDLE, MAX_LIFETIME, SideBySide
from tests.support.forks import c_fork, in_child, os_fork

# Idle for no time at all, for less and for more than check_after, for max_idle, and for longer.
PAUSES = (0.0, 0.25, 1.0, MAX_IDLE / 2, MAX_IDLE, MAX_IDLE + 1.0, MAX_LIFETIME)


class PoolMachine(RuleBasedStateMachine):
    both: SideBySide

    def __init__(self) -> None:
        super().__init__()
        self.monkeypatch = pytest.MonkeyPatch()

    def teardown(self) -> None:
        self.monkeypatch.undo()

    @initialize(
        max_size=st.integers(1, 4),
        min_size=st.integers(0, 2),
        blocks=st.booleans(),
        resets=st.booleans(),
    )
    def build(self, max_size: int, min_size: int, blocks: bool, resets: bool) -> None:
        self.both = SideBySide(
            self.monkeypatch,
            max_size=max_size,
            min_size=min(max_size, min_size),
            blocks=blocks,
            resets=resets,
        )

    @rule(refuse=st.booleans())
    def acquire(self, refuse: bool) -> None:
        self.both.acquire(refuse=refuse)

    @precondition(lambda self: self.both.in_use)
    @rule(data=st.data(), unfit=st.sampled_from((False, False, False, True)))
    def release(self, data: st.DataObject, unfit: bool) -> None:
        self.both.release(data.draw(st.sampled_from(self.both.in_use)), unfit=unfit)

    @precondition(lambda self: self.both.in_use)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        self.both.discard(data.draw(st.sampled_from(self.both.in_use)))

    @rule(data=st.data(), discard=st.booleans())
    def give_back_what_is_not_lent(self, data: st.DataObject, discard: bool) -> None:
        conn = data.draw(st.sampled_from(self.both.foreign + self.both.available))
        (self.both.discard if discard else self.both.release)(conn)

    @precondition(lambda self: self.both.available)
    @rule(data=st.data())
    def peer_hangs_up(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.both.available)).alive = False

    @rule(seconds=st.sampled_from(PAUSES))
    def time_passes(self, seconds: float) -> None:
        self.both.clock.advance(seconds)

    @rule()
    def fork(self) -> None:
        self.both.fork()

    @invariant()
    def compare(self) -> None:
        if hasattr(self, "both"):
            self.both.compare()


PoolMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_the_pool_does_what_the_model_does = PoolMachine.TestCase


def wander(both: SideBySide, chance: random.Random, steps: int) -> None:
    """Take random steps, without hypothesis: in a child."""

    def anything() -> FakeConnection:
        return chance.choice(both.in_use + both.available + both.foreign)

    for _ in range(steps):
        step = chance.randrange(8)
        if step < 3:
            both.acquire(refuse=chance.random() < 0.2)
        elif step < 5:
            both.release(anything(), unfit=chance.random() < 0.2)
        elif step == 5:
            both.discard(anything())
        elif step == 6:
            both.clock.advance(chance.choice(PAUSES))
        elif both.available:
            chance.choice(both.available).alive = False
        both.compare()


@pytest.mark.parametrize("fork", [os_fork, c_fork])
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32), max_size=st.integers(1, 4))
def test_so_it_does_in_a_child_and_in_its_parent_after(
    monkeypatch: pytest.MonkeyPatch, fork: object, seed: int, max_size: int
) -> None:
    assert callable(fork)
    chance = random.Random(seed)
    both = SideBySide(
        monkeypatch, max_size=max_size, min_size=0, blocks=bool(seed % 2), resets=bool(seed % 3)
    )
    wander(both, chance, 20)

    def child() -> int:
        both.become_a_child()
        both.compare()
        wander(both, chance, 20)
        return both.counters["acquired"]

    assert in_child(child, fork) >= 0
    both.compare()
    wander(both, chance, 20)
