"""What a user would pick instead, with connections that do nothing.

Each is made with room for ``size`` connections and shown as two functions of its own, to acquire
and to release, as its users call them.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import psycopg
import psycopg_pool
import pymemcache.pool
import redis
import sqlalchemy.pool
import urllib3
from psycopg.pq import TransactionStatus

from forksafe_pool import Pool

OURS = "forksafe_pool"


class Peer(NamedTuple):
    acquire: Callable[[], Any]
    release: Callable[[Any], object]
    #: To be kept, and closed in the end.
    pool: Any


#: Nobody reads or writes: it is what each `Dummy` shows as its socket.
_SOCKET, _OTHER = socket.socketpair()


class Dummy:
    """What any driver's connection may be asked for."""

    is_connected = True  # urllib3
    proxy_is_verified = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def close(self) -> None:
        pass

    def rollback(self) -> None:
        pass

    def fileno(self) -> int:
        return _SOCKET.fileno()


class RedisDummy(redis.connection.AbstractConnection):
    """redis-py's, but for the socket."""

    def connect(self) -> None:
        pass

    def can_read(self, *args: Any, **kwargs: Any) -> bool:
        return False

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        pass

    def _connect(self) -> Any:
        raise NotImplementedError

    def _host_error(self) -> str:
        return ""

    def repr_pieces(self) -> list[tuple[str, Any]]:
        return []


class PsycopgDummy(psycopg.Connection[Any]):
    """What psycopg_pool looks at."""

    pgconn: Any = SimpleNamespace(transaction_status=TransactionStatus.IDLE)
    closed = False

    def __init__(self) -> None:
        pass

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> Any:
        return cls()

    def close(self) -> None:
        pass

    def __del__(self, *_: Any) -> None:
        pass


def ours(size: int) -> Peer:
    pool = Pool(Dummy, max_size=size)
    return Peer(pool.acquire, pool.release, pool)


def redis_py(size: int) -> Peer:
    pool = redis.ConnectionPool(connection_class=RedisDummy, max_connections=size)
    return Peer(pool.get_connection, pool.release, pool)


def redis_py_blocking(size: int) -> Peer:
    pool = redis.BlockingConnectionPool(connection_class=RedisDummy, max_connections=size)
    return Peer(pool.get_connection, pool.release, pool)


def sql_alchemy(size: int) -> Peer:
    creator: Any = Dummy
    pool = sqlalchemy.pool.QueuePool(creator, pool_size=size, max_overflow=0)
    return Peer(pool.connect, lambda conn: conn.close(), pool)


def psycopg3(size: int) -> Peer:
    pool = psycopg_pool.ConnectionPool(
        "", min_size=size, max_size=size, connection_class=PsycopgDummy, open=True
    )
    pool.wait()
    return Peer(pool.getconn, pool.putconn, pool)


def urllib_3(size: int) -> Peer:
    pool: Any = urllib3.HTTPConnectionPool("localhost", maxsize=size, block=True)
    pool.ConnectionCls = Dummy
    return Peer(pool._get_conn, pool._put_conn, pool)


def pymemcache_(size: int) -> Peer:
    pool: Any = pymemcache.pool.ObjectPool(Dummy, max_size=size)
    return Peer(pool.get, pool.release, pool)


def lifo_queue(size: int) -> Peer:
    pool: Any = queue.LifoQueue(size)
    for _ in range(size):
        pool.put(Dummy())
    return Peer(pool.get, pool.put, pool)


class LockAndDeque:
    """The floor: what any pool for threads does at least."""

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()
        self._idle = deque(Dummy() for _ in range(size))

    def acquire(self) -> Dummy:
        with self._lock:
            return self._idle.pop()

    def release(self, conn: Dummy) -> None:
        with self._lock:
            self._idle.append(conn)


def lock_and_deque(size: int) -> Peer:
    floor = LockAndDeque(size)
    return Peer(floor.acquire, floor.release, floor)


def bare_deque(size: int) -> Peer:
    floor = deque(Dummy() for _ in range(size))
    return Peer(floor.pop, floor.append, floor)


#: Pools that let the caller wait for a connection.
WAITING: dict[str, Callable[[int], Peer]] = {
    OURS: ours,
    "psycopg_pool": psycopg3,
    "SQLAlchemy QueuePool": sql_alchemy,
    "redis-py BlockingConnectionPool": redis_py_blocking,
    "urllib3 HTTPConnectionPool": urllib_3,
    "queue.LifoQueue": lifo_queue,
}
POOLS: dict[str, Callable[[int], Peer]] = {
    **WAITING,
    "redis-py ConnectionPool": redis_py,
    "pymemcache ObjectPool": pymemcache_,
}
FLOORS: dict[str, Callable[[int], Peer]] = {
    "a lock and a deque": lock_and_deque,
    "a bare deque": bare_deque,
}


def close(peers: dict[str, Peer]) -> None:
    """psycopg_pool has threads."""
    for peer in peers.values():
        if isinstance(peer.pool, psycopg_pool.ConnectionPool):
            peer.pool.close()
