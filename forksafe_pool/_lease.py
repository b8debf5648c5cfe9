"""A connection for the length of a ``with`` block."""

from __future__ import annotations

from types import TracebackType
from typing import Generic, Protocol, TypeVar

from forksafe_pool._clock import POOL_TIMEOUT, Deadline, monotonic
from forksafe_pool._ledger import Ledger, Slot

C = TypeVar("C")


class Lender(Protocol[C]):
    """What a lease needs of its pool."""

    _ledger: Ledger[C]
    _resets: bool
    _fresh_for: float

    @property
    def name(self) -> str: ...

    def _checkpid(self) -> Ledger[C]: ...

    def _deadline(self, timeout: float | None) -> Deadline: ...

    def _take(self, timeout: float | None) -> Slot[C]: ...

    def _lend(self, ledger: Ledger[C], slot: Slot[C], deadline: Deadline) -> Slot[C]: ...

    def _give_back(self, ledger: Ledger[C], slot: Slot[C]) -> None: ...

    def _look_after(self, ledger: Ledger[C], now: float) -> None: ...

    def _ignore(self, ledger: Ledger[C], conn: C | None) -> None: ...

    def _evict(self, ledger: Ledger[C], error: BaseException | None) -> None: ...

    def _end_by_error(
        self,
        ledger: Ledger[C],
        slot: Slot[C],
        kind: type[BaseException],
        error: BaseException | None,
    ) -> None: ...


class Lease(Generic[C]):
    """Returned by `Pool.connection`, which sets its attributes: an ``__init__`` would be slower."""

    __slots__ = ("_pool", "_slot", "_timeout", "_turn")

    #: None while it is not entered.
    _slot: Slot[C] | None
    _pool: Lender[C]
    #: Unset if it is the pool's own.
    _timeout: float | None
    #: Number of this use of the slot.
    _turn: int

    def __enter__(self) -> C:
        if self._slot is not None:
            raise self._is_entered()
        pool = self._pool
        ledger = pool._ledger
        if ledger.alive and not ledger.waiters:  # as in Pool.acquire, for a call less
            try:
                slot = ledger.available.pop()
            except IndexError:
                pass
            else:
                if monotonic() < slot.fresh_until:
                    self._turn = slot.uses = slot.uses + 1
                    ledger.in_use[slot.key] = self._slot = slot
                    return slot.conn  # type: ignore[return-value]
                slot = pool._lend(ledger, slot, pool._deadline(self._seconds()))
                self._slot = slot
                self._turn = slot.uses
                return slot.conn  # type: ignore[return-value]
        self._slot = slot = pool._take(self._seconds())
        self._turn = slot.uses
        return slot.conn  # type: ignore[return-value]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pool, slot = self._pool, self._slot
        if slot is None:
            raise self._is_not_entered()
        self._slot = None
        ledger = pool._ledger
        if not ledger.alive:  # as in Pool.acquire
            ledger = pool._checkpid()
        if slot.uses != self._turn or ledger.in_use.pop(slot.key, None) is not slot:
            # Given back inside the block, or its parent's.
            if not slot.belongs_to(ledger):
                pool._ignore(ledger, slot.conn)
            pool._evict(ledger, error)
        elif kind is None and not pool._resets:  # as in Pool._give_back, for a call less
            now = monotonic()
            slot.fresh_until = fresh_until = now + pool._fresh_for
            if fresh_until > slot.expires_at:
                pool._give_back(ledger, slot)
            else:
                ledger.available.append(slot)
                if ledger.waiters or now >= ledger.reap_at:
                    pool._look_after(ledger, now)
        elif kind is None:
            pool._give_back(ledger, slot)
        else:
            pool._end_by_error(ledger, slot, kind, error)

    def _seconds(self) -> float | None:
        return getattr(self, "_timeout", POOL_TIMEOUT)  # type: ignore[no-any-return]

    def _is_entered(self) -> RuntimeError:
        return RuntimeError(
            f"a block of {self._pool.name} was entered again before it ended: call connection() "
            "for each block"
        )

    def _is_not_entered(self) -> RuntimeError:
        return RuntimeError(
            f"{self._pool.name}: this connection() block has not been entered, or has ended "
            "already: use `with pool.connection() as conn:`"
        )

    def holds(self) -> bool:
        """Whether the connection is still this block's: not given back inside of it, and maybe
        lent again since; nor, in a child that was forked inside, its parent's."""
        slot = self._slot
        if slot is None:
            return False
        in_use = self._pool._checkpid().in_use
        return slot.uses == self._turn and in_use.get(slot.key) is slot
