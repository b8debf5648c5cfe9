"""The server is killed and started again while eight threads use it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from forksafe_pool import _upkeep
from tests.faults.clients import SIZE, WAITING, Client, NonBlockingRedis
from tests.forksafe_pool.threads import Caller, eventually
from tests.support.server import Server

LIMIT = 60.0
THREADS = 8
#: Seconds from a server's return to the first answer.
RECOVERY = 1.0
#: Seconds that two requests may take on a busy machine, if they sleep for nothing.
BUSY = 2.5


class Crowd:
    """Threads that ask and ask, and how often each was answered."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stop = threading.Event()
        self.answered = [0] * THREADS
        self.failed = [0] * THREADS
        self.most = [0] * THREADS
        self._callers = [Caller(self._asker(number)) for number in range(THREADS)]

    def _asker(self, number: int) -> Callable[[], None]:
        def ask() -> None:
            while not self._stop.is_set():
                if self._client.is_answered():
                    self.answered[number] += 1
                else:
                    self.failed[number] += 1
                    self._stop.wait(0.001)  # leaves the processor to those that are answered
                self.most[number] = max(self.most[number], self._client.stats().total)

        return ask

    def wait_for_everybody(self, counts: list[int]) -> None:
        """Until each thread has counted one more."""
        before = counts.copy()

        def all_did() -> bool:
            for caller in self._callers:
                if not caller.running:
                    caller.result()  # raises what has ended it
            return all(now > then for now, then in zip(counts, before, strict=True))

        eventually(all_did, LIMIT)

    def stop(self) -> None:
        self._stop.set()
        for caller in self._callers:
            caller.result(LIMIT)


def test_everybody_is_served_again(kind: type[Client], server: Server) -> None:
    client = kind(server.port)
    crowd = Crowd(client)
    try:
        crowd.wait_for_everybody(crowd.answered)
        for _ in range(2):
            server.kill()
            crowd.wait_for_everybody(crowd.failed)
            server.start_again()
            crowd.wait_for_everybody(crowd.answered)
    finally:
        crowd.stop()
    assert max(crowd.most) <= SIZE
    client.assert_whole()
    client.close()


def test_who_waits_for_a_place_is_not_forgotten(kind: type[Client], server: Server) -> None:
    """Whoever fails to connect wakes the next one."""
    client = kind(server.port)
    client.assert_answered()
    server.kill()
    try:
        callers = [Caller(client.is_answered) for _ in range(THREADS)]
        answered = [caller.result(LIMIT) for caller in callers]
    finally:
        server.start_again()
    assert not any(answered)
    client.assert_whole()
    client.outlast_failures()
    client.assert_answered()
    client.assert_whole()
    client.close()


@pytest.mark.parametrize("kind", WAITING, indirect=True, ids=lambda kind: kind.name)
def test_who_has_failed_often_does_not_wait_long(
    kind: type[Client], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may come back just when a request begins that is to fail; the next is answered.

    What each of them sleeps is counted, and not slept.
    """
    slept: list[float] = []

    def took(ask: Callable[[], object]) -> tuple[float, float]:
        slept.clear()
        with monkeypatch.context() as patch:
            patch.setattr(time, "sleep", slept.append)
            patch.setattr(_upkeep, "_chance", lambda: 1.0)  # the longest there is
            begun = time.monotonic()
            ask()
            return sum(slept), time.monotonic() - begun

    def fail() -> None:
        assert not client.is_answered()

    client = kind(server.port)
    client.assert_answered()
    server.kill()
    try:
        failing = [took(fail) for _ in range(10)]
    finally:
        server.start_again()
    columns = zip(*failing, took(client.assert_answered), strict=True)
    asleep, awake = (max(failed) + answered for *failed, answered in columns)
    assert asleep <= RECOVERY
    assert awake < BUSY
    client.close()


@pytest.mark.parametrize("kind", [NonBlockingRedis], indirect=True, ids=lambda kind: kind.name)
def test_who_never_waits_is_put_off_for_less_than_a_second(
    kind: type[Client], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(_upkeep, "monotonic", lambda: now)
    monkeypatch.setattr(_upkeep, "_chance", lambda: 1.0)  # the longest there is
    client = kind(server.port)
    client.assert_answered()
    server.kill()
    try:
        for _ in range(50):
            assert not client.is_answered()
            now += 0.1  # so that there are attempts among these
    finally:
        server.start_again()
    now += RECOVERY
    client.assert_answered()
    client.close()
