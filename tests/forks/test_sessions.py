"""However a child ends, its parent's sessions with a real server never notice that it existed."""

from __future__ import annotations

import pytest

from tests.forks.ends import ENDS, FORKS, run_forking_program

PROGRAM = r"""
import weakref
import redis
from redis.exceptions import WatchError
from forksafe_redis import BlockingConnectionPool, ConnectionPool


class Sessions:
    # One pool, with a session of each kind in the middle of something.

    def __init__(self, kind):
        self.pool = kind.from_url(sys.argv[3], max_connections=8)
        self.client = redis.Redis(connection_pool=self.pool)
        self.client.mset({"counter": 1, "watched": 1, "quiet": 1})

        self.transaction = self.pool.get_connection()
        self.transaction.send_command("MULTI")
        assert self.transaction.read_response() == b"OK"
        self.transaction.send_command("INCR", "counter")
        assert self.transaction.read_response() == b"QUEUED"

        self.watching = self.client.pipeline()
        self.watching.watch("watched")
        self.undisturbed = self.client.pipeline()
        self.undisturbed.watch("quiet")

        self.news = self.client.pubsub(ignore_subscribe_messages=True)
        self.news.subscribe("news")
        assert self.news.get_message(timeout=LIMIT) is None

        self.asked = self.pool.get_connection()
        self.asked.send_command("ECHO", "asked before")
        self.mine = self.client.client_id()

    def close(self):
        self.pool.close()
        self.client.close()
        self.news.close()
        self.pool.disconnect()

    def use(self):
        assert self.client.client_id() != self.mine
        for conn in (self.transaction, self.asked):
            self.pool.release(conn)
            conn.disconnect()
        for pipe in (self.watching, self.undisturbed):
            pipe.reset()
        self.news.unsubscribe()

    def collect(self):
        self.pool.stats()  # after a C-level fork, the first use severs
        del self.transaction, self.watching, self.undisturbed, self.news, self.asked
        gc.collect()

    def drop(self):
        gone = weakref.ref(self.pool)
        self.collect()
        del self.client, self.pool
        gc.collect()
        assert gone() is None

    def go_on(self):
        assert self.client.echo("words") == b"words"
        assert self.client.client_id() == self.mine

    def finish(self):
        self.go_on()
        self.transaction.send_command("EXEC")
        assert self.transaction.read_response() == [2]
        self.pool.release(self.transaction)

        self.client.set("watched", 2)
        self.watching.multi()
        self.watching.set("watched", "lost update")
        try:
            self.watching.execute()
            raise AssertionError("the watch was lost")
        except WatchError:
            pass
        self.undisturbed.multi()
        self.undisturbed.set("quiet", 2)
        assert self.undisturbed.execute() == [True]

        for number in range(10):
            self.client.publish("news", number)
        for number in range(10):
            assert self.news.get_message(timeout=LIMIT)["data"] == b"%d" % number
        self.news.close()

        assert self.asked.read_response() == b"asked before"
        self.pool.release(self.asked)
        stats = self.pool.stats()
        assert (stats.in_use, stats.opened, stats.foreign_releases) == (0, 6, 0), stats


sessions = Sessions({"blocking": BlockingConnectionPool, "plain": ConnectionPool}[sys.argv[4]])
child = fork()
if child == 0:
    end_the_child()
    work = {
        "closed": sessions.close,
        "used": sessions.use,
        "collected": sessions.collect,
        "dropped": sessions.drop,
    }.get(end)
    if work:
        work()
else:
    go_on_until_its_end(child, sessions.go_on)
    sessions.finish()
"""


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("fork", FORKS)
def test_the_parent_s_sessions_go_on(redis_url: str, fork: str, end: str) -> None:
    assert run_forking_program(PROGRAM, fork, end, redis_url, "plain") == ""


@pytest.mark.parametrize("end", ["closed", "used", "dropped"])
@pytest.mark.parametrize("fork", FORKS)
def test_a_blocking_pool_s_go_on_too(redis_url: str, fork: str, end: str) -> None:
    assert run_forking_program(PROGRAM, fork, end, redis_url, "blocking") == ""
