"""The promises that are broken, each by one patch.

Which file a text is in does not matter; that it is in its package once does. A text that is not is
an error of this table: where the code changes, change it here.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """A broken promise: ``old``, which is somewhere in ``package`` once, becomes ``new``."""

    name: str
    package: str
    old: str
    new: str


CORE = "forksafe_pool"
REDIS = "integrations/forksafe_redis"
PSYCOPG = "integrations/forksafe_psycopg"
DBAPI = "integrations/forksafe_dbapi"
SQLALCHEMY = "integrations/forksafe_sqlalchemy"

#: What is run for a mutant of a package.
TESTS = {
    CORE: [
        "tests/forksafe_pool",
        "tests/forks",
        "tests/servers",
        *(f"tests/{package}/test_conformance.py" for package in (REDIS, PSYCOPG, DBAPI)),
    ],
    REDIS: [f"tests/{REDIS}", "tests/forks", "tests/servers"],
    PSYCOPG: [f"tests/{PSYCOPG}", "tests/servers"],
    DBAPI: [f"tests/{DBAPI}", "tests/servers"],
    SQLALCHEMY: [f"tests/{SQLALCHEMY}", "tests/servers"],
}

MUTANTS = [
    # -- a fork is noticed --------------------------------------------------------------------
    Mutant(
        "a C-level fork is not detected",
        CORE,
        "    page.madvise(_MADV_WIPEONFORK)\n",
        "",
    ),
    Mutant(
        "no hook runs after os.fork",
        CORE,
        "        after_in_child=_after_fork_in_child,\n",
        "",
    ),
    Mutant(
        "the hook severs this pool's, not all pools' connections",
        CORE,
        "        found = [first, *(pool for pool in found if pool is not first)]\n",
        "        found = [first]\n",
    ),
    Mutant(
        "a grandchild's pool severs only its parent's connections",
        CORE,
        "                ancestor = ancestor.ancestor\n",
        "                ancestor = None\n",
    ),
    Mutant(
        "racing threads of a child get different ledgers",
        CORE,
        'ledger.notes.setdefault("heir", self._new_ledger(ledger))',
        "self._new_ledger(ledger)",
    ),
    # -- nothing reaches the parent's server --------------------------------------------------
    Mutant(
        "inherited connections are not severed",
        CORE,
        "                    if self._cut_off(conn, dead_end, descriptor):\n",
        "                    if True:\n",
    ),
    Mutant(
        "inherited connections that are in use are not severed",
        CORE,
        "                    found.add(key)\n",
        "                    found.add(key)\n                    if key not in idle:\n"
        "                        continue\n",
    ),
    Mutant(
        "inherited connections are closed before they are severed",
        CORE,
        "                    if self._cut_off(conn, dead_end, descriptor):\n",
        "                    self._driver.close(conn)\n"
        "                    if self._cut_off(conn, dead_end, descriptor):\n",
    ),
    Mutant(
        "inherited sockets are shut down",
        CORE,
        "        os.dup2(self._number, number, inheritable=False)\n",
        "        socket.socket(fileno=os.dup(number)).shutdown(socket.SHUT_RDWR)\n"
        "        os.dup2(self._number, number, inheritable=False)\n",
    ),
    Mutant(
        "the number of an inherited socket is freed",
        CORE,
        "        os.dup2(self._number, number, inheritable=False)\n",
        "        os.close(number)\n",
    ),
    Mutant(
        "a connection that is being made is not severed",
        CORE,
        "                if sever(sock, find_descriptor, dead_end, descriptor):\n"
        "                    severed.append(sock)\n",
        "                severed.append(sock)\n",
    ),
    Mutant(
        "an inherited connection in use is closed in a child",
        CORE,
        'may have held the driver\'s lock on it.\n        """\n',
        'may have held the driver\'s lock on it.\n        """\n        self.close(conn)\n',
    ),
    Mutant(
        "a connection without a descriptor is freed in a child",
        CORE,
        "    if not any(kept is conn for kept in list(_kept)):\n        _kept.append(conn)\n",
        "    pass\n",
    ),
    Mutant(
        "a child of a C-level fork that never used its pools is not severed at its exit",
        CORE,
        "    settle()\n    for pool in living():\n        pool._forget_lost(pool._ledger)\n",
        "    pass\n",
    ),
    Mutant(
        "a pool that is dropped in a child of a C-level fork is not severed",
        CORE,
        "            ledger = self._checkpid_finally()\n"
        "            self._close_idle(ledger)\n"
        "            self._forget_lost(ledger)\n",
        "            self._close_idle(self._ledger)\n",
    ),
    Mutant(
        "a reused descriptor number counts as the connection's",
        CORE,
        "        if descriptor.at is not None and found == descriptor.at.identity:\n",
        "        if True:\n",
    ),
    # -- the child starts from zero -----------------------------------------------------------
    Mutant(
        "a child's pool is as full as its parent's",
        CORE,
        "        return Ledger(self._max_size, ancestor=ancestor)\n",
        "        ledger = Ledger(self._max_size, ancestor=ancestor)\n"
        "        ledger.size = ancestor.size\n"
        "        return ledger\n",
    ),
    Mutant(
        "a child's counters are its parent's",
        CORE,
        "        return Ledger(self._max_size, ancestor=ancestor)\n",
        "        ledger = Ledger(self._max_size, ancestor=ancestor)\n"
        "        ledger.opened = ancestor.opened\n"
        "        return ledger\n",
    ),
    Mutant(
        "its parent's waiters exist in a child",
        CORE,
        "        return Ledger(self._max_size, ancestor=ancestor)\n",
        "        ledger = Ledger(self._max_size, ancestor=ancestor)\n"
        "        ledger.waiters = ancestor.waiters\n"
        "        return ledger\n",
    ),
    Mutant(
        "a foreign release is not counted",
        CORE,
        "        ledger.foreign_releases += 1\n",
        "",
    ),
    Mutant(
        "a foreign release raises",
        CORE,
        "        ledger.foreign_releases += 1\n",
        '        raise KeyError("a foreign release")\n',
    ),
    Mutant(
        "a foreign release makes room",
        CORE,
        "        ledger.foreign_releases += 1\n",
        "        ledger.foreign_releases += 1\n        ledger.size -= 1\n",
    ),
    Mutant(
        "a block that a child leaves releases its parent's connection",
        CORE,
        "            if not slot.belongs_to(ledger):\n"
        "                pool._ignore(ledger, slot.conn)\n",
        "            ledger.available.append(slot)\n",
    ),
    # -- what is in use -----------------------------------------------------------------------
    Mutant(
        "more than max_size connections are in use",
        CORE,
        "if self.size < limit and self.size < self.max_size: ",
        "if True: ",
    ),
    Mutant(
        "a failed connect keeps its slot",
        CORE,
        "        except BaseException:\n            self._retire(ledger, slot)\n"
        "            raise\n\n    # -- release",
        "        except BaseException:\n            ledger.in_use[0] = slot\n"
        "            raise\n\n    # -- release",
    ),
    Mutant(
        "dead connections are handed out",
        CORE,
        "            and self._is_alive(slot.conn)  # type: ignore[arg-type]\n",
        "",
    ),
    Mutant(
        "live connections are replaced",
        CORE,
        "        return bool(poll.poll(0))\n",
        "        return True\n",
    ),
    Mutant(
        "a discarded connection is reused",
        CORE,
        "            self._ignore(ledger, conn)\n        else:\n"
        "            self._retire(ledger, slot)\n",
        "            self._ignore(ledger, conn)\n        else:\n"
        "            self._give_back(ledger, slot)\n",
    ),
    Mutant(
        "the connection of a failed block is reused",
        CORE,
        "        elif self._is_reusable(ledger, slot, kind):\n",
        "        elif True:\n",
    ),
    Mutant(
        "the connection of a killed block is reused",
        CORE,
        "        if not (self._resets and issubclass(kind, (Exception, GeneratorExit))):\n",
        "        if not self._resets:\n",
    ),
    Mutant(
        "a connection that reset rejects is reused",
        CORE,
        "        return result is not False\n\n    def close(self, conn: Any)",
        "        return True\n\n    def close(self, conn: Any)",
    ),
    Mutant(
        "the longest waiter is served last",
        CORE,
        "            ledger.waiters.append(waiter)\n",
        "            ledger.waiters.insert(0, waiter)\n",
    ),
    Mutant(
        "a connection that a waiter was handed too late is lost",
        CORE,
        "            if slot is not None:\n                self._put_back(ledger, slot)\n"
        "            raise\n",
        "            if slot is not None:\n                ledger.in_use[0] = slot\n"
        "            raise\n",
    ),
    Mutant(
        "a release serves no waiter",
        CORE,
        "        if ledger.waiters or now >= ledger.reap_at:\n"
        "            self._look_after(ledger, now)\n\n    def _is_fit",
        "        if now >= ledger.reap_at:\n"
        "            self._look_after(ledger, now)\n\n    def _is_fit",
    ),
    # -- all of them --------------------------------------------------------------------------
    Mutant(
        "drain leaves connections in use",
        CORE,
        "            if slot is not None:\n                slot.expire()\n",
        "            if slot is not None and slot in ledger.available:\n"
        "                slot.expire()\n",
    ),
    Mutant(
        "drain leaves idle connections",
        CORE,
        "            if slot is not None:\n                slot.expire()\n",
        "            if slot is not None and slot not in ledger.available:\n"
        "                slot.expire()\n",
    ),
    Mutant(
        "resize leaves the surplus",
        CORE,
        "        ledger.max_size = self._max_size\n",
        "",
    ),
    Mutant(
        "a closed pool leaves its idle connections open",
        CORE,
        "        self._close_idle(ledger)\n        closer = threading.Lock()\n",
        "        closer = threading.Lock()\n",
    ),
    Mutant(
        "a closed pool still hands out connections",
        CORE,
        "        if self._closed:\n            raise self._driver.error(PoolClosed",
        "        if False:\n            raise self._driver.error(PoolClosed",
    ),
    Mutant(
        "wrong options are accepted",
        CORE,
        'count("min_size", min_size)\n'
        '        _options.not_larger("min_size", min_size, "max_size", max_size)\n',
        'count("min_size", min_size)\n',
    ),
    # -- redis-py -----------------------------------------------------------------------------
    Mutant(
        "a redis connection with an unread reply is reused",
        REDIS,
        "        if not _connection.is_clean(connection):\n            connection.disconnect()\n",
        "",
    ),
    Mutant(
        "a redis connection does not check whether it is inherited",
        REDIS,
        "check_health: bool = True) -> None:\n"
        "        if not self._alive:\n            self._leave_parent()\n",
        "check_health: bool = True) -> None:\n",
    ),
    Mutant(
        "a redis connection says goodbye to its parent's server",
        REDIS,
        "        self._leave_others()  # disconnect() shuts the socket down\n",
        "",
    ),
    Mutant(
        "a subscription keeps the dead end that it was severed to",
        REDIS,
        "            make_usable_after_fork(conn, sock)\n",
        "            pass\n",
    ),
    Mutant(
        "connections that no slot holds are not severed",
        REDIS,
        "                if id(conn) not in found and _connection.is_inherited(conn):\n",
        "                if False:\n",
    ),
    Mutant(
        "the client-side cache is its parent's",
        REDIS,
        "                cache.flush()\n",
        "                pass\n",
    ),
    Mutant(
        "a read-only server is not left",
        REDIS,
        "            self._pool.drain()\n        return True\n",
        "        return True\n",
    ),
    Mutant(
        "a child holds its parent's lock",
        REDIS,
        "        while not holder.alive:\n",
        "        while False:\n",
    ),
    Mutant(
        "redis's pool_full error is not redis-py's",
        REDIS,
        '        return TooManyConnections(f"Too many connections: {error}")\n',
        "        return error\n",
    ),
    Mutant(
        "wrong options of redis-py's are accepted",
        REDIS,
        "        _checks.check_of_connections(kwargs, self.connection_class)\n",
        "",
    ),
    # -- psycopg ------------------------------------------------------------------------------
    Mutant(
        "psycopg's block commits its parent's transaction",
        PSYCOPG,
        "if kind is None and conn is not None and not conn.closed and self.holds():",
        "if kind is None and conn is not None and not conn.closed:",
    ),
    Mutant(
        "psycopg's block commits nothing",
        PSYCOPG,
        "                _commit(conn)\n",
        "                pass\n",
    ),
    Mutant(
        "psycopg's connection does not check whether it is inherited",
        PSYCOPG,
        "                ask_first(conn, alive)\n",
        "                pass\n",
    ),
    Mutant(
        "a psycopg connection in the middle of a statement is reused",
        PSYCOPG,
        "        if not _is_clean(conn):\n            return False\n        # The exception",
        "        # The exception",
    ),
    Mutant(
        "psycopg's transaction is not rolled back",
        PSYCOPG,
        "    has_reset = True\n",
        "    has_reset = False\n",
    ),
    Mutant(
        "psycopg's block that finds the server read-only evicts nothing",
        PSYCOPG,
        "            return _is_read_only(error)\n",
        "            return False\n",
    ),
    Mutant(
        "wrong options of psycopg's are accepted",
        PSYCOPG,
        "        _arguments.check(conninfo, arguments if connection_class is Connection else {})\n",
        "",
    ),
    # -- DB-API -------------------------------------------------------------------------------
    Mutant(
        "a transaction is not rolled back",
        DBAPI,
        "        conn.rollback()\n        # In autocommit",
        "        # In autocommit",
    ),
    Mutant(
        "a connection that answers an earlier statement is reused",
        DBAPI,
        "and not (self._answers(conn) and _rolls_back(conn)):\n",
        "and False:\n",
    ),
    Mutant(
        "a connection released after a BaseException is reused",
        DBAPI,
        "        if kind is not None and not issubclass(kind, (Exception, GeneratorExit)):\n",
        "        if False:\n",
    ),
    Mutant(
        "a block that finds the server read-only evicts nothing",
        DBAPI,
        "            return _failures.is_read_only(error)\n",
        "            return False\n",
    ),
    # -- SQLAlchemy ---------------------------------------------------------------------------
    Mutant(
        "SQLAlchemy resets its parent's connection",
        SQLALCHEMY,
        "        if not self.alive:\n            pools()  # severs it",
        "        if False:\n            pools()  # severs it",
    ),
    Mutant(
        "SQLAlchemy's connection does not check whether it is inherited",
        SQLALCHEMY,
        "        if self.alive:\n            return True\n",
        "        return True\n",
    ),
    Mutant(
        "SQLAlchemy's detached connections are not severed",
        SQLALCHEMY,
        "            self._pool._pool.watch_over(self)\n",
        "            pass\n",
    ),
    Mutant(
        "a first connect that a fork interrupted is never finished",
        SQLALCHEMY,
        "                    _begin_again(listeners)\n",
        "                    pass\n",
    ),
    Mutant(
        "SQLAlchemy closes the number of a connection that lost it",
        SQLALCHEMY,
        "        if self._pool.may_close(connection):\n",
        "        if True:\n",
    ),
    Mutant(
        "SQLAlchemy's pool that is dropped in a child is not severed",
        SQLALCHEMY,
        "            self._free_severed(self._checkpid_finally())\n",
        "            pass\n",
    ),
    Mutant(
        "wrong options of SQLAlchemy's are accepted",
        SQLALCHEMY,
        '        _check_recycle(kw.get("recycle", -1))\n',
        "",
    ),
]
