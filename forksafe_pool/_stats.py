"""A snapshot of one process's pool."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PoolStats:
    """Numbers of one pool in one process; a fork starts them all from zero.

    Counters (``acquired`` and below) only ever grow. Taken while other threads work, the
    snapshot may be one operation out of step between two fields.
    """

    name: str
    pid: int
    max_size: int
    min_size: int
    #: Slots taken: available, in use, or between the two (being made or checked).
    total: int
    available: int
    in_use: int
    #: Callers that are waiting for a connection.
    waiting: int
    #: Connections handed out; those of one that is being checked or reset count a little later.
    acquired: int
    #: Connections opened.
    opened: int
    #: Connections closed, for any reason.
    closed: int
    #: Calls of ``connect`` or ``configure`` that failed.
    connect_errors: int
    #: Callers that waited in vain.
    timeouts: int
    #: Releases of what this process never acquired, or no longer holds.
    foreign_releases: int
    #: Inherited connections that were severed.
    severed: int
