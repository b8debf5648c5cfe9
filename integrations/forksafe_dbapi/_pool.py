"""The pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import forksafe_pool
from forksafe_dbapi._driver import C, DbapiDriver
from forksafe_pool import extend

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from forksafe_pool.extend import PoolOptions


class Pool(forksafe_pool.Pool[C]):
    """A pool of DB-API connections.

    A transaction that a connection comes back with is rolled back, as PEP 249 has it for one that
    is closed: commit what is to stay. A connection that cannot roll back is closed and replaced.
    So is one that is released in the ``finally`` of an exception and answers what was asked before.

    What else a user changes in a session (autocommit, ``SET``, temporary tables) stays, but for a
    `reset`. `configure` and `reset` have to commit what they do.

    What the pool itself raises is a `forksafe_pool.PoolError` and no error of the driver's, which
    nobody knows before it has connected: ``except (PoolError, psycopg2.OperationalError)``.

    A block that ends because the server is read-only (PostgreSQL's 25006, MySQL's 1290, 1792 and
    1836: a failover) drains the pool, so that it costs one error. An ``evict_on`` of
    yours replaces this rule. ``pool.drain()`` does the same where the block handles the error. What
    is released by hand while such an error is handled (in a ``finally``) is closed, and no other.

    Parameters:
        connect: makes a connection. The ``timeout`` of `acquire` bounds it where it can be told,
            in whole seconds, one at least. Bind the arguments by ``functools.partial``::

                Pool(partial(psycopg2.connect, "dbname=shop"))
                Pool(partial(pymysql.connect, host="localhost", database="shop"))
                Pool(partial(MySQLdb.connect, host="localhost", database="shop"))

            or write a function with a parameter ``timeout``, which gets what is left in seconds
            (None: no limit), or with one ``connect_timeout`` that has a default. A shorter limit
            that is bound already stays. A ``lambda: …`` takes as long as the driver does, and so do
            the statements with which mysqlclient begins a session: bind its ``read_timeout``.
        reset: a function, as in `forksafe_pool.Pool`, or a statement, ``"DISCARD ALL"``, which runs
            outside a transaction where the driver has autocommit as an attribute. With it the
            connection gets back the attributes it had (``autocommit``, ``isolation_level``,
            ``cursor_factory`` …), and `configure` prepares it again, whose ``SET`` is gone as well.
            MariaDB and MySQL have no such statement, but a command. With PyMySQL::

                def reset(conn):
                    conn._execute_command(0x1F, b"")  # COM_RESET_CONNECTION
                    conn._read_ok_packet()
                    conn.set_character_set("utf8mb4")
                    conn.select_db("shop")
                    conn.autocommit(False)

            With mysqlclient::

                def reset(conn):
                    conn.change_user("user", "password", "shop")
                    conn.set_character_set("utf8mb4")
                    conn.autocommit(False)

        test_query: what a connection is asked after an error, with ``{}`` for a number:
            ``"VALUES {}"``. By default ``"SELECT {}"``, and what they take for the drivers of
            Oracle, Firebird, SAP HANA and Db2.
        options: those of `forksafe_pool.Pool`. A driver whose connections show their socket neither
            as ``fileno()`` nor as ``sock`` or ``_sock`` needs ``fileno=``.
    """

    def __init__(
        self,
        connect: Callable[..., C],
        *,
        reset: Callable[[C], object] | str | None = None,
        test_query: str | None = None,
        **options: Unpack[PoolOptions[C]],
    ) -> None:
        callbacks, others = extend.options.split(options)
        driver: DbapiDriver[C] = DbapiDriver(
            connect, reset=reset, test_query=test_query, **callbacks
        )
        super().__init__(driver=driver, **others)
