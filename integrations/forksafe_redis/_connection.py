"""What the pool must know of a redis-py connection, and what redis-py does not tell it."""

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
    """What `pack_commands` returns, and how many commands it holds."""

    commands: int


class CountsReplies(LimitsConnecting):
    """A connection that knows how many replies it still has to read, and whose it is.

    redis-py looks for an unread reply with a system call at each checkout, and under RESP3 does
    not act on what it finds (measured with 8.1.0); a reply that is still on its way is missed
    anyhow. Counting sees both, for the price of an addition.

    Where no at-fork hook ran, a child may use what it has at hand before it asks the pool for
    anything, and even leave by a finalizer that does: `redis.client.Pipeline` sends UNWATCH from
    its own. So each way to the socket asks first.
    """

    unread_replies = 0
    # redis-py's own, where it is too old to have them.
    _should_reconnect = False
    _re_auth_token: Any = None
    _alive: Sentinel | bool = True
    #: Whether its server has said that it is: a replica, since a failover.
    is_read_only = False
    #: Where its socket leads; made with it.
    _end: Descriptor | None = None
    #: Whether metrics count it as used.
    is_counted = False

    def _connect(self) -> Any:
        alive = sentinel()  # a fork may strike in the middle of this
        end = end_of(self)
        end.clear()
        sock = super()._connect()
        with own_errors_suppressed():  # a class of one's own may return anything
            end.note(sock.fileno(), sock)
        self._alive = alive
        # Found sooner here than in the class.
        self.is_counted = self.is_counted
        return sock

    def _leave_parent(self) -> None:
        """Sever all that came through the fork, and this, whose pool may have forgotten it."""
        pools()
        with DeadEnd() as dead_end:
            if not sever(self, dead_end):  # for want of descriptors, say
                raise RedisConnectionError("another process's connection, and not to be cut off")

    def _leave_others(self) -> None:
        """Forget a socket that was closed behind our back: its number is somebody else's."""
        if not self._alive:
            self._leave_parent()
        sock: Any = self._sock
        if sock is not None and not owns_descriptor(sock, find_descriptor, end_of(self)):
            with DeadEnd() as dead_end:
                cut_off(sock, find_descriptor, dead_end, end_of(self))

    def can_read(self, *args: Any, **kwargs: Any) -> Any:
        self._leave_others()
        return super().can_read(*args, **kwargs)

    def pack_commands(self, commands: Iterable[Any]) -> _PackedCommands:
        commands = list(commands)
        packed = _PackedCommands(super().pack_commands(commands))
        packed.commands = len(commands)
        return packed

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        self._leave_others()  # it shuts down
        super().disconnect(*args, **kwargs)
        self.unread_replies = 0
        self.is_read_only = False


#: What was derived from a class, as long as somebody has it. Weakly on both sides: a class may be
#: made for one pool, and go with it. The derived one refers to its base.
_derived: weakref.WeakKeyDictionary[type, weakref.ref[type]] = weakref.WeakKeyDictionary()


def counting(connection_class: Any) -> Any:
    """``connection_class`` with `CountsReplies`, or itself where it is none of redis-py's."""
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
    # What each command calls. By its class: super() would take as long as all the rest.
    def send_packed_command(self: Any, command: Any, check_health: bool = True) -> None:
        if not self._alive:
            self._leave_parent()
        try:
            connection_class.send_packed_command(self, command, check_health)
            many = type(command) is _PackedCommands
            self.unread_replies += command.commands if many else 1
        except BaseException:
            # A signal's exception may strike when the command is out and not yet counted.
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
            # The reply still counts as unread: so the pool looks at it when it comes back.
            self.is_read_only = True
            raise
        except ResponseError:
            if self.unread_replies:
                self.unread_replies -= 1
            raise
        # A push answers no command, nor does what a subscription or MONITOR reads.
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


def end_of(conn: Any) -> Descriptor:
    """Where its socket leads."""
    conn = bare(conn)
    end: Descriptor | None = getattr(conn, "_end", None)
    if end is None:
        end = conn._end = Descriptor()
    return end


def is_connected(conn: Any) -> bool:
    return getattr(bare(conn), "_sock", None) is not None


def is_disconnected(conn: Any) -> bool:
    """Whether it has to be connected; False too where it does not tell."""
    return getattr(bare(conn), "_sock", False) is None


def connect(conn: Any, timeout: float | None) -> None:
    """Connect ``conn``, if it is not, within ``timeout`` seconds where that can be told.

    After an error it is not connected: redis-py leaves what a programming error, or a signal's
    exception, has cut off in the middle of the handshake, with no login and a reply unread.
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
    """Whether its socket came through a fork."""
    return is_connected(conn) and not bare(conn)._alive


def is_clean(conn: Any) -> bool:
    """Whether the next user may have ``conn`` as it is."""
    marked = getattr(conn, "should_reconnect", None)  # since redis-py 6
    return not (getattr(bare(conn), "unread_replies", 0) or (marked and marked()))


def forget_socket(conn: Any) -> None:
    """Disconnect a severed connection by hand.

    `disconnect` would flush the cache under a lock that came through the fork, and report a
    connection closed that the parent still has.
    """
    conn = bare(conn)
    sock, conn._sock = conn._sock, None
    conn.unread_replies = 0
    conn._parser.on_disconnect()
    if sock is not None:
        if not owns_descriptor(sock, find_descriptor, end_of(conn)):
            with DeadEnd() as dead_end:
                cut_off(sock, find_descriptor, dead_end, end_of(conn))
        sock.close()


def sever(conn: Any, dead_end: DeadEnd) -> bool:
    """Cut an inherited connection off, and leave it usable. Again is harmless.

    May run inside an at-fork callback: no lock, no log, no I/O, nothing raised.
    """
    # First: another thread may have the connection, and reconnect it.
    sock = getattr(bare(conn), "_sock", None)
    alive = getattr(bare(conn), "_alive", True)  # True: not told whose it is
    if sock is not None and alive is not True and alive:
        return True
    severed = sock is None or cut_off(sock, find_descriptor, dead_end, end_of(conn))
    if severed:
        with own_errors_suppressed():
            make_usable_after_fork(conn, sock)
    return severed


def make_usable_after_fork(conn: Any, severed: Any) -> None:
    """For a severed connection that somebody in the child may hold and use.

    A subscription restores itself when its connection reconnects, so it is left disconnected,
    which makes it do so. Anything else must hear of the loss: a pipeline that silently
    reconnected would run its transaction without the WATCH it relies on.
    """
    if conn is not bare(conn):
        conn._cache_lock = threading.RLock()
        conn._pool_lock = threading.RLock()
        conn = bare(conn)
    for reference in conn._connect_callbacks:
        if isinstance(getattr(reference(), "__self__", None), PubSub):
            # Else another thread has reconnected it. No call stands between these, so none does
            # now; the parser is made anew when it reconnects.
            if conn._sock is severed:
                conn._sock = None
                conn.unread_replies = 0
            if severed is not None:
                severed.close()
            break
