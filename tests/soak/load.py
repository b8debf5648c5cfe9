"""Visitors that never stop asking, and know what they must hear."""

from __future__ import annotations

import http.client
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

LIMIT = 40.0
#: One request in so many makes the worker fork.
_FORKS = 20


class Load:
    """``requests``, ``forks``, ``astray``, ``hangs``, and the ``errors`` by what they were."""

    def __init__(self, port: int, visitors: int) -> None:
        self._port = port
        self._visitors = visitors
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.requests = self.forks = self.astray = self.hangs = 0
        self.errors: Counter[str] = Counter()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """In the block they ask; at its end each has heard its last answer."""
        self._stop.clear()
        threads = [threading.Thread(target=self._visit) for _ in range(self._visitors)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _visit(self) -> None:
        while not self._stop.is_set():
            kind = "fork" if random.randrange(_FORKS) == 0 else "ask"
            self.ask(kind)

    def ask(self, kind: str) -> bool:
        """Whether the answer was there, and one's own."""
        token = secrets.token_hex(8)
        try:
            status, said = self._get(f"/{kind}/{token}")
        except TimeoutError:
            self._count("hangs")
            return False
        except (OSError, http.client.HTTPException) as error:
            self._note(type(error).__name__)
            time.sleep(0.05)
            return False
        if status != 200:
            self._note(f"status {status}")
            return False
        if said == "the child hung":
            self._count("hangs")
        elif said != f"{token} {token}":
            self._count("astray")
        else:
            self._count("requests")
            if kind == "fork":
                self._count("forks")
            return True
        return False

    def _get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=LIMIT)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        finally:
            connection.close()

    def _count(self, what: str) -> None:
        with self._lock:
            setattr(self, what, getattr(self, what) + 1)

    def _note(self, error: str) -> None:
        with self._lock:
            self.errors[error] += 1
