"""State of a redis-py connection that the pool needs and redis-py does not expose."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import Any

from redis.client import PubSub
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError

from forksafe_pool import pools
from forksafe_pool.extend import (
    DeadEnd,
    Descriptor,
    Sentinel,
    find_descriptor,
    own_errors_suppressed,
    owns_descriptor,
    sentinel,
)
from forksafe_pool.extend import sever as cut_off
from forksafe_redis._connecting import LimitsConnecting


class _PackedCommands(list[Any]):
    """The result of `pack_commands`, with the number of commands in it."""

    commands: int


class CountsReplies(LimitsConnecting):
    """A connection that knows how many replies are unread, and which process it belongs to.

    redis-py checks for an unread reply with a system call at each checkout, and under RESP3 ignores
    the result (measured with 8.1.0); it also misses a reply that is still in transit. Counting
    detects both, at the cost of an addition.

    If no at-fork hook ran, a child may use an inherited connection before it calls the pool, even
    in a finalizer: `redis.client.Pipeline` sends UNWATCH in its own. So every method that uses the
    socket checks for a fork first.
    """

    unread_replies = 0
    # Attributes of redis-py's own, for versions that do not have them.
    _should_reconnect = False
    _re_auth_token: Any = None
    _alive: Sentinel | bool = True
    #: Whether the server has returned READONLY: it became a replica in a failover.
    is_read_only = False
    #: The descriptor of its socket, recorded when it is opened.
    _descriptor: Descriptor | None = None
    #: Whether the metrics count it as used.
    is_counted = False

    def _connect(self) -> Any:
        alive = sentinel()  # a fork may happen during the connect
        descriptor = descriptor_of(self)
        descriptor.clear()
        sock = super()._connect()
        with own_errors_suppressed():  # a custom class may return anything
            descriptor.record(sock.fileno(), sock)
        self._alive = alive
        # An instance attribute is found faster.
        self.is_counted = self.is_counted
        return sock

    def _leave_parent(self) -> None:
        """Sever all inherited connections, and this one even if its pool no longer knows it."""
        pools()
        with DeadEnd() as dead_end:
            if not sever(self, dead_end):  # for example, no descriptor is free
                raise RedisConnectionError("another process's connection, and not to be cut off")

    def _leave_others(self) -> None:
        """Drop a socket whose descriptor was closed elsewhere: the number may have been reused."""
        if not self._alive:
            self._leave_parent()
        sock: Any = self._sock
        if sock is not None and not owns_descriptor(sock, find_descriptor, descriptor_of(self)):
            with DeadEnd() as dead_end:
                cut_off(sock, find_descriptor, dead_end, descriptor_of(self))

    def can_read(self, *args: Any, **kwargs: Any) -> Any:
        self._leave_others()
        return super().can_read(*args, **kwargs)

    def pack_commands(self, commands: Iterable[Any]) -> _PackedCommands:
        commands = list(commands)
        packed = _PackedCommands(super().pack_commands(commands))
        packed.commands = len(commands)
        return packed

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        self._leave_others()  # disconnect() shuts the socket down
        super().disconnect(*args, **kwargs)
        self.unread_replies = 0
        self.is_read_only = False


#: The class derived from each connection class. Weak on both sides, because a class may be created
#: for one pool. The derived class refers to its base.
_derived: weakref.WeakKeyDictionary[type, weakref.ref[type]] = weakref.WeakKeyDictionary()


def counting(connection_class: Any) -> Any:
    """``connection_class`` with `CountsReplies`, or unchanged if it is not one of redis-py's."""
    if not (
        isinstance(connection_class, type) and issubclass(connection_class, AbstractConnection)
    ):
        return connection_class
    reference = _derived.get(connection_class)
    derived = None if reference is None else reference()
    if derived is None:
        derived = _derive(connection_class)
        _derived[connection_class] = weakref.ref(derived)
    return derived


def _derive(connection_class: Any) -> type:
    # Called for each command. Not super(), which would double the cost.
    def send_packed_command(self: Any, command: Any, check_health: bool = True) -> None:
        if not self._alive:
            self._leave_parent()
        try:
            connection_class.send_packed_command(self, command, check_health)
            many = type(command) is _PackedCommands
            self.unread_replies += command.commands if many else 1
        except BaseException:
            # A signal handler may raise when the command is sent and not yet counted.
            self.disconnect()
            raise

    def read_response(self: Any, disable_decoding: bool = False, **options: Any) -> Any:
        if not self._alive:
            self._leave_parent()
        try:
            response = (
                connection_class.read_response(self, disable_decoding, **options)
                if options
                else connection_class.read_response(self, disable_decoding)
            )
        except ReadOnlyError:
            # The reply still counts as unread, so that the pool checks the connection on release.
            self.is_read_only = True
            raise
        except ResponseError:
            if self.unread_replies:
                self.unread_replies -= 1
            raise
        # A push is not a reply to a command, nor are the messages of a subscription or MONITOR.
        if self.unread_replies and not options.get("push_request"):
            self.unread_replies -= 1
        return response

    namespace = {
        **{name: getattr(connection_class, name) for name in ("__module__", "__qualname__")},
        "send_packed_command": send_packed_command,
        "read_response": read_response,
    }
    return type(connection_class.__name__, (CountsReplies, connection_class), namespace)


