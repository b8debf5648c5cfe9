"""Tests that every driver must pass before it is used with a pool that survives forks.

For authors of integrations and of custom drivers. A test class inherits from `DriverConformance`
and says how the driver is used; pytest runs the tests::

    import socket

    import pytest

    from forksafe_pool import Pool
    from forksafe_pool.conformance import DriverConformance

    class TestMyDriver(DriverConformance):
        port = 7000

        def make_pool(self, *, port=None, **options):
            return Pool(lambda: my_driver.connect("127.0.0.1", port or self.port), **options)

        def echo(self, conn, text):
            return conn.query("SELECT ?", text)

        def session_id(self, conn):
            return conn.query("SELECT session_id()")

These three methods are required. `begin`, `finish`, `killer` and `lives` are optional: without one,
the tests that need it are skipped. All are described in `forksafe_pool.conformance.hooks`. If a
fixture starts the server, an ``autouse`` fixture sets ``self.port = server.port``.

The tests fork, also while other threads run, and read Linux's ``/proc``. For assertion messages
with the compared values, put ``pytest.register_assert_rewrite("forksafe_pool.conformance")`` into
``conftest.py``.
"""

from __future__ import annotations

from forksafe_pool.conformance.exits import Exits
from forksafe_pool.conformance.forking import Forking
from forksafe_pool.conformance.using import Using


class DriverConformance(Using, Forking, Exits):
    """All tests of the suite: inherit from this class."""


__all__ = ["DriverConformance"]
