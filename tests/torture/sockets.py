"""Sockets, HTTP and memcached: what needs nothing but a connect and a close."""

from __future__ import annotations

import http.client
import queue
import socket
import ssl
import threading
from typing import Any

import pymemcache.pool
import urllib3
from pymemcache.client.base import Client

import forksafe_pool
from tests.torture.subject import PATIENCE, SIZE, Driver, Pool, find_locks

TIMEOUT = 5.0


class Socket(Driver):
    name = "socket"
    server = "echo"

    def connect(self) -> Any:
        host, port, _ = self.address.split(":")
        return socket.create_connection((host, int(port)), TIMEOUT)

    def hear(self, conn: Any, word: str) -> list[str]:
        """The session, the number of the request in it, and the word."""
        conn.sendall(word.encode() + b"\n")
        heard = b""
        while not heard.endswith(b"\n"):
            chunk = conn.recv(1024)
            if not chunk:
                raise ConnectionError("end of file")
            heard += chunk
        return heard.decode().split()

    def ask(self, conn: Any, word: str) -> str:
        return self.hear(conn, word)[2]

    def session(self, conn: Any) -> object:
        return self.hear(conn, "whoami")[0]

    def begin(self, conn: Any) -> object:
        return self.hear(conn, "begin")

    def spoil(self, conn: Any, begun: Any) -> bool:
        return bool(self.hear(conn, "not-mine")[0] == begun[0])

    def finish(self, conn: Any, begun: Any) -> bool:
        session, count, _ = begun
        return self.hear(conn, "finish")[:2] == [session, str(int(count) + 1)]


class TlsSocket(Socket):
    name = "socket, TLS"
    server = "echo tls"

    def connect(self) -> Any:
        context = ssl.create_default_context(cafile=self.address.split(":")[2] + "/ca.pem")
        return context.wrap_socket(super().connect(), server_hostname="127.0.0.1")


class Http(Socket):
    name = "http.client"
    server = "http"

    def connect(self) -> Any:
        host, port, _ = self.address.split(":")
        conn = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)
        conn.connect()
        return conn

    def hear(self, conn: Any, word: str) -> list[str]:
        conn.request("GET", "/" + word)
        response = conn.getresponse()
        is_read = isinstance(response, urllib3.HTTPResponse)  # urllib3's own connections do that
        return list((response.data if is_read else response.read()).decode().split())


class TlsHttp(Http):
    name = "http.client, TLS"
    server = "http tls"

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.address.split(":")[2] + "/ca.pem")

    def connect(self) -> Any:
        host, port, _ = self.address.split(":")
        conn = http.client.HTTPSConnection(host, int(port), timeout=TIMEOUT, context=self.context)
        conn.connect()
        return conn


class Memcache(Driver):
    name = "pymemcache"
    server = "memcached"

    def connect(self) -> Any:
        host, port, _ = self.address.split(":")
        return Client((host, int(port)), timeout=TIMEOUT, connect_timeout=TIMEOUT)

    def ask(self, conn: Any, word: str) -> str:
        conn.set(word, word, noreply=False)
        return str(conn.get(word).decode())

    def session(self, conn: Any) -> object:
        if conn.sock is None:  # it connects with its first command
            conn.version()
        return conn.sock.getsockname()

    def begin(self, conn: Any) -> object:
        return self.session(conn)

    def spoil(self, conn: Any, begun: Any) -> bool:
        return self.ask(conn, "not-mine") == "not-mine" and self.session(conn) == begun

    def finish(self, conn: Any, begun: Any) -> bool:
        return self.ask(conn, "finish") == "finish" and self.session(conn) == begun


class Ours(Pool):
    name = "forksafe_pool.Pool"
    ours = True

    def __init__(self, driver: Driver) -> None:
        self.pool = self.make(driver)

    def make(self, driver: Driver) -> forksafe_pool.Pool[Any]:
        return forksafe_pool.Pool(driver.connect, max_size=SIZE, timeout=PATIENCE)

    def acquire(self) -> Any:
        return self.pool.acquire()

    def release(self, conn: Any) -> None:
        self.pool.release(conn)

    def close(self) -> None:
        self.pool.close(timeout=0)

    def locks(self) -> dict[str, Any]:
        """The one that it takes: by whoever severs what came through a fork."""
        return {"severing": self.pool._ledger.notes.setdefault("severing", threading.RLock())}


class ObjectPool(Pool):
    """pymemcache's, which its PooledClient uses."""

    name = "pymemcache.pool.ObjectPool"

    def __init__(self, driver: Driver) -> None:
        self.pool: Any = pymemcache.pool.ObjectPool(
            driver.connect, after_remove=lambda conn: conn.close(), max_size=SIZE
        )

    def acquire(self) -> Any:
        return self.pool.get()

    def release(self, conn: Any) -> None:
        self.pool.release(conn)

    def close(self) -> None:
        self.pool.clear()

    def locks(self) -> dict[str, Any]:
        return find_locks(pool=self.pool)


class Urllib3(Pool):
    """What `urllib3` and `requests` send through."""

    name = "urllib3.HTTPConnectionPool"

    def __init__(self, driver: Http) -> None:
        host, port, _ = driver.address.split(":")
        self.pool: Any = (
            urllib3.HTTPSConnectionPool(
                host,
                int(port),
                maxsize=SIZE,
                block=True,
                timeout=TIMEOUT,
                ssl_context=driver.context,
            )
            if isinstance(driver, TlsHttp)
            else urllib3.HTTPConnectionPool(
                host, int(port), maxsize=SIZE, block=True, timeout=TIMEOUT
            )
        )

    def acquire(self) -> Any:
        return self.pool._get_conn(PATIENCE)

    def release(self, conn: Any) -> None:
        self.pool._put_conn(conn)

    def close(self) -> None:
        self.pool.close()

    def locks(self) -> dict[str, Any]:
        return find_locks(queue=self.pool.pool)


class LifoQueue(Pool):
    """What people write for themselves, and what urllib3 is built on."""

    name = "queue.LifoQueue"

    def __init__(self, driver: Driver) -> None:
        self._connect = driver.connect
        self._queue: Any = queue.LifoQueue(SIZE)
        for _ in range(SIZE):
            self._queue.put(None)

    def acquire(self) -> Any:
        return self._queue.get(timeout=PATIENCE) or self._connect()

    def release(self, conn: Any) -> None:
        self._queue.put_nowait(conn)

    def close(self) -> None:
        while not self._queue.empty():
            conn = self._queue.get_nowait()
            if conn is not None:
                conn.close()

    def locks(self) -> dict[str, Any]:
        return find_locks(queue=self._queue)
