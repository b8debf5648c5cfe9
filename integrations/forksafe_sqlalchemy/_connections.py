"""Fork-aware versions of SQLAlchemy's record and fairy: each knows the process that made it.

A record holds a driver connection and belongs to the pool. A fairy holds a connection in use, and
belongs to the user: an ``engine.connect()``, a ``Session``.
"""

from __future__ import annotations

import weakref
from typing import Any, Protocol

from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.pool.base import _ConnectionFairy, _ConnectionRecord

from forksafe_pool import pools
from forksafe_pool.extend import Descriptor, Sentinel, find_socket, sentinel
from forksafe_sqlalchemy._errors import PoolError

_fairy_ref: Any = _ConnectionRecord.__dict__["fairy_ref"]


class Owner(Protocol):
    """The SQLAlchemy pool that records and fairies belong to."""

    _dialect: Any
    _pool: Any


def _has_begun(conn: Any) -> bool:
    """Whether a rollback sends anything to the server, as far as the driver knows."""
    if hasattr(conn, "pgconn"):  # psycopg
        return bool(conn.pgconn.transaction_status)
    status = getattr(conn, "get_transaction_status", None)  # psycopg2
    return status is None or bool(status())


class Record(_ConnectionRecord):
    """A slot of the pool. In a child, an inherited record is not in use."""

    #: Seconds that the caller waited for it.
    waited = 0.0
    #: Seconds left of the caller's timeout when it connects. None: no limit.
    seconds_to_connect: float | None = None
    #: PyMySQL's read timeouts, during the connect and afterwards.
    read_timeouts: tuple[float | None, float | None] = (None, None)

    def __init__(self, pool: Any) -> None:
        self.alive = sentinel()
        self._queue_pool: Owner = pool
        #: The recorded descriptor of its connection.
        self.descriptor = Descriptor()
        super().__init__(pool, connect=False)

    @property
    def dialect(self) -> Any:
        return self._queue_pool._dialect

    def record_descriptor(self) -> None:
        """Record the descriptor after a connect. Not every driver exposes it, and mocks in
        SQLAlchemy's tests count their calls, so they are not called."""
        conn: Any = self.dbapi_connection
        sock = find_socket(conn)
        if sock is not None:
            self.descriptor.record(sock.fileno(), conn)
        elif hasattr(type(conn), "fileno"):
            self.descriptor.record(conn.fileno(), conn)

    @property
    def fairy_ref(self) -> weakref.ref[_ConnectionFairy] | None:
        """SQLAlchemy checks this before it resets a connection and releases it."""
        if not self.alive:
            pools()  # severs it in a child, if that is not done yet
            return None
        found: weakref.ref[_ConnectionFairy] | None = _fairy_ref.__get__(self)
        return found

    @fairy_ref.setter
    def fairy_ref(self, value: weakref.ref[_ConnectionFairy] | None) -> None:
        _fairy_ref.__set__(self, value)


class Fairy(_ConnectionFairy):
    """The user's proxy of a connection. In a child it can only be dropped."""

    __slots__ = ()

    _pool: Any  # an `Owner`
    alive: Sentinel

    @staticmethod
    def of(fairy: Any) -> PoolProxiedConnection:
        """Convert a fairy, since SQLAlchemy creates only its own class, to a `Fairy`."""
        record = fairy._connection_record
        fairy.alive = sentinel() if record is None else record.alive
        fairy.__class__ = Fairy
        return fairy  # type: ignore[no-any-return]

    def _is_ours(self) -> bool:
        """Whether this process made it. If not, it is severed."""
        if self.alive:
            return True
        pools()
        return False

    def _let_go(self) -> None:
        self.dbapi_connection = None  # type: ignore[assignment]
        self._connection_record = None

    @property
    def is_valid(self) -> bool:
        """SQLAlchemy does not roll back an invalid connection."""
        return self._is_ours() and super().is_valid

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        self._is_ours()
        return super().cursor(*args, **kwargs)

    def __getattr__(self, key: str) -> Any:
        self._is_ours()
        return super().__getattr__(key)

    def rollback(self) -> None:
        """Roll back the driver's connection."""
        if not self._is_ours():
            return
        conn = self.dbapi_connection
        if _has_begun(conn) and not self._pool._pool.may_send(conn):
            raise PoolError(
                "the connection is lost: the program has closed the descriptor of its socket, as a "
                "daemon does that closes all; use a new connection"
            )
        conn.rollback()

    def _checkin(self, transaction_was_reset: bool = False) -> None:
        if self._is_ours():
            super()._checkin(transaction_was_reset)
        else:
            self._let_go()

    def invalidate(self, e: BaseException | None = None, soft: bool = False) -> None:
        if self._is_ours():
            super().invalidate(e, soft)
        else:
            self._let_go()

    def detach(self) -> None:
        if self._is_ours() and not self.is_detached:
            super().detach()
            self._pool._pool.watch_over(self)
