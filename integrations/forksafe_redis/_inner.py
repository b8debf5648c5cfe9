"""The `forksafe_pool.Pool` inside a redis-py pool."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redis.connection import AbstractConnection

from forksafe_pool import Pool
from forksafe_pool._ledger import Ledger
from forksafe_pool._sever import DeadEnd
from forksafe_redis import _connection

if TYPE_CHECKING:
    from forksafe_redis._pool import ConnectionPool


class Connections(Pool[Any]):
    """Makes, checks and closes connections as its owner says, and severs them as redis-py needs.

    Refers to its owner weakly: the owner holds it, and a cycle would keep the sockets of a dropped
    pool open until the collector comes by.
    """

    def __init__(self, owner: ConnectionPool, **options: Any) -> None:
        reference = weakref.ref(owner)

        def asking(method: str) -> Callable[..., Any]:
            def ask(*args: Any) -> Any:
                owner = reference()
                assert owner is not None
                return getattr(owner, method)(*args)

            return ask

        def close(conn: Any) -> None:
            owner = reference()
            if owner is None:
                conn.disconnect()
            else:
                owner._close(conn)

        counts = issubclass_of(owner.connection_class, AbstractConnection)
        super().__init__(
            asking("make_connection"),
            configure=asking("_connect"),
            check=asking("_is_alive"),
            reset=asking("_take_back"),
            close=close,
            fileno=_connection.find_descriptor if counts else None,
            **options,
        )

    def _sever(self, conn: Any, dead_end: DeadEnd) -> bool:
        severed = super()._sever(conn, dead_end)
        if severed and isinstance(_connection.bare(conn), AbstractConnection):
            with contextlib.suppress(Exception):
                _connection.make_usable_after_fork(conn)
        return severed

    def _sever_inherited(self, ledger: Ledger[Any]) -> None:
        # What the parent counted, and a child that starts from zero must count off: outside the
        # at-fork hook. A child that forks before its first use passes it on.
        idle = used = 0
        if ledger.ancestor is not None:
            idle, used = ledger.ancestor.notes.pop("to_count_off", (0, 0))
            idle += len(ledger.ancestor.available)
            used += len(ledger.ancestor.in_use)
        ledger.notes["to_count_off"] = (idle, used)
        super()._sever_inherited(ledger)

    def _close_severed(self, conn: Any) -> None:
        if isinstance(_connection.bare(conn), AbstractConnection):
            _connection.forget_socket(conn)
        else:
            super()._close_severed(conn)

    def _ignore(self, ledger: Ledger[Any], conn: Any) -> None:
        super()._ignore(ledger, conn)
        # An inherited connection that its holder reconnected here has a socket of this process,
        # which nobody else will close.
        if getattr(conn, "pid", None) not in (None, os.getpid()):
            _connection.forget_socket(conn)

    def for_each_idle(self, function: Callable[[Any], object]) -> None:
        """Call ``function`` with each available connection, while nobody else can have it."""
        ledger = self._checkpid()
        for place in tuple(ledger.available):
            try:
                ledger.available.remove(place)
            except ValueError:  # somebody has acquired it
                continue
            try:
                function(place.conn)
            finally:
                self._put_back(ledger, place)

    def close(self, timeout: float | None = 5.0) -> bool:
        """Close what is available. Unlike other pools a redis-py pool may be used again."""
        ledger = self._checkpid()
        self._close_idle(ledger)
        return ledger.taken == 0


def issubclass_of(value: Any, base: type) -> bool:
    return isinstance(value, type) and issubclass(value, base)
