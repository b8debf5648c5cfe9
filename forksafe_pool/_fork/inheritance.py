"""What a child does with what it inherited: it has a ledger of its own, and severs the rest."""

from __future__ import annotations

import contextlib
import threading
from typing import Any, TypeVar

from forksafe_pool._fork import registry
from forksafe_pool._fork.attempts import sever_attempt
from forksafe_pool._fork.descriptor import Descriptor, find_descriptor
from forksafe_pool._fork.sever import DeadEnd, give_up_claim, sever
from forksafe_pool._ledger import Ledger
from forksafe_pool._upkeep import Upkeep

C = TypeVar("C")


class Inheritance(Upkeep[C]):
    """The part of a `Pool` that detects a fork."""

    _max_size: int
    _ledger: Ledger[C]

    def _checkpid(self) -> Ledger[C]:
        """This process's ledger: a new one, and the old one severed, if it has forked.

        Opens every public operation. Costs three memory reads if nothing happened.
        """
        ledger = self._ledger
        # A first use severs for all pools; so does the next, where an exception cut it short.
        if not (ledger.alive and ledger.ancestor is None and registry.settled):
            registry.settle(self)
            ledger = self._heir()
        return ledger

    def _checkpid_finally(self) -> Ledger[C]:
        """For a finalizer: where an exception strikes, no later use of the pool goes on."""
        try:
            return self._checkpid()
        except BaseException:
            self._checkpid()
            raise

    def _heir(self) -> Ledger[C]:
        """The ledger of this process, made by who comes first.

        Threads may race to be the first after the fork, and a fork may strike in the middle of
        this. setdefault() elects one heir for each process: an heir that came through a further
        fork is void as well, and the loop goes on from it.
        """
        ledger = self._ledger
        while not ledger.alive:
            ledger = ledger.notes.setdefault("heir", self._new_ledger(ledger))
        self._ledger = ledger
        return ledger

    def _new_ledger(self, ancestor: Ledger[C]) -> Ledger[C]:
        return Ledger(self._max_size, ancestor=ancestor)

    def _settle(self) -> bool:
        """Sever what came through a fork, or what is left of it. False: another thread is at it."""
        ledger = self._heir()
        while ledger.ancestor is not None:
            # Of this process, and reentrant: whom a signal's exception drove out comes back.
            lock = ledger.notes.setdefault("severing", threading.RLock())
            if not lock.acquire(blocking=False):
                return False
            try:
                if ledger.ancestor is not None:
                    self._sever_inherited(ledger)
                    ledger.ancestor = None
            finally:
                lock.release()
            ledger = self._heir()  # another one, if a fork has struck meanwhile
        return True

    def _sever_inherited(self, ledger: Ledger[C]) -> set[int]:
        """The id() of each that it found: other threads may be freeing these by now.

        May run inside an at-fork callback: no inherited lock, no log, no I/O, nothing raised. An
        exception of a signal may strike at any step; what is done is not done again then.
        """
        found: set[int] = ledger.notes.setdefault("severed", set())
        kept = registry.kept_severed(self)
        with DeadEnd() as dead_end:
            ancestor = ledger.ancestor
            while ancestor is not None:
                for attempt in list(ancestor.making.values()):
                    made: Any = attempt.made
                    if made is not None:
                        ancestor.connections.setdefault(id(made), made)
                    sockets = sever_attempt(ancestor.making, attempt, dead_end, ledger.descriptors)
                    kept.update((id(sock), sock) for sock in sockets)
                    ledger.half_made += sockets
                idle = {id(slot.conn) for slot in list(ancestor.available)}
                for key, conn in list(ancestor.connections.items()):
                    # A signal handler may have used the pool meanwhile.
                    if key not in ancestor.connections:
                        continue
                    found.add(key)
                    # Before: what is interrupted is resumed with what is known by then.
                    descriptor = ledger.descriptors[key] = ancestor.descriptors.setdefault(
                        key, self._driver.descriptor_of(conn)
                    )
                    if self._cut_off(conn, dead_end, descriptor):
                        kept[key] = self._driver.unwrap(conn)
                        _add(ledger.severed_idle if key in idle else ledger.severed_in_use, conn)
                    ledger.severed += 1
                    # Only now: a further fork in the middle of this finds what is left.
                    ancestor.connections.pop(key, None)
                # Of a child that forked before it freed them.
                for left in (ancestor.severed_idle, ancestor.severed_in_use, ancestor.half_made):
                    for one in list(left):
                        known = ancestor.descriptors.get(id(one), Descriptor())
                        ledger.descriptors[id(one)] = known
                _move(ancestor.severed_idle, ledger.severed_idle)
                _move(ancestor.severed_in_use, ledger.severed_in_use)
                _move(ancestor.half_made, ledger.half_made)
                ancestor = ancestor.ancestor
        return found

    def _free_severed(self, ledger: Ledger[C]) -> None:
        kept = registry.kept_severed(self)
        with contextlib.suppress(IndexError), DeadEnd() as dead_end:
            while True:
                sock = ledger.half_made.pop()
                descriptor = ledger.descriptors.pop(id(sock), Descriptor())
                if sever(sock, find_descriptor, dead_end, descriptor):
                    sock.close()
                kept.pop(id(sock), None)
        with contextlib.suppress(IndexError):
            while True:
                conn = ledger.severed_in_use.pop()
                if self._is_harmless(conn, ledger.descriptors.pop(id(conn), Descriptor())):
                    self._driver.free_severed(conn)
                kept.pop(id(conn), None)
        with contextlib.suppress(IndexError):
            while True:
                conn = ledger.severed_idle.pop()
                descriptor = ledger.descriptors.pop(id(conn), Descriptor())
                if self._is_harmless(conn, descriptor):
                    self._driver.close_severed(conn)
                    give_up_claim(descriptor)
                kept.pop(id(conn), None)


def _add(severed: list[C], conn: C) -> None:
    """Again, where a signal's exception struck between this and the next step, is a no-op."""
    if not (severed and severed[-1] is conn):
        severed.append(conn)


def _move(source: list[C], target: list[C]) -> None:
    """In steps, each of which may be the last for now."""
    for conn in list(reversed(source)):
        _add(target, conn)
        with contextlib.suppress(ValueError, IndexError):
            source.pop()
