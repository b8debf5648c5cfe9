"""``forksafe_redis.Lock``: whose token it is, by process and by thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import LockError

import forksafe_redis
from tests.forksafe_pool.threads import Caller
from tests.support.forks import in_child

LIMIT = 10.0
Fork = Callable[[], int]


@pytest.fixture(params=[True, False], ids=["by thread", "for all threads"])
def lock(client: Any, request: pytest.FixtureRequest) -> Any:
    """Nobody holds it."""
    client.delete("lock")
    return forksafe_redis.Lock(client, "lock", timeout=60, thread_local=request.param)


def in_thread(function: Callable[[], Any]) -> Any:
    return Caller(function).result(LIMIT)


def use(lock: Any) -> bool:
    """All that a holder does."""
    assert not lock.owned()
    assert lock.acquire(blocking=False)
    assert lock.owned()
    assert lock.extend(60)
    assert lock.reacquire()
    lock.release()
    with lock:
        assert lock.local.token is not None
    return lock.local.token is None and not lock.locked()


def use_unheld(lock: Any) -> bool:
    """All that somebody does who does not hold it."""
    assert lock.local.token is None
    assert not lock.owned()
    for method in (lock.release, lock.reacquire, lambda: lock.extend(60)):
        with pytest.raises(LockError, match="unlocked"):
            method()
    with pytest.raises(LockError, match="unlocked"):
        lock.__exit__(None, None, None)
    return True


@pytest.mark.parametrize("first", [use, use_unheld])
def test_a_new_thread_is_the_first_to_use_it(lock: Any, first: Callable[[Any], bool]) -> None:
    assert in_thread(lambda: first(lock))
    assert use(lock)


@pytest.mark.parametrize("first", [use, use_unheld])
def test_a_new_thread_of_a_child_is_the_first_to_use_it(
    lock: Any, fork: Fork, first: Callable[[Any], bool]
) -> None:
    assert in_child(lambda: in_thread(lambda: first(lock)), fork)
    assert use(lock)


def test_a_new_thread_of_a_grandchild_is_the_first_to_use_it(lock: Any, fork: Fork) -> None:
    def grandchild() -> bool:
        return bool(in_thread(lambda: use(lock)))

    assert in_child(lambda: in_child(grandchild, fork), fork)
    assert in_child(lambda: use(lock) and in_child(grandchild, fork), fork)


def test_a_child_leaves_its_parent_s_block_after_another_thread_used_the_lock(
    lock: Any, fork: Fork
) -> None:
    def leave() -> bool:
        lock.__exit__(None, None, None)
        return not lock.owned()

    def child() -> bool:
        return not in_thread(lock.owned) and leave()

    def child_of_child() -> bool:
        return not in_thread(lock.owned) and in_child(child, fork) and leave()

    with lock:
        assert in_child(child, fork)
        assert in_child(child_of_child, fork)
        assert lock.owned()
    assert not lock.locked()


def test_a_child_s_own_block_that_lost_the_lock_says_so(lock: Any, client: Any, fork: Fork) -> None:
    """What was inherited before does not hide it."""

    def child() -> bool:
        client.delete("lock")  # as if it had expired
        with pytest.raises(LockError), lock:
            lock.release()
        return True

    with pytest.raises(LockError, match="no longer owned"), lock:
        assert in_child(child, fork)
