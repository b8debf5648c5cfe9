"""SQLAlchemy's ``QueuePool``, for engines that are made before a fork and used after it.

::

    from sqlalchemy import create_engine
    from forksafe_sqlalchemy import QueuePool

    engine = create_engine("postgresql+psycopg://…", poolclass=QueuePool)  # at import

Workers need no ``engine.dispose()``: each starts with an empty pool.

If the server reports that it is read-only (PostgreSQL's 25006; MySQL's 1290, 1792 and 1836) after a
failover, every connection is replaced before its next use, so a failover costs one error. A
``handle_error`` listener that sets ``context.invalidate_pool_on_disconnect = False`` keeps the
other connections.

Session state stays for the next user: ``SET``, temporary tables, locks, LISTEN, prepared
statements. For PostgreSQL the option ``reset="DISCARD ALL"`` of `create_engine` discards them.
MariaDB and MySQL have a command instead of such a statement. With PyMySQL::

    @event.listens_for(engine, "reset")
    def reset(conn, record, state):
        if not state.terminate_only:
            conn._execute_command(0x1F, b"")  # COM_RESET_CONNECTION
            conn._read_ok_packet()
            conn.select_db("shop")  # the one thing that it leaves
            conn.set_character_set(conn.charset)
            conn.autocommit(False)

With mysqlclient, in the same place::

            conn.change_user("user", "password", "shop")
            conn.autocommit(False)
"""

from forksafe_sqlalchemy._pool import QueuePool

__all__ = ["QueuePool"]
