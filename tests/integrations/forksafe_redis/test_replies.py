"""No reply that somebody left unread is read by the next."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from redis import Redis

from forksafe_redis import ConnectionPool

LIMIT = 10.0


@pytest.mark.parametrize("protocol", [2, 3])
def test_an_unread_reply_is_not_for_the_next(
    kind: type[ConnectionPool], redis_url: str, protocol: int
) -> None:
    """redis-py hands the stale reply to the next GET under RESP3, its default."""
    pool = kind.from_url(redis_url, protocol=protocol)
    client = Redis(connection_pool=pool)
    client.set("mine", "theirs")
    connection = pool.get_connection()
    connection.send_command("GET", "mine")
    pool.release(connection)
    assert client.ping() is True
    connection = pool.get_connection()
    connection.send_packed_command(connection.pack_commands([("GET", "mine"), ("PING",)]))
    connection.read_response()
    pool.release(connection)
    assert client.client_id() > 0
    assert pool.stats().total == 1
    pool.disconnect()


def test_a_pipeline_that_breaks_off_leaves_no_reply(client: Any) -> None:
    def broken(response: Any, **options: Any) -> None:
        raise KeyError("a callback of the user's")

    client.set_response_callback("GET", broken)
    with client.pipeline(transaction=False) as pipe, pytest.raises(KeyError):
        pipe.get("x").echo("not for you").execute()
    assert client.ping() is True


def test_what_was_sent_and_not_yet_counted_leaves_no_reply(
    kind: type[ConnectionPool], redis_url: str
) -> None:
    """A signal's exception may strike between the two."""
    strike: list[type[BaseException]] = []

    class Struck(redis.Connection):
        def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            super().send_packed_command(command, check_health)
            if strike:
                raise strike.pop()

    options: Any = {"connection_class": Struck, "max_connections": 1}
    pool = kind.from_url(redis_url, **options)
    client = Redis(connection_pool=pool)
    client.ping()
    strike.append(SystemExit)
    with pytest.raises(SystemExit):
        client.echo("not for you")
    assert client.echo("for you") == b"for you"
    pool.disconnect()


def test_a_push_is_no_reply(kind: type[ConnectionPool], redis_url: str, watcher: Any) -> None:
    pool = kind.from_url(redis_url, protocol=3)
    client = Redis(connection_pool=pool)
    connection = pool.get_connection()
    for command in (("CLIENT", "TRACKING", "ON"), ("GET", "tracked")):
        connection.send_command(*command)
        connection.read_response()
    watcher.set("tracked", "new")
    assert connection.can_read(LIMIT)
    connection.send_command("ECHO", "not for you")
    assert connection.read_response(push_request=True) != b"not for you"
    pool.release(connection)
    assert client.echo("for you") == b"for you"
    pool.disconnect()
