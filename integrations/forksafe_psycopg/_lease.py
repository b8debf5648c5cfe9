"""A connection for the length of a ``with`` block, which is a transaction."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from psycopg import Connection, ProgrammingError
from psycopg.pq import PipelineStatus, TransactionStatus

from forksafe_pool._lease import Lease


class Transaction(Lease[Connection[Any]]):
    """What `Pool.connection` returns: it commits at the end."""

    __slots__ = ()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None and self._is_ours() and not self._conn.closed:
            try:
                self._commit()
            except BaseException as failed:
                super().__exit__(type(failed), failed, failed.__traceback__)
                raise
        super().__exit__(kind, error, traceback)

    def _is_ours(self) -> bool:
        """False in a child that was forked in the block: the transaction is its parent's."""
        return id(self._conn) in self._pool._checkpid().in_use

    def _commit(self) -> None:
        pgconn = self._conn.pgconn
        if (
            pgconn.transaction_status == TransactionStatus.ACTIVE
            and pgconn.pipeline_status == PipelineStatus.OFF
        ):
            # commit() would wait for it, for ever: a COPY or a stream() holds the lock.
            raise ProgrammingError(
                "the block ended in the middle of a statement, so nothing was committed: end "
                "every copy() and stream() in the block"
            )
        self._conn.commit()
