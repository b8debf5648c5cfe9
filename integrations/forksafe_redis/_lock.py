"""redis-py's lock, whose token stays with the process that took it."""

from __future__ import annotations

import threading
from types import SimpleNamespace, TracebackType
from typing import Any

import redis.lock

from forksafe_pool import _process


class Lock(redis.lock.Lock):
    """``client.lock(name, lock_class=forksafe_redis.Lock)``: a child does not hold it.

    redis-py keeps the token of a held lock in the object: a child that leaves an inherited
    ``with lock:`` block releases the lock its parent holds. This one is not held in a child:
    `owned` is False, `release` raises ``LockError``, and leaving the block does nothing.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._alive = _process.sentinel()
        self._inherited = False
        self._local: Any = None
        super().__init__(*args, **kwargs)

    @property
    def local(self) -> Any:
        if not self._alive:
            self._alive = _process.sentinel()
            self._inherited = self._local.token is not None
            self._local = threading.local() if self.thread_local else SimpleNamespace()
            self._local.token = None
        return self._local

    @local.setter
    def local(self, value: Any) -> None:
        self._local = value

    def __enter__(self) -> Lock:
        super().__enter__()
        self._inherited = False
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.local.token is None and self._inherited:
            return
        super().__exit__(exc_type, exc_value, traceback)
