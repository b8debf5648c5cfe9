"""A lock that somebody else holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LIMIT = 10.0


@contextmanager
def held_elsewhere(lock: Any) -> Iterator[None]:
    """Another thread holds ``lock`` for the length of the block."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            release.wait(LIMIT)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(LIMIT)
    try:
        yield
    finally:
        release.set()
        thread.join(LIMIT)
    assert not thread.is_alive()


def can_be_taken(lock: Any) -> bool:
    """Whether nobody holds ``lock``, the caller neither."""
    taken: list[bool] = []

    def take() -> None:
        taken.append(lock.acquire(blocking=False))
        if taken[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join(LIMIT)
    return taken == [True]
