"""The load: visitors, each with a token of its own that must come back."""

from __future__ import annotations

import http.client
import secrets
import threading
from collections import Counter
from time import monotonic
from types import TracebackType

# A token that comes back to somebody else is known by this.
_PREFIX = "visit-"

# Requests on one HTTP connection: now and then a visitor leaves, and the next may meet another
# worker.
_PER_CONNECTION = 25
_ATTEMPTS = 3
_TIMEOUT = 10.0

# What a client sees of a server's end: before the answer, and in the middle of it.
_CUT_OFF = (ConnectionError, http.client.IncompleteRead)


class Load:
    """Visitors that come as fast as they are served, until told to stop or `limit` is reached.

    Parameters:
        port: the web server's, on 127.0.0.1.
        clients: how many visitors at a time.
        limit: how many requests in all.
    """

    def __init__(self, port: int, clients: int, limit: int) -> None:
        self._port = port
        self._left = limit
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._killed: set[int] = set()
        self._killed_at = 0.0
        self._replaced: set[int] = set()
        self._threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(clients)]
        self.requests = 0
        self.wrong = 0
        self.anothers = 0
        self.errors: Counter[str] = Counter()
        self.cut_by_kill = 0
        self.cut_by_reload = 0
        self.answers: Counter[int] = Counter()  # by worker

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ending.set()
        deadline = monotonic() + _ATTEMPTS * _TIMEOUT
        for thread in self._threads:
            thread.join(0.0 if error else max(0.0, deadline - monotonic()))

    # -- what happens to the workers ----------------------------------------------------------

    def killing(self, worker: int) -> None:
        """Before a worker is killed."""
        with self._lock:
            self._killed.add(worker)
            self._killed_at = float("inf")

    def killed(self) -> None:
        """When it is gone."""
        with self._lock:
            self._killed_at = monotonic()

    def reloading(self, workers: set[int]) -> None:
        """Before the workers are replaced."""
        with self._lock:
            self._replaced |= workers

    # -- a visitor ----------------------------------------------------------------------------

    def _visit(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT)
        worker = None
        asked = 0
        while self._take():
            worker = self._ask(connection, worker)
            asked += 1
            if asked % _PER_CONNECTION == 0:
                connection.close()  # the next request opens it again
                worker = None
        connection.close()

    def _take(self) -> bool:
        """Whether to send one more request."""
        with self._lock:
            if self._ending.is_set() or not self._left:
                return False
            self._left -= 1
            return True

    def _ask(self, connection: http.client.HTTPConnection, worker: int | None) -> int | None:
        """One request. Takes and returns the worker at the other end, None if it is not known."""
        token = _PREFIX + secrets.token_hex(8)
        for _ in range(_ATTEMPTS):
            start = monotonic()
            try:
                connection.request("GET", f"/visit/{token}")
                response = connection.getresponse()
                reply = response.read().decode()
                if "X-Worker" not in response.headers:
                    raise http.client.IncompleteRead(b"")
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if not self._must_repeat(error, worker, start):
                    self._note_error(f"{type(error).__name__}: {error}")
                    return None
                worker = None
            else:
                worker = int(response.headers["X-Worker"])
                if response.status == 200:
                    self._note_reply(token, reply, worker)
                else:
                    self._note_error(f"HTTP status {response.status}")
                return None if connection.sock is None else worker
        self._note_error(f"cut off {_ATTEMPTS} times")
        return None

    def _must_repeat(self, error: Exception, worker: int | None, start: float) -> bool:
        """Whether the request was cut off by the end of its worker; all else is an error.

        A worker is known once it has answered on the connection. At the other end of a new one may
        be the killed worker, if the request was sent before that was gone.
        """
        if not isinstance(error, _CUT_OFF):
            return False
        with self._lock:
            if worker in self._killed or (worker is None and start <= self._killed_at):
                self.cut_by_kill += 1
                return True
            if worker in self._replaced:
                self.cut_by_reload += 1
                return True
        return False

    def _note_reply(self, token: str, reply: str, worker: int) -> None:
        with self._lock:
            self.requests += 1
            self.answers[worker] += 1
            if reply != token:
                self.wrong += 1
                self.anothers += reply.startswith(_PREFIX)

    def _note_error(self, what: str) -> None:
        with self._lock:
            self.requests += 1
            self.errors[what] += 1
