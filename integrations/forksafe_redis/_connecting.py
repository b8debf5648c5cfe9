"""Connect a redis-py connection within the time left of its caller's timeout."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from redis.connection import AbstractConnection
from redis.exceptions import TimeoutError as RedisTimeoutError

from forksafe_pool.extend import Deadline
from forksafe_redis._errors import ConnectTimeout

if TYPE_CHECKING:
    _Base = AbstractConnection
else:
    _Base = object

# Seconds. A socket with timeout 0 does not block.
_SHORTEST = 0.001


class LimitsConnecting(_Base):
    """A connection whose connect, including the handshake, can have a time limit.

    redis-py applies its timeouts to each step: to each address of a host name, to each reply of the
    handshake, to each attempt of its `retry`. Here the time left bounds each step, and so the sum.
    The user's own timeouts are kept if they are shorter, and apply again afterwards.
    """

    #: The caller's deadline; None if there is none, and after the connect.
    _deadline: Deadline | None = None
    #: True while the socket is opened.
    _is_opening = False

    # redis-py applies these to the socket that it opens, and its parser keeps the first value.

    @property
    def socket_timeout(self) -> Any:
        return self._limited(self._socket_timeout) if self._is_opening else self._socket_timeout

    @socket_timeout.setter
    def socket_timeout(self, value: Any) -> None:
        self._socket_timeout = value

    @property
    def socket_connect_timeout(self) -> Any:
        seconds = self._socket_connect_timeout
        return self._limited(seconds) if self._is_opening else seconds

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, value: Any) -> None:
        self._socket_connect_timeout = value

    def _limited(self, seconds: float | None) -> float | None:
        """``seconds``, or the time left if that is less. Raises TimeoutError if none is left."""
        left = None if self._deadline is None else self._deadline.left()
        if left is None:
            return seconds
        if left == 0:
            raise TimeoutError("timed out")
        left = max(left, _SHORTEST)
        return left if seconds is None else min(seconds, left)

    def _connect(self) -> Any:
        self._is_opening = True
        try:
            return super()._connect()  # type: ignore[safe-super]
        finally:
            self._is_opening = False

    @contextlib.contextmanager
    def connecting_within(self, seconds: float) -> Iterator[None]:
        """Limit the connect that happens inside the block."""
        deadline = Deadline(seconds)
        read_response, retry = self.read_response, self.retry

        def read_within(*args: Any, **kwargs: Any) -> Any:
            sock: Any = self._sock
            if sock is not None:  # None if another thread has closed it: redis-py raises
                try:
                    sock.settimeout(self._limited(self._socket_timeout))
                except TimeoutError:
                    raise RedisTimeoutError(f"Timeout reading from {self._host_error()}") from None
            return read_response(*args, **kwargs)

        try:
            self._deadline = deadline
            self.retry = _limited_retry(retry, deadline)
            # Set on the object: only the connecting thread has it now.
            self.read_response = read_within  # type: ignore[method-assign]
            yield
        except RedisTimeoutError as error:
            if not deadline.has_passed():  # the user's own timeout was shorter
                raise
            raise ConnectTimeout(f"{error}: the pool's timeout is over") from error
        finally:
            with contextlib.suppress(AttributeError):  # a signal handler raised before it was set
                del self.read_response
            self.retry = retry
            self._deadline = None
            sock: Any = self._sock
            if sock is not None:
                with contextlib.suppress(OSError):  # closed by another thread
                    sock.settimeout(self._socket_timeout)


class _LimitedBackOff:
    """The user's back-off; raises the last error if the wait would exceed the deadline."""

    def __init__(self, backoff: Any, deadline: Deadline) -> None:
        self._backoff = backoff
        self._deadline = deadline

    def reset(self) -> None:
        self._backoff.reset()

    def compute(self, failures: int) -> Any:
        seconds = self._backoff.compute(failures)
        error, left = sys.exc_info()[1], self._deadline.left()
        if error is not None and left is not None and seconds >= left:
            raise error
        return seconds


def _limited_retry(retry: Any, deadline: Deadline) -> Any:
    """A copy of ``retry``, because `set_retry` shares one object among all connections."""
    if hasattr(retry, "_backoff"):
        retry = copy.copy(retry)
        retry._backoff = _LimitedBackOff(retry._backoff, deadline)
    return retry
