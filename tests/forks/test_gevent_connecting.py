"""A fork while a greenlet connects: the child's copy of it must leave its parent's socket alone."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from forksafe_pool.conformance.relay import Relay
from tests.forks.servers import serving
from tests.forks.test_gevent import BEGINNING
from tests.forksafe_pool.threads import Caller
from tests.support.programs import run_program

pytest.importorskip("gevent")

LIMIT = 20.0

# The server's first words are held back until the child has ended. What the child's greenlet does
# then: it fails, or works on a connection of its own. ``ask`` answers with the session's number.
HANDSHAKE = (
    BEGINNING
    + r"""
driver, relay, told = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

if driver == "redis":
    import redis
    from forksafe_redis import BlockingConnectionPool

    pool = BlockingConnectionPool(host="127.0.0.1", port=relay, max_connections=2)
    client = redis.Redis(connection_pool=pool)
    ask = client.client_id
elif driver == "redis once":
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
    from forksafe_redis import ConnectionPool

    pool = ConnectionPool(host="127.0.0.1", port=relay, retry=Retry(NoBackoff(), 0))
    client = redis.Redis(connection_pool=pool)
    ask = client.client_id
elif driver == "pymysql":
    from tests.support.sql import make_pool, session_id

    pool = make_pool("pymysql", str(relay), max_size=2)

    def ask():
        with pool.connection() as conn:
            return session_id(conn)
else:
    import pymysql, sqlalchemy
    from forksafe_sqlalchemy import QueuePool

    url = f"mysql+pymysql://root@127.0.0.1:{relay}"
    engine = sqlalchemy.create_engine(url, poolclass=QueuePool)

    def ask():
        with engine.connect() as conn:
            return conn.scalar(sqlalchemy.text("SELECT connection_id()"))


def try_to_ask():
    try:
        return ask()
    except Exception as error:
        return type(error).__name__


greenlet = gevent.spawn(try_to_ask)
yield_until(lambda: sockets_to(relay))
(ours,) = sockets_to(relay)
for _ in range(20):  # it sends what it has to send, and waits
    gevent.sleep(0)
child = fork()
if child == 0:
    assert ours not in sockets_to(relay)
    with gevent.Timeout(LIMIT):
        print(greenlet.get(), ask())
    end(child)
end(child)
assert ours in sockets_to(relay)
socket.create_connection(("127.0.0.1", told)).close()
with gevent.Timeout(LIMIT):
    print(greenlet.get())
    assert ours in sockets_to(relay)
"""
).replace(
    "from forksafe_pool import Pool\n",
    "from forksafe_pool import Pool\nfrom tests.forks.servers import sockets_to\n",
    1,
)


@pytest.mark.parametrize("driver", ["redis", "redis once", "pymysql", "sqlalchemy"])
def test_a_greenlet_that_waits_for_its_server_s_first_words(
    driver: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("valkey" if driver.startswith("redis") else "mariadb")
    relay = Relay(server.port)
    with closing(socket.create_server(("127.0.0.1", 0))) as told:
        told.settimeout(3 * LIMIT)
        port = told.getsockname()[1]
        program = Caller(lambda: run_program(HANDSHAKE, driver, str(relay.port), str(port)))
        try:
            told.accept()[0].close()
        finally:
            relay.let_go()
            said = program.result(3 * LIMIT)
    relay.stop()
    child, parent = said.splitlines()
    first, theirs = child.split()
    assert parent.isdecimal()
    assert theirs.isdecimal()
    assert parent not in (first, theirs)
    assert first.isdecimal() or first.endswith("Error")


# It has connected, keeps its socket in an attribute, and waits for the server's greeting; or
# prepares what it has connected.
ATTRIBUTE = (
    BEGINNING
    + r"""
stage, port = sys.argv[1], int(sys.argv[2])
waiting, proceed = Event(), Event()


class Connection:
    def __init__(self):
        self.sock = socket.create_connection(("127.0.0.1", port))
        if stage == "connect":
            prepare(self)


def prepare(conn):
    waiting.set()
    assert proceed.wait(LIMIT)
    conn.sock.sendall(b"hello from the %s" % (b"parent" if os.getpid() == parent else b"child"))


pool = Pool(Connection, configure=prepare if stage == "configure" else None)


def use():
    try:
        with pool.connection():
            pass
    except BrokenPipeError:
        print("cut off")


greenlet = gevent.spawn(use)
assert waiting.wait(LIMIT)
child = fork()
proceed.set()
if child == 0:
    greenlet.get(timeout=LIMIT)
    with pool.connection() as own:
        own.sock.sendall(b".")
    stats = pool.stats()
    assert (stats.total, stats.in_use, stats.foreign_releases) == (1, 0, 0), stats
    end(child)
greenlet.get(timeout=LIMIT)
end(child)
"""
)


@pytest.mark.parametrize("stage", ["connect", "configure"])
def test_a_greenlet_with_half_a_connection(stage: str) -> None:
    with serving() as server:
        assert run_program(ATTRIBUTE, stage, str(server.port)) == "cut off\n"
        assert sorted(server.received()) == [
            b"hello from the child.",
            b"hello from the parent",
        ]
