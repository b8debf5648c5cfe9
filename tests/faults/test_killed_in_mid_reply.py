"""A request that is ended in the middle of a reply does not leave it to the next one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from tests.faults.clients import PATIENT, Client
from tests.faults.proxy import FaultyProxy
from tests.faults.test_network import assert_all_is_well
from tests.support.programs import run_program
from tests.support.server import Server

LIMIT = 20.0


class SoftTimeLimit(Exception):
    """As Celery's and RQ's: an ordinary exception, from a signal handler."""


@contextmanager
def signal_raises(error: type[BaseException]) -> Iterator[None]:
    def handler(number: int, frame: FrameType | None) -> None:
        raise error

    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, previous)


def strike_when(held_back: threading.Event) -> threading.Thread:
    """Send the signal as soon as the reply is held back."""

    def strike() -> None:
        assert held_back.wait(LIMIT)
        os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, SoftTimeLimit])
@pytest.mark.parametrize("kind", PATIENT, indirect=True, ids=lambda kind: kind.name)
def test_by_a_signal(kind: type[Client], proxy: FaultyProxy, error: type[BaseException]) -> None:
    client = kind(proxy.port)
    assert client.is_answered()
    proxy.drop()
    with signal_raises(error):
        striker = strike_when(proxy.struck)
        with pytest.raises(error):
            client.ask("never heard")
        striker.join(LIMIT)
    client.stats()
    proxy.pass_on()
    assert_all_is_well(client)


# A greenlet is ended while its reply is held back; the pool's only place is the next one's then.
GREENLETS = r"""
from gevent import monkey; monkey.patch_all()
import contextlib, sys
import gevent
from tests.faults import clients
from tests.faults.proxy import FaultyProxy

clients.SIZE = 1
kind = {kind.name: kind for kind in clients.CLIENTS}[sys.argv[1]]
proxy = FaultyProxy(int(sys.argv[2]))
client = kind(proxy.port)
assert client.is_answered()
proxy.drop()


def ask():
    if sys.argv[3] == "timeout":
        with contextlib.suppress(gevent.Timeout), gevent.Timeout(0.2):
            client.ask("never heard")
    else:
        client.ask("never heard")


greenlet = gevent.spawn(ask)
assert proxy.struck.wait(20)
if sys.argv[3] == "kill":
    greenlet.kill()
greenlet.join(20)
assert greenlet.dead
proxy.pass_on()
for _ in range(5):
    assert client.is_answered()
client.assert_whole()
print("fine")
"""


@pytest.mark.parametrize("end", ["kill", "timeout"])
@pytest.mark.parametrize("kind", PATIENT, indirect=True, ids=lambda kind: kind.name)
def test_by_gevent(kind: type[Client], server: Server, end: str) -> None:
    assert run_program(GREENLETS, kind.name, str(server.port), end) == "fine\n"
