"""A connection for the length of a ``with`` block."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from forksafe_pool._ledger import Place
    from forksafe_pool._pool import Pool

C = TypeVar("C")


class Lease(Generic[C]):
    """What `Pool.connection` returns, and fills in: an ``__init__`` would take longer."""

    __slots__ = ("_place", "_pool", "_timeout", "_turn")

    _place: Place[C]
    _pool: Pool[C]
    _timeout: float | None
    #: Which use of the place this is.
    _turn: int

    def __enter__(self) -> C:
        self._place = place = self._pool._take(self._timeout)
        self._turn = place.uses
        return place.conn  # type: ignore[return-value]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pool, place = self._pool, self._place
        ledger = pool._ledger
        if not ledger.alive[0]:  # as in Pool.acquire
            ledger = pool._checkpid()
        if place.uses != self._turn or ledger.in_use.pop(place.key, None) is not place:
            pool._ignore(ledger, place.conn)
        elif kind is None or pool._is_reusable(ledger, place, kind):
            pool._give_back(ledger, place)
        else:
            pool._retire(ledger, place)

    def _holds(self) -> bool:
        """Whether the connection is still this block's: not given back inside of it, and maybe
        lent again since; nor, in a child that was forked inside, its parent's."""
        place = self._place
        in_use = self._pool._checkpid().in_use
        return place.uses == self._turn and in_use.get(place.key) is place
