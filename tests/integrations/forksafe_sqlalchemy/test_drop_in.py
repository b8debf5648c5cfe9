"""What SQLAlchemy's users rely on, here as with its own class; its own tests say the rest."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy.pool
from sqlalchemy import Engine, create_engine, event, exc, text

import forksafe_pool
from forksafe_pool import _upkeep
from forksafe_sqlalchemy import QueuePool
from tests.forksafe_pool.threads import Caller, eventually
from tests.support.quiet import LIMIT

NAMES = [
    *("connect", "first_connect", "checkout", "checkin", "reset", "invalidate"),
    *("soft_invalidate", "close", "detach", "close_detached"),
]


class Connection:
    """A driver's, on which nothing can fail."""

    def __init__(self) -> None:
        self.is_closed = False

    def rollback(self) -> None: ...

    def commit(self) -> None: ...

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(params=[sqlalchemy.pool.QueuePool, QueuePool], ids=["theirs", "ours"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def listen(pool: Any) -> list[str]:
    told: list[str] = []
    for name in NAMES:
        event.listen(pool, name, lambda *_, name=name: told.append(name))
    return told


def test_events(kind: Any) -> None:
    pool = kind(Connection, pool_size=1, max_overflow=1)
    told = listen(pool)

    def heard() -> list[str]:
        found = told.copy()
        told.clear()
        return found

    one, other = pool.connect(), pool.connect()
    assert heard() == ["first_connect", "connect", "checkout", "connect", "checkout"]
    one.close()
    assert heard() == ["reset", "checkin"]
    other.close()
    assert heard() == ["reset", "checkin", "close"]
    one = pool.connect()
    one.invalidate(soft=True)
    one.close()
    assert heard() == ["checkout", "soft_invalidate", "reset", "checkin"]
    pool.connect().invalidate()
    assert heard() == ["close", "connect", "checkout", "invalidate", "close", "checkin"]
    one = pool.connect()
    one.detach()
    one.close()
    assert heard() == ["connect", "checkout", "detach", "reset", "close_detached"]
    one = pool.connect()
    del one
    gc.collect()
    assert heard() == ["connect", "checkout", "reset", "checkin"]
    pool.dispose()
    assert heard() == ["close"]


def test_a_pool_that_is_dropped(kind: Any) -> None:
    """What it held is closed by the driver, and without a word."""
    pool = kind(Connection)
    told = listen(pool)
    pool.connect().close()
    told.clear()
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    assert told == []


def test_engines_that_are_dropped(kind: Any) -> None:
    """Nothing that the pool adds, a listener or a record, keeps an engine."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    def use() -> None:
        engine = create_engine("sqlite://", poolclass=kind)
        alive.update((engine, engine.dialect, engine.pool))
        with engine.connect() as connection:
            connection.detach()
        engine.dispose()
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT 42")) == 42
        alive.add(engine.pool)
        engine.dispose()

    for _ in range(100):
        use()
    gc.collect()
    assert len(alive) == 0


def test_who_waits_in_vain_is_told_so_in_sqlalchemy_s_words(kind: Any) -> None:
    pool = kind(Connection, pool_size=1, max_overflow=1, timeout=0)
    held = [pool.connect(), pool.connect()]
    with pytest.raises(exc.TimeoutError) as caught:
        pool.connect()
    assert caught.value.code == "3o7r"
    assert caught.value.args == (
        "QueuePool limit of size 1 overflow 1 reached, connection timed out, timeout 0.00",
    )
    for fairy in held:
        fairy.close()


def test_the_message_tells_what_kept_others_from_connecting() -> None:
    refuse = True

    def connect() -> Connection:
        if refuse:
            raise ConnectionRefusedError("nobody there")
        return Connection()

    pool = QueuePool(connect, pool_size=1, max_overflow=0, timeout=0)
    with pytest.raises(ConnectionRefusedError):
        pool.connect()
    assert (pool.checkedin(), pool.checkedout()) == (0, 0)
    refuse = False
    fairy = pool.connect()
    with pytest.raises(exc.TimeoutError) as caught:
        pool.connect()
    assert isinstance(caught.value.__cause__, forksafe_pool.PoolTimeout)
    fairy.close()


@pytest.mark.parametrize("anew", [False, True], ids=["made", "made anew"])
def test_who_connects_again_after_failures_waits_a_little(
    monkeypatch: pytest.MonkeyPatch, anew: bool
) -> None:
    """Whether the pool makes a record, or has one whose connection was lost."""
    slept: list[float] = []
    now = time.monotonic()
    for module in ("_clock", "_upkeep"):
        monkeypatch.setattr(f"forksafe_pool.{module}.monotonic", lambda: now)
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(_upkeep, "_chance", lambda: 1.0)
    refused = False

    def connect() -> Any:
        if refused:
            raise OSError("refused")
        return Connection()

    pool = QueuePool(connect)
    if anew:
        fairy = pool.connect()
        fairy.invalidate()
        fairy.close()
    for _ in range(2):
        refused = True
        for _ in range(3):
            with pytest.raises(OSError, match="refused"):
                pool.connect()
        refused = False
        fairy = pool.connect()
        fairy.invalidate()
        fairy.close()
    assert slept == [0.05, 0.1, 0.2] * 2
    assert pool._pool.stats().connect_errors == 6


def test_who_does_not_wait_is_told_by_the_driver_each_time(kind: Any) -> None:
    def creator() -> Any:
        raise OSError("refused")

    pool = kind(creator, timeout=0)
    for _ in range(6):
        with pytest.raises(OSError, match="refused"):
            pool.connect()


def test_numbers(kind: Any) -> None:
    pool = kind(Connection, pool_size=2, max_overflow=1)
    expected = (
        "Pool size: 2  Connections in pool: {} Current Overflow: {} "
        "Current Checked out connections: {}"
    )
    assert pool.status() == expected.format(0, -2, 0)
    held = [pool.connect() for _ in range(3)]
    assert pool.status() == expected.format(0, 1, 3)
    assert (pool.size(), pool.timeout()) == (2, 30.0)
    for fairy in held:
        fairy.close()
    assert pool.status() == expected.format(2, 0, 0)
    assert (pool.checkedin(), pool.checkedout(), pool.overflow()) == (2, 0, 0)
    pool.dispose()
    assert pool.status() == expected.format(0, -2, 0)


@pytest.mark.parametrize(("pool_size", "max_overflow"), [(0, 0), (0, 10), (1, -1)])
def test_no_limit(kind: Any, pool_size: int, max_overflow: int) -> None:
    pool = kind(Connection, pool_size=pool_size, max_overflow=max_overflow, timeout=0)
    held = [pool.connect() for _ in range(30)]
    assert pool.checkedout() == 30
    for fairy in held:
        fairy.close()
    assert pool.checkedin() == (pool_size or 30)
    pool.dispose()


@pytest.mark.parametrize("use_lifo", [False, True])
def test_order(kind: Any, use_lifo: bool) -> None:
    pool = kind(Connection, pool_size=3, max_overflow=1, use_lifo=use_lifo)
    held = [pool.connect() for _ in range(4)]
    conns = [fairy.dbapi_connection for fairy in held]
    for fairy in held:
        fairy.close()
    assert [conn.is_closed for conn in conns] == [False, False, False, True]
    held = [pool.connect() for _ in range(3)]
    order = [fairy.dbapi_connection for fairy in held]
    assert order == (conns[2::-1] if use_lifo else conns[:3])
    for fairy in held:
        fairy.close()


def test_recreate(kind: Any) -> None:
    options = {"use_lifo": True, "timeout": 3, "recycle": 7, "reset_on_return": "commit"}
    pool = kind(Connection, pool_size=3, max_overflow=4, logging_name="shop", **options)
    told = listen(pool)
    again = pool.recreate()
    assert type(again) is kind
    assert (again.size(), again.timeout(), again.logging_name) == (3, 3, "shop")
    assert (again._max_overflow, again._recycle, again._pool.use_lifo) == (4, 7, True)
    again.connect().close()
    assert told == ["first_connect", "connect", "checkout", "reset", "checkin"]


def test_its_name() -> None:
    pool = QueuePool(Connection, logging_name="shop")
    assert [found.name for found in forksafe_pool.pools() if found is pool._pool] == ["shop"]


def test_it_logs_where_sqlalchemy_does(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "sqlalchemy.pool"):
        pool = QueuePool(Connection)
        pool.connect().close()
        pool.dispose()
    assert {record.name for record in caplog.records} == {"sqlalchemy.pool.impl.QueuePool"}
    assert caplog.messages[-1].startswith("Pool disposed. Pool size: 5")


def test_pre_ping(sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = create_engine(sqlite.url, poolclass=QueuePool, pool_pre_ping=True)
    connects: list[object] = []
    event.listen(engine, "connect", lambda *_: connects.append(_))
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    for alive, expected in ((True, 1), (False, 2)):
        monkeypatch.setattr(engine.dialect, "do_ping", lambda _, alive=alive: alive)
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT 1")) == 1
        assert len(connects) == expected
    engine.dispose()


def test_recycle(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("sqlalchemy.pool.base.time.time", lambda: now)
    pool = kind(Connection, recycle=10)
    fairy = pool.connect()
    first = fairy.dbapi_connection
    fairy.close()
    now += 11
    fairy = pool.connect()
    assert first.is_closed
    assert fairy.dbapi_connection is not first
    fairy.close()


def test_reset_on_return(sqlite: Engine) -> None:
    with sqlite.begin() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER)"))
    with sqlite.connect() as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
    with sqlite.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM t")) == 0


@pytest.mark.parametrize("close", [True, False])
def test_an_engine_that_is_disposed_may_be_used_again(sqlite: Engine, close: bool) -> None:
    def answer() -> object:
        with sqlite.connect() as connection:
            return connection.scalar(text("SELECT 42"))

    assert answer() == 42
    held = sqlite.connect()
    sqlite.dispose(close)
    assert answer() == 42
    assert held.scalar(text("SELECT 42")) == 42
    held.close()
    forksafe_pool.close_pools()
    assert answer() == 42


def test_who_waits_gets_what_comes_back(kind: Any) -> None:
    pool = kind(Connection, pool_size=1, max_overflow=0, timeout=LIMIT)
    held = pool.connect()
    conn = held.dbapi_connection
    got: list[object] = []

    def wait() -> None:
        fairy = pool.connect()
        got.append(fairy.dbapi_connection)
        fairy.close()

    thread = threading.Thread(target=wait)
    thread.start()
    held.close()
    thread.join(LIMIT)
    assert got == [conn]


def test_a_creator_may_ask_for_its_record() -> None:
    records: list[object] = []

    def connect(connection_record: object) -> Connection:
        records.append(connection_record)
        return Connection()

    pool = QueuePool(connect)
    fairy: Any = pool.connect()
    assert records == [fairy._connection_record]
    fairy.close()


def test_a_timeout_that_is_no_number_of_seconds() -> None:
    with pytest.raises(TypeError, match="timeout must be a number of seconds, not 'soon'"):
        QueuePool(Connection, timeout="soon")  # type: ignore[arg-type]


def test_listeners_that_fail_are_heard(kind: Any) -> None:
    """A listener's error reaches who caused the event, and no place in the pool is lost."""
    pool = kind(Connection, pool_size=1, max_overflow=0, timeout=0)
    fail = True

    def listener(*_: Any) -> None:
        if fail:
            raise RuntimeError("no")

    event.listen(pool, "connect", listener)
    connect: Callable[[], Any] = pool.connect
    with pytest.raises(RuntimeError, match="no"):
        connect()
    fail = False
    connect().close()
    event.listen(pool, "close", listener)
    fail = True
    with pytest.raises(RuntimeError, match="no"):
        pool.dispose()
    fail = False


def test_a_server_s_last_hook_waits_for_what_is_in_use() -> None:
    pool = QueuePool(Connection, pool_size=1, max_overflow=0)
    held = pool.connect()
    driver_s: Any = held.dbapi_connection
    (mine,) = (each for each in forksafe_pool.pools() if each is pool._pool)
    closer = Caller(lambda: mine.close(LIMIT))  # as close_pools() does
    eventually(lambda: bool(pool._pool._ledger.closers))
    held.close()
    assert closer.result(LIMIT)
    assert driver_s.is_closed
    pool.connect().close()  # an engine may be used again


def test_drain_replaces_every_connection() -> None:
    """As for any pool of the process: after a failover, or a change of the password."""
    pool = QueuePool(Connection, pool_size=2, max_overflow=0)
    held, idle = pool.connect(), pool.connect()
    driver_s: list[Any] = [held.dbapi_connection, idle.dbapi_connection]
    idle.close()
    pool._pool.drain()
    assert [conn.is_closed for conn in driver_s] == [False, True]
    held.close()
    assert [conn.is_closed for conn in driver_s] == [True, True]
    assert (pool.checkedin(), pool.checkedout()) == (0, 0)
    fairy = pool.connect()
    assert fairy.dbapi_connection not in driver_s
    fairy.close()
    assert pool.checkedin() == 1
