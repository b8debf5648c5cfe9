"""A fork in a gevent-patched process: the parent's greenlets go on in the child as well."""

from __future__ import annotations

import pytest

from tests.forks.servers import serving
from tests.support.programs import run_program

pytest.importorskip("gevent")

# By os.fork alone: gevent makes its event loop anew there. After a C-level fork both processes wait
# on one epoll set, and take each other's events, whatever the pool.
BEGINNING = r"""
from gevent import monkey

monkey.patch_all()
import os, signal, socket, sys
import gevent
from gevent.event import Event
from forksafe_pool import Pool

LIMIT = 20
signal.alarm(2 * LIMIT)  # kills a program that hangs
parent = os.getpid()


def fork():
    pid = os.fork()
    if pid == 0:
        signal.alarm(2 * LIMIT)
    return pid


def end(child):
    if child == 0:
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0) == (child, 0)


def yield_until(condition):
    with gevent.Timeout(LIMIT):
        while not condition():
            gevent.sleep(0)
"""

# Three greenlets hold all there is, two wait. Nothing is awaited in real time but, in the child,
# the end of the waiters' patience.
LEASES = (
    BEGINNING
    + r"""
pool = Pool(
    lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1]))), max_size=3, timeout=3
)
holding, cut_off, proceed = [], [], Event()


def hold():
    with pool.connection() as conn:
        holding.append(conn)
        assert proceed.wait(LIMIT)
        try:
            conn.sendall(b"parent" if os.getpid() == parent else b"child")
        except BrokenPipeError:
            cut_off.append(conn)


def wait():
    with pool.connection() as conn:
        conn.sendall(b", waited for" if os.getpid() == parent else b"child, waited for")


greenlets = [gevent.spawn(function) for function in (hold, hold, hold, wait, wait)]
yield_until(lambda: len(holding) == 3 and pool.stats().waiting == 2)
child = fork()
proceed.set()
assert len(gevent.joinall(greenlets, timeout=LIMIT, raise_error=True)) == 5
stats = pool.stats()
assert (stats.in_use, stats.waiting, stats.timeouts) == (0, 0, 0), stats
if child == 0:
    assert len(cut_off) == 3
    assert (stats.foreign_releases, stats.severed) == (3, 3), stats
    # One after the other, the waiters may well have used the same.
    assert stats.total == stats.opened in (1, 2), stats
else:
    assert not cut_off
    assert (stats.foreign_releases, stats.total, stats.opened) == (0, 3, 3), stats
end(child)
"""
)

BUSY = (
    BEGINNING
    + r"""
import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError
from redis.retry import Retry
from forksafe_redis import BlockingConnectionPool

pool = BlockingConnectionPool.from_url(
    sys.argv[1], max_connections=4, timeout=3, retry=Retry(NoBackoff(), 0)
)
client = redis.Redis(connection_pool=pool)
busy, lost = True, 0
forks = 3


def work(number):
    global lost
    done = 0
    mine = os.getpid()
    while busy:
        words = b"process %d, greenlet %d, %d" % (os.getpid(), number, done)
        try:
            assert client.echo(words) == words
        except ConnectionError:
            # Once, in a child, for who was in the middle of a command at the fork.
            assert mine == parent != os.getpid()
            mine = os.getpid()
            lost += 1
        done += 1
    return done


greenlets = [gevent.spawn(work, number) for number in range(8)]
yield_until(lambda: pool.stats().waiting)
for _ in range(forks):
    before = pool.stats().acquired
    yield_until(lambda: pool.stats().acquired > before + 50)
    child = fork()
    if child == 0:
        yield_until(lambda: pool.stats().acquired > 50)
        busy = False
        assert len(gevent.joinall(greenlets, timeout=LIMIT, raise_error=True)) == 8
        assert lost <= 4
        stats = pool.stats()
        assert (stats.in_use, stats.waiting, stats.foreign_releases) == (0, 0, lost), stats
        assert client.echo("still") == b"still"
        print("child")
    end(child)
busy = False
assert len(gevent.joinall(greenlets, timeout=LIMIT, raise_error=True)) == 8
stats = pool.stats()
assert lost == 0
assert (stats.in_use, stats.waiting, stats.opened, stats.foreign_releases) == (0, 0, 4, 0), stats
print("parent")
"""
)


def test_greenlets_that_hold_and_wait() -> None:
    with serving() as server:
        assert run_program(LEASES, str(server.port)) == ""
        streams = sorted(server.received())
        parents = [stream for stream in streams if stream.startswith(b"parent")]
        assert b"".join(sorted(parents)).count(b", waited for") == 2
        assert b"".join(streams).count(b"child, waited for") == 2
        assert all(b"child" not in stream for stream in parents)
        assert len(parents) == 3


def test_greenlets_in_the_middle_of_commands(redis_url: str) -> None:
    assert run_program(BUSY, redis_url) == "child\n" * 3 + "parent\n"
