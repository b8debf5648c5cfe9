"""A connection for the duration of a ``with`` block, which is a transaction."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from psycopg import Connection, ProgrammingError
from psycopg.pq import PipelineStatus, TransactionStatus

from forksafe_pool.extend import Lease


class Transaction(Lease[Connection[Any]]):
    """Returned by `Pool.connection`: commits at the end of the block."""

    __slots__ = ()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        conn = None if self._slot is None else self._slot.conn
        if kind is None and conn is not None and not conn.closed and self.holds():
            try:
                _commit(conn)
            except BaseException as failed:
                super().__exit__(type(failed), failed, failed.__traceback__)
                raise
        super().__exit__(kind, error, traceback)


def _commit(conn: Connection[Any]) -> None:
    pgconn = conn.pgconn
    if conn.lock.locked() or (
        pgconn.transaction_status == TransactionStatus.ACTIVE
        and pgconn.pipeline_status == PipelineStatus.OFF
    ):
        # A COPY, a stream() or a notifies() holds the lock; commit() would wait for it forever.
        raise ProgrammingError(
            "the block ended in the middle of a statement, so nothing was committed: end every "
            "copy(), stream() and notifies() in the block"
        )
    conn.commit()
