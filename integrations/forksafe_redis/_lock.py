"""redis-py's lock, whose token stays with the process that took it."""

from __future__ import annotations

import threading
from types import SimpleNamespace, TracebackType
from typing import Any

import redis.lock

from forksafe_pool import _process


class _Holder:
    """What one process keeps of a lock."""

    def __init__(self, local: Any) -> None:
        self.alive = _process.sentinel()
        self.local = local
        self.heirs: dict[str, _Holder] = {}


class Lock(redis.lock.Lock):
    """``client.lock(name, lock_class=forksafe_redis.Lock)``: a child does not hold it.

    redis-py keeps the token of a held lock in the object: a child that leaves an inherited
    ``with lock:`` block releases the lock its parent holds. This one is not held in a child:
    `owned` is False, `release` raises ``LockError``, and leaving the block does nothing.
    """

    _holder: _Holder

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._inherited = False
        super().__init__(*args, **kwargs)

    @property
    def local(self) -> Any:
        holder = self._holder
        while not holder.alive:
            local: Any = threading.local() if self.thread_local else SimpleNamespace()
            local.token = None
            mine = _Holder(local)
            heir = holder.heirs.setdefault("heir", mine)  # elects one where threads race
            if heir is mine:
                self._inherited = holder.local.token is not None
            self._holder = holder = heir
        return holder.local

    @local.setter
    def local(self, value: Any) -> None:
        self._holder = _Holder(value)

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
