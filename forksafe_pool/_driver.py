"""The driver's side of a pool: how a connection is made, checked, prepared, closed and severed."""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from forksafe_pool import _options
from forksafe_pool._errors import PoolError
from forksafe_pool._fork.descriptor import Descriptor, find_descriptor, is_closed, owns_descriptor
from forksafe_pool._fork.sever import DeadEnd, is_readable, sever

C = TypeVar("C")
E = TypeVar("E", bound=PoolError)

logger = logging.getLogger("forksafe_pool")

# Errors of code, not of a server, unless they are an OSError as well, as ssl's are.
_MISTAKES = (
    *(ArithmeticError, AssertionError, AttributeError, BufferError, ImportError, LookupError),
    *(MemoryError, NameError, NotImplementedError, PoolError, RecursionError, ReferenceError),
    *(StopIteration, SyntaxError, SystemError, TypeError, ValueError),
)


class Driver(Generic[C]):
    """The driver's side of one pool: the callbacks of `Pool`, and the defaults without them.

    A subclass overrides methods where callbacks are not enough, and is passed as
    ``Pool(driver=…)``. If it overrides `connect`, it needs no callbacks.

    Parameters:
        connect, check, configure, reset, close, fileno, evict_on: as for `Pool`.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
    """

    #: Which error to raise instead of each of the pool's, to match the library's own errors too.
    error_classes: Mapping[type[PoolError], type[PoolError]] = {}

    #: The name of its pool, for messages.
    pool_name = "a pool"

    def __init__(
        self,
        connect: Callable[..., C] | None = None,
        *,
        check: Callable[[C], object] | None = None,
        configure: Callable[[C], object] | None = None,
        reset: Callable[[C], object] | None = None,
        close: Callable[[C], object] | None = None,
        fileno: Callable[[C], int] | None = None,
        evict_on: Callable[[BaseException], object] | None = None,
    ) -> None:
        self._is_assigned = False
        if connect is None and type(self).connect is not Driver.connect:
            connect = self._no_callback
        self._connect: Callable[..., C] = _options.connect_function(connect)
        self._timeout = _options.takes_timeout(self._connect)
        self._check = _options.function_or_none("check", check, "conn")
        self._configure = _options.function_or_none("configure", configure, "conn")
        self._reset = _options.function_or_none("reset", reset, "conn")
        self._close = _options.function_or_none("close", close, "conn")
        self._fileno = _options.function_or_none("fileno", fileno, "conn") or find_descriptor
        self._evict_on = _options.judge_of_errors_or_none("evict_on", evict_on)

    @property
    def has_reset(self) -> bool:
        """Whether `reset` does anything."""
        return self._reset is not None or type(self).reset is not Driver.reset

    @staticmethod
    def _no_callback() -> C:
        raise NotImplementedError("this driver has no connect callback")

    def assign_to(self, pool_name: str) -> None:
        """Bind the driver to its pool. Raises ValueError if it belongs to another one already."""
        if self._is_assigned:
            raise ValueError(
                f"driver already belongs to {self.pool_name}: create another one for {pool_name}"
            )
        self._is_assigned, self.pool_name = True, pool_name

    def error(self, kind: type[E], message: str) -> E:
        """An error of the pool, as `error_classes` has it."""
        return self.error_classes.get(kind, kind)(message)  # type: ignore[return-value]

    def connect(self, timeout: float | None) -> C:
        """Make a connection; tell ``connect`` how long it may take, if it asks for that.

        Parameters:
            timeout: what is left of the caller's timeout, in seconds. None: no limit.
        """
        parameter = self._timeout
        if parameter is None:
            return self._connect()
        default = parameter.default
        if default is parameter.empty:
            return self._connect(timeout=timeout)
        # Its own shorter limit is kept.
        if timeout is None or (default is not None and default <= timeout):
            return self._connect()
        return self._connect(timeout=timeout)

    def is_server_failure(self, error: Exception) -> bool:
        """Whether a failed attempt to connect says something about the server.

        If so the next attempt waits a little. A mistake in ``connect`` says nothing of the kind,
        nor does what a signal's handler has raised meanwhile, of which this is not asked.
        """
        return isinstance(error, OSError) or not isinstance(error, _MISTAKES)

    def is_connected(self, conn: C) -> bool:
        """Whether a new connection has reached its server; else that is no success."""
        return True

    def must_evict(self, error: BaseException) -> bool:
        """Whether the error that ended a block means that every connection must be replaced."""
        if self._evict_on is None:
            return False
        try:
            result = self._evict_on(error)
        except Exception:
            logger.warning("%s: evict_on failed, nothing is closed", self.pool_name, exc_info=True)
            return False
        if inspect.isawaitable(result):
            logger.error("%s", self._is_async("evict_on", result))
            return False
        return bool(result)

    def validate_new(self, conn: Any, connections: dict[int, C]) -> PoolError | None:
        """What is wrong with what ``connect`` returned."""
        if inspect.isawaitable(conn):
            return self._is_async("connect", conn)
        if conn is None or isinstance(conn, int | float | str | bytes):
            return self.error(
                PoolError, f"connect of {self.pool_name} returned {conn!r}, not a connection"
            )
        if id(conn) in connections:
            return self.error(
                PoolError,
                f"connect of {self.pool_name} returned a connection that the pool holds "
                f"already: {conn!r}; it must make a new one each time",
            )
        if is_closed(conn):
            return self.error(
                PoolError, f"connect of {self.pool_name} returned a closed connection: {conn!r}"
            )
        return None

    def _is_async(self, name: str, result: Any) -> PoolError:
        if inspect.iscoroutine(result):
            result.close()  # else Python warns that nobody has awaited it
        return self.error(
            PoolError, f"{name} of {self.pool_name} is async: the pool is for threads"
        )

    def descriptor_of(self, conn: C) -> Descriptor:
        """The record of a new connection's descriptor, which `record_descriptor` fills in."""
        return Descriptor()

    def record_descriptor(self, conn: C, descriptor: Descriptor) -> bool:
        """Record the descriptor of a new connection. Raises TypeError if `fileno` returns none.

        Returns False if the connection is not connected yet: the pool tries again when the
        connection is released.
        """
        number: Any = -1
        try:
            number = self.fileno(conn)
        except LookupError:
            return True  # it shows none: there is nothing to be seen later either
        except Exception:
            return False
        if type(number) is not int:
            raise TypeError(
                f"fileno of {self.pool_name} must return a descriptor, a whole number, or -1 where "
                f"there is none; it returned {number!r}"
            )
        if number >= 0:
            descriptor.record(number, conn)
        return number >= 0

    def fileno(self, conn: C) -> int:
        """Return the descriptor of the connection's socket, or -1 if it is not connected.

        It also runs inside the at-fork hook: no I/O and no lock. Raises LookupError if the
        connection does not expose a socket.
        """
        return self._fileno(conn)

    def configure(self, conn: C) -> None:
        result = self._configure(conn) if self._configure is not None else None
        if inspect.isawaitable(result):
            raise self._is_async("configure", result)

    def is_alive(self, conn: C) -> bool:
        if self._check is not None:
            try:
                result = self._check(conn)
            except Exception:
                return False
            if inspect.isawaitable(result):
                raise self._is_async("check", result)
            return result is not False
        try:
            number = self.fileno(conn)
        except LookupError:
            return True  # a driver that shows no socket: nothing to judge by
        except Exception:
            return False
        try:
            return number >= 0 and not is_readable(number)
        except (OSError, ValueError):
            return False

    def owns_descriptor(self, conn: C, descriptor: Descriptor) -> bool:
        """Whether its descriptor leads to it. Where not, it was closed behind the pool's back,
        and the number may be anybody's."""
        return owns_descriptor(conn, self.fileno, descriptor)

    def reset_sends(self, conn: C) -> bool:
        """Whether `reset` may say anything to the server."""
        return self.has_reset

    def is_synchronized(self, conn: C) -> bool:
        """Whether every reply has been read, though an exception has ended the block; nothing is
        raised. Where it cannot be told, that is left to `reset`."""
        return True

    def reset(self, conn: C) -> bool:
        """Prepare a released connection; False if it is not fit for the next user."""
        try:
            result = None if self._reset is None else self._reset(conn)
        except Exception:
            logger.warning(
                "%s: reset failed, the connection is closed", self.pool_name, exc_info=True
            )
            return False
        if inspect.isawaitable(result):
            raise self._is_async("reset", result)
        return result is not False

    def close(self, conn: Any) -> None:
        try:
            if self._close is not None:
                result = self._close(conn)
                if inspect.isawaitable(result):
                    logger.error("%s", self._is_async("close", result))
            elif hasattr(conn, "close"):
                conn.close()
        except Exception:
            logger.debug("%s: closing a connection failed", self.pool_name, exc_info=True)

    def sever(self, conn: C, dead_end: DeadEnd, descriptor: Descriptor) -> bool:
        """Cut an inherited connection off, or forget the descriptor where it is not its own; False
        where the connection must be kept for ever.

        May run inside an at-fork callback: no lock, no log, no I/O, nothing raised but what a
        signal's handler raises.
        """
        return sever(conn, self.fileno, dead_end, descriptor)

    def unwrap(self, conn: C) -> object:
        """What of it closes its descriptor when it is freed, and refers to no pool."""
        return conn

    def close_severed(self, conn: C) -> None:
        """Close an inherited connection that was idle. It is severed, so a goodbye fails."""
        with contextlib.suppress(Exception):
            self.close(conn)

    def free_severed(self, conn: C) -> None:
        """Let go of an inherited connection that was in use: it must not be used here.

        Not closed: a thread that does not exist here may have held the driver's lock on it.
        """


def driver_or_callbacks(driver: Driver[C] | None, callbacks: Mapping[str, Any]) -> Driver[C]:
    """Return ``driver``, or a driver that calls the callbacks. Raises TypeError for both."""
    if driver is None:
        return Driver(**callbacks)
    if not isinstance(driver, Driver):
        raise TypeError(f"driver must be a forksafe_pool.extend.Driver, not {driver!r}")
    given = [name for name, callback in callbacks.items() if callback is not None]
    if given:
        raise TypeError(
            f"give Pool a driver or callbacks, not both: pass {', '.join(given)} to the driver"
        )
    return driver
