"""Pool(driver=…): what a driver of one's own overrides, and how it is given."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from forksafe_pool import Pool
from forksafe_pool.extend import Driver
from tests.support.forks import c_fork, in_child, os_fork


class Pairs(Driver[socket.socket]):
    """Its connections are one end of a pair each; the other end is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.others: list[socket.socket] = []
        self.timeouts: list[float | None] = []
        self.resets = 0
        self.is_asked = 0
        self.closed: list[socket.socket] = []
        self.fails = False

    def connect(self, timeout: float | None) -> socket.socket:
        conn, other = socket.socketpair()
        self.others.append(other)
        self.timeouts.append(timeout)
        return conn

    def is_alive(self, conn: socket.socket) -> bool:
        self.is_asked += 1
        if self.fails:
            raise OSError("nobody answers")
        return super().is_alive(conn)

    def reset(self, conn: socket.socket) -> bool:
        self.resets += 1
        return not self.fails

    def close(self, conn: socket.socket) -> None:
        self.closed.append(conn)
        conn.close()


def end(pool: Pool[Any], driver: Pairs) -> None:
    pool.close()
    for other in driver.others:
        other.close()


def test_a_driver_connects_and_resets_without_any_callback() -> None:
    driver = Pairs()
    pool = Pool(driver=driver, timeout=7, name="pairs")
    conn = pool.acquire()
    pool.release(conn)
    assert pool.acquire() is conn
    pool.release(conn)
    assert driver.resets == 2
    assert driver.timeouts[0] == pytest.approx(7, abs=1)
    assert driver.pool_name == "pairs"
    end(pool, driver)
    assert conn.fileno() == -1


def test_what_a_driver_raises_about_an_old_connection_closes_it() -> None:
    driver = Pairs()
    pool = Pool(driver=driver, check_after=0)
    conn = pool.acquire()
    pool.release(conn)
    driver.fails = True
    other = pool.acquire()
    assert driver.is_asked == 1
    assert other is not conn
    assert driver.closed == [conn]
    pool.release(other)  # whose reset fails
    assert (pool.stats().total, pool.stats().closed) == (0, 2)
    end(pool, driver)


class Polite(Pairs):
    """Says goodbye before it closes, which raises on a severed connection."""

    def close(self, conn: socket.socket) -> None:
        conn.sendall(b"goodbye")
        super().close(conn)


@pytest.mark.parametrize("fork", [os_fork, c_fork])
def test_a_goodbye_that_fails_in_a_child_is_not_its_caller_s(fork: Callable[[], int]) -> None:
    driver = Polite()
    pool = Pool(driver=driver)
    held, idle = pool.acquire(), pool.acquire()
    pool.release(idle)

    def child() -> tuple[int, int]:
        conn = pool.acquire()
        pool.release(conn)
        return pool.stats().total, pool.stats().severed

    assert in_child(child, fork) == (1, 2)
    pool.release(held)
    end(pool, driver)


def test_a_driver_belongs_to_one_pool() -> None:
    driver = Pairs()
    pool = Pool(driver=driver, name="first")
    with pytest.raises(ValueError, match="belongs to first: create another one for second"):
        Pool(driver=driver, name="second")
    assert driver.pool_name == "first"
    end(pool, driver)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"connect": object}, "pass connect to the driver"),
        ({"check": bool, "reset": bool}, "pass check, reset to the driver"),
    ],
)
def test_callbacks_are_the_driver_s(given: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Pool(driver=Pairs(), **given)


@pytest.mark.parametrize("wrong", [object(), Pairs, "psycopg"])
def test_what_is_no_driver_is_rejected(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"driver must be a forksafe_pool\.extend\.Driver, not "):
        Pool(driver=wrong)


def test_a_pool_needs_a_connect_or_a_driver() -> None:
    with pytest.raises(TypeError, match="connect must be a function, not None"):
        Pool()
    with pytest.raises(TypeError, match="connect must be a function, not None"):
        Driver()
