"""What an error of a DB-API driver says about the server. No driver is imported here: errors are
recognised by their codes and by the class names of PEP 249."""

from __future__ import annotations

_READ_ONLY_SQL_TRANSACTION = "25006"  # PostgreSQL's

# MySQL's and MariaDB's. 1290: --read-only (or another option) prevents the statement; 1792: the
# transaction is read-only; 1836: the server is in read-only mode.
_OPTION_PREVENTS_STATEMENT = 1290
_READ_ONLY = {1792, 1836}

# The first set concerns the connection, the second the statement.
_OF_THE_CONNECTION = {"OperationalError", "InterfaceError"}
_OF_THE_REQUEST = {"ProgrammingError", "DataError", "IntegrityError", "NotSupportedError"}


def is_read_only(error: BaseException | None) -> bool:
    """Whether the error, or one in its chain of causes, says that the server is read-only."""
    for _ in range(10):  # a chain may be circular
        if error is None:
            return False
        states = (getattr(error, "pgcode", None), getattr(error, "sqlstate", None))
        if _READ_ONLY_SQL_TRANSACTION in states:
            return True
        code = error.args[0] if error.args else None
        if type(code) is int and code in _READ_ONLY:
            return True
        if code == _OPTION_PREVENTS_STATEMENT and "read" in str(error.args[1:]).lower():
            return True
        error = error.__cause__
    return False


def names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def is_of_the_connection(error: Exception) -> bool:
    return isinstance(error, OSError) or not _OF_THE_CONNECTION.isdisjoint(names(error))


def is_of_the_request(error: Exception) -> bool:
    return not is_of_the_connection(error) and not _OF_THE_REQUEST.isdisjoint(names(error))