def counts(connection_class: Any) -> bool:
    return isinstance(connection_class, type) and issubclass(connection_class, CountsReplies)


def bare(conn: Any) -> Any:
    """The connection itself: the client-side cache wraps each in a proxy."""
    return getattr(conn, "_conn", conn)


def descriptor_of(conn: Any) -> Descriptor:
    """The descriptor of its socket."""
    conn = bare(conn)
    descriptor: Descriptor | None = getattr(conn, "_descriptor", None)
    if descriptor is None:
        descriptor = conn._descriptor = Descriptor()
    return descriptor


def is_connected(conn: Any) -> bool:
    return getattr(bare(conn), "_sock", None) is not None


def is_disconnected(conn: Any) -> bool:
    """Whether it has to be connected; also False if that is unknown."""
    return getattr(bare(conn), "_sock", False) is None


def connect(conn: Any, timeout: float | None) -> None:
    """Connect ``conn`` if it is not connected, within ``timeout`` seconds if its class allows that.

    After an error it is disconnected. redis-py would leave it open if a programming error, or a
    signal handler's exception, interrupts the handshake: not logged in, with a reply unread.
    """
    itself = bare(conn)
    try:
        if timeout is None or not isinstance(itself, CountsReplies):
            conn.connect()
        else:
            with itself.connecting_within(timeout):
                conn.connect()
    except BaseException:
        if is_connected(conn):
            with own_errors_suppressed():
                conn.disconnect()
        raise


def is_inherited(conn: Any) -> bool:
    """Whether its socket was inherited."""
    return is_connected(conn) and not bare(conn)._alive


def is_clean(conn: Any) -> bool:
    """Whether ``conn`` can be reused as it is."""
    marked = getattr(conn, "should_reconnect", None)  # since redis-py 6
    return not (getattr(bare(conn), "unread_replies", 0) or (marked and marked()))


def forget_socket(conn: Any) -> None:
    """Disconnect a severed connection without `disconnect`.

    `disconnect` would flush the cache under an inherited lock, and report a connection as closed
    that the parent still has.
    """
    conn = bare(conn)
    sock, conn._sock = conn._sock, None
    conn.unread_replies = 0
    conn._parser.on_disconnect()
    if sock is not None:
        if not owns_descriptor(sock, find_descriptor, descriptor_of(conn)):
            with DeadEnd() as dead_end:
                cut_off(sock, find_descriptor, dead_end, descriptor_of(conn))
        sock.close()


def sever(conn: Any, dead_end: DeadEnd) -> bool:
    """Sever an inherited connection, and leave it usable. Calling it twice is harmless.

    May run inside an at-fork callback: no lock, no log, no I/O, nothing raised.
    """
    # First: another thread may have the connection, and reconnect it.
    sock = getattr(bare(conn), "_sock", None)
    alive = getattr(bare(conn), "_alive", True)  # True: its process is unknown
    if sock is not None and alive is not True and alive:
        return True
    severed = sock is None or cut_off(sock, find_descriptor, dead_end, descriptor_of(conn))
    if severed:
        with own_errors_suppressed():
            make_usable_after_fork(conn, sock)
    return severed


def make_usable_after_fork(conn: Any, severed: Any) -> None:
    """Prepare a severed connection that code in the child may hold and use.

    A subscription restores itself when its connection reconnects, so its connection is left
    disconnected. All other users must get an error: a pipeline that silently reconnected would run
    its transaction without the WATCH it relies on.
    """
    if conn is not bare(conn):
        conn._cache_lock = threading.RLock()
        conn._pool_lock = threading.RLock()
        conn = bare(conn)
    for reference in conn._connect_callbacks:
        if isinstance(getattr(reference(), "__self__", None), PubSub):
            # Otherwise another thread has reconnected it. There is no call between the check and
            # the assignments, so no thread can do so now. Reconnecting renews the parser.
            if conn._sock is severed:
                conn._sock = None
                conn.unread_replies = 0
            if severed is not None:
                severed.close()
            break
