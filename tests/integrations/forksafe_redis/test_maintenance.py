"""redis-py's maintenance notifications: a pool that is being moved to another server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from forksafe_redis import ConnectionPool
from tests.support.forks import in_child
from tests.support.locks import held_elsewhere

notifications = pytest.importorskip(
    "redis.maint_notifications", reason="redis-py has maintenance notifications since 7.0"
)

Fork = Callable[[], int]


@pytest.fixture
def moving(pool: ConnectionPool, client: Any, monkeypatch: pytest.MonkeyPatch) -> ConnectionPool:
    """A pool in the middle of a move to a host that does not answer us."""
    if pool._maint_notifications_pool_handler is None:
        pytest.skip("this redis-py does not speak RESP3 by default")

    class NoTimer:
        """The timers would end the move, in the parent only."""

        def __init__(self, *args: object, **kwargs: object) -> None: ...

        def start(self) -> None: ...

    client.ping()
    monkeypatch.setattr(threading, "Timer", NoTimer)
    pool._maint_notifications_pool_handler.handle_notification(
        notifications.NodeMovingNotification(
            id=1, new_node_host="host.invalid", new_node_port=1, ttl=60
        )
    )
    assert pool.connection_kwargs["host"] == "host.invalid"
    return pool


def test_a_child_is_not_in_its_parent_s_move(
    moving: ConnectionPool, client: Any, fork: Fork
) -> None:
    """Under redis-py it stays in it for ever: the timers that would end it are dead."""

    def child() -> tuple[object, object]:
        assert client.ping()
        return moving.connection_kwargs["host"], moving.connection_kwargs["socket_timeout"]

    assert in_child(child, fork) == ("127.0.0.1", moving.connection_kwargs["orig_socket_timeout"])
    assert moving.connection_kwargs["host"] == "host.invalid"


def test_a_child_takes_no_lock_of_its_parent_s_handler(
    pool: ConnectionPool, client: Any, fork: Fork
) -> None:
    if pool._maint_notifications_pool_handler is None:
        pytest.skip("this redis-py does not speak RESP3 by default")
    handler = pool._maint_notifications_pool_handler

    def child() -> bool:
        client.ping()
        new = pool._maint_notifications_pool_handler
        connection = pool.get_connection()
        used = connection._maint_notifications_pool_handler
        return new is not handler and new._lock is used._lock and new._lock is not handler._lock

    with held_elsewhere(handler._lock):
        assert in_child(child, fork) is True
    assert pool._maint_notifications_pool_handler is handler


def test_who_gets_a_connection_waits_for_the_move_to_be_made(pool: ConnectionPool) -> None:
    entered, done = threading.Event(), threading.Event()

    def get() -> None:
        entered.set()
        pool.release(pool.get_connection())
        done.set()

    with pool._lock:
        pool.set_in_maintenance(True)
        thread = threading.Thread(target=get)
        thread.start()
        assert entered.wait(10)
        assert not done.wait(0.2)  # it would come at once
        pool.set_in_maintenance(False)
    thread.join(10)
    assert done.is_set()


def test_no_move_is_being_made_in_a_child(pool: ConnectionPool, client: Any, fork: Fork) -> None:
    def child() -> bool:
        client.ping()
        return pool._in_maintenance

    pool.set_in_maintenance(True)
    assert in_child(child, fork) is False
    assert pool._in_maintenance
    pool.set_in_maintenance(False)


def test_connections_to_the_old_server_are_left(pool: ConnectionPool) -> None:
    idle, used = pool.get_connection(), pool.get_connection()
    pool.release(idle)
    pool.disconnect_free_connections("192.0.2.1")
    assert idle._sock
    pool.disconnect_free_connections("127.0.0.1")
    assert idle._sock is None
    pool.update_active_connections_for_reconnect()
    pool.release(used)
    assert used._sock is None
