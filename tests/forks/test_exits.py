"""However a child ends, not one byte of it reaches its parent's server."""

from __future__ import annotations

import pytest

from tests.forks.ends import ENDS, FORKS, run_forking_program
from tests.forks.servers import serving

# Six connections, two in use by the main thread, two by another one, and two that are idle. Half
# of them say goodbye when the pool closes them, the other half whenever they are closed or freed.
PROGRAM = r"""
import socket, threading, weakref
from forksafe_pool import Pool

parent = os.getpid()


def connect():
    sock = socket.create_connection(("127.0.0.1", int(sys.argv[3])))
    sock.sendall(b"parent " if os.getpid() == parent else b"child ")
    return sock


def say_goodbye(sock):
    sock.sendall(b"QUIT")
    sock.close()


class Connection:
    def __init__(self):
        self.sock = connect()
        self.sendall = self.sock.sendall

    def close(self):
        if self.sock.fileno() >= 0:
            try:
                self.sock.sendall(b"QUIT")
            except OSError:
                pass
            self.sock.close()

    __del__ = close


pools = [Pool(connect, close=say_goodbye), Pool(Connection)]
idle = [pool.acquire() for pool in pools]
held = [pool.acquire() for pool in pools]
holding, proceed = threading.Event(), threading.Event()


def hold():
    conns = [pool.acquire() for pool in pools]  # in a child, this frame is cleared
    holding.set()
    proceed.wait(LIMIT)
    for pool, conn in zip(pools, conns):
        conn.sendall(b"still here ")
        pool.release(conn)


thread = threading.Thread(target=hold, daemon=True)
thread.start()
assert holding.wait(LIMIT)
for pool, conn in zip(pools, idle):
    pool.release(conn)
del pool, conn

child = fork()
if child == 0:
    end_the_child()
    if end == "closed":
        for pool in pools:
            assert pool.close(timeout=0)
    elif end == "used":
        for pool, conn in zip(pools, held):
            pool.release(conn)
            pool.discard(conn)
            pool.release(pool.acquire())
            pool.discard(pool.acquire())
    elif end == "collected":
        del idle, held
        gc.collect()
    elif end == "dropped":
        gone = [weakref.ref(pool) for pool in pools]
        del idle, held, pools
        gc.collect()
        assert not any(pool() for pool in gone)
else:
    go_on_until_its_end(child, lambda: None)
    for conn in idle + held:
        conn.sendall(b"still here ")
    for pool, conn in zip(pools, held):
        pool.release(conn)
    proceed.set()
    thread.join(LIMIT)
    for pool in pools:
        assert pool.close()
"""


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("fork", FORKS)
def test_a_child_says_nothing_to_its_parent_s_server(fork: str, end: str) -> None:
    with serving() as server:
        assert run_forking_program(PROGRAM, fork, end, str(server.port)) == ""
        from_child = [b"child QUIT"] * 2 if end == "used" else []
        assert sorted(server.received()) == from_child + [b"parent still here QUIT"] * 6


# The collector finalizes what is in a cycle in the order of its age, the connections first.
TANGLED = r"""
import socket
from forksafe_pool import Pool


class Connection:
    def __init__(self):
        self.sock = socket.create_connection(("127.0.0.1", int(sys.argv[3])))

    def fileno(self):
        return self.sock.fileno()

    def __del__(self):
        try:
            self.sock.sendall(b"QUIT")
        except OSError:
            pass


made = [Connection(), Connection()]
pool = Pool(made.pop)
idle, held = pool.acquire(), pool.acquire()
idle.pool = held.pool = pool
pool.release(idle)
del idle, held
child = fork()
if child == 0:
    end_the_child()
else:
    go_on_until_its_end(child, lambda: None)
"""


@pytest.mark.parametrize("end", ["end of program", "sys.exit", "uncaught exception"])
@pytest.mark.parametrize("fork", FORKS)
def test_nor_do_connections_that_refer_to_their_pool(fork: str, end: str) -> None:
    with serving() as server:
        assert run_forking_program(TANGLED, fork, end, str(server.port)) == ""
        assert server.received() == [b"QUIT"] * 2
