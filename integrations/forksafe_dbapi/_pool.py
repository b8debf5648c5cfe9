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

    An open transaction is rolled back on release, as PEP 249 specifies for close: commit your
    changes. A connection that cannot roll back is closed and replaced. So is a connection that is
    released in the ``finally`` of an exception and returns the reply to an earlier statement.

    Other session state (autocommit, ``SET``, temporary tables) stays, unless there is a `reset`.
    `configure` and `reset` must commit.

    The pool raises `forksafe_pool.PoolError`, not errors of the driver, which it does not know
    before it has connected: use ``except (PoolError, psycopg2.OperationalError)``.

    A block that ends because the server is read-only (PostgreSQL's 25006, MySQL's 1290, 1792 and
    1836: a failover) drains the pool, so a failover costs one error. ``evict_on`` replaces this
    rule. If the block handles the error itself, call ``pool.drain()``. A connection that is
    explicitly released while such an error is handled (in a ``finally``) is closed; the others are
    not.

    Parameters:
        connect: makes a connection. If possible, the ``timeout`` of `acquire` bounds it, in whole
            seconds and at least one. Bind the arguments with ``functools.partial``::

                Pool(partial(psycopg2.connect, "dbname=shop"))
                Pool(partial(pymysql.connect, host="localhost", database="shop"))
                Pool(partial(MySQLdb.connect, host="localhost", database="shop"))

            or write a function with a parameter ``timeout``, which receives the seconds left
            (None: no limit), or with a parameter ``connect_timeout`` that has a default. A shorter
            limit that is already bound is kept. A ``lambda: …`` has only the driver's own limit,
            and so have the initial statements of mysqlclient: bind its ``read_timeout``.
        reset: a function, as in `forksafe_pool.Pool`, or a statement, ``"DISCARD ALL"``, which runs
            outside a transaction if the driver has autocommit as an attribute. After a statement
            the connection's attributes (``autocommit``, ``isolation_level``, ``cursor_factory`` …)
            are restored, and `configure` runs again, because its ``SET`` is discarded too.
            MariaDB and MySQL have a command instead of such a statement. With PyMySQL::

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

        test_query: the query that tests a connection after an error; ``{}`` is replaced by a
            number: ``"VALUES {}"``. The default is ``"SELECT {}"``, or its equivalent for the
            drivers of Oracle, Firebird, SAP HANA and Db2.
        options: those of `forksafe_pool.Pool`. ``fileno=`` is required for a driver whose
            connections expose their socket neither as ``fileno()`` nor as ``sock`` or ``_sock``.
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
