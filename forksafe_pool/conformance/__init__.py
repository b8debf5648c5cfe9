"""What a driver must show before it may be used with a pool that survives forks.

For whoever writes an integration, or gives `forksafe_pool.Pool` a driver of their own. A test class
inherits from `DriverConformance` and says how the driver is used; pytest runs the rest::

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

These three are required; `begin`, `finish`, `killer` and `lives` show more. All are described in
`forksafe_pool.conformance.hooks`, whose tests are skipped where one is missing. A server that a
fixture starts is told to the instance by an ``autouse`` fixture: ``self.port = server.port``.

The tests fork for real, with threads beside them, and look into Linux's ``/proc``. For failures
that say what was compared put ``pytest.register_assert_rewrite("forksafe_pool.conformance")`` into
``conftest.py``.
"""

from __future__ import annotations

from forksafe_pool.conformance.exits import Exits
from forksafe_pool.conformance.forking import Forking
from forksafe_pool.conformance.using import Using


class DriverConformance(Using, Forking, Exits):
    """Every test of the suite, for a test class to inherit from."""


__all__ = ["DriverConformance"]
