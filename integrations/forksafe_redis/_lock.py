"""redis-py's lock, whose token is valid only in the process that acquired it."""

from __future__ import annotations

import threading
from types import SimpleNamespace, TracebackType
from typing import Any

import redis.lock

from forksafe_pool.extend import sentinel


class _Holder:
    """The state of a lock in one process.

    ``local`` is redis-py's: a `threading.local`, or one namespace for all threads. A thread-local
    is empty in a thread that has not read it yet: read it through `set_up`.
    """

    def __init__(self, local: Any, ancestor: _Holder | None = None) -> None:
        self.alive = sentinel()
        self.local = local
        #: The state in the process that this one was forked from.
        self.ancestor = ancestor
        self.heirs: dict[str, _Holder] = {}

    def set_up(self) -> Any:
        """Return `local` with a token: None before the first acquire in this process and thread."""
        local = self.local
        if not hasattr(local, "token"):
            local.inherited = self.ancestor is not None and self.ancestor.is_held()
            local.token = None
        return local

    def is_held(self) -> bool:
        """Whether the calling thread held the lock when this process forked."""
        holder: _Holder | None = self
        while holder is not None:
            local = holder.local
            if hasattr(local, "token"):
                return local.token is not None or getattr(local, "inherited", False)
            holder = holder.ancestor  # this thread did not use the lock there
        return False


class Lock(redis.lock.Lock):
    """``client.lock(name, lock_class=forksafe_redis.Lock)``: not held in a forked child.

    redis-py keeps the token of a held lock in the object, so a child that leaves an inherited
    ``with lock:`` block releases its parent's lock. This lock is not held in a child:
    `owned` is False, `release` raises ``LockError``, and leaving the block does nothing.
    """

    _holder: _Holder

    @property
    def local(self) -> Any:
        """Holds the token: None in a process, or a thread, that has not acquired the lock."""
        holder = self._holder
        while not holder.alive:
            local: Any = threading.local() if self.thread_local else SimpleNamespace()
            mine = _Holder(local, ancestor=holder)
            mine.set_up()  # before another thread can see it
            self._holder = holder = holder.heirs.setdefault("heir", mine)  # elects one
        return holder.set_up()

    @local.setter
    def local(self, value: Any) -> None:
        self._holder = _Holder(value)

    def __enter__(self) -> Lock:
        super().__enter__()
        self.local.inherited = False
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        local = self.local
        if local.token is None and getattr(local, "inherited", False):
            return
        super().__exit__(exc_type, exc_value, traceback)
