"""However a child ends, its parent's session and transaction go on."""

from __future__ import annotations

from tests.support.programs import run_program

# One connection is in a transaction, another one is idle. mysqlclient says goodbye to the server
# whenever one of its connections is freed.
PROGRAM = r"""
import ctypes, gc, os, signal, sys, weakref
from sqlalchemy import create_engine, text
from forksafe_sqlalchemy import QueuePool

LIMIT = 30
url, *forks = sys.argv[1:]


def session_id(connection):
    function = "pg_backend_pid" if url.startswith("postgresql") else "connection_id"
    return connection.scalar(text(f"SELECT {function}()"))


def end_the_child():
    global held
    signal.alarm(LIMIT)
    if end == "os._exit":
        os._exit(0)
    elif end == "used":
        with engine.connect() as connection:
            session_id(connection)
    elif end == "disposed":
        engine.dispose()
    elif end == "replaced":
        engine.dispose(close=False)
        gc.collect()
    elif end == "dropped":
        pool = weakref.ref(engine.pool)
        engine.pool = held = None  # something of SQLAlchemy's keeps engines
        gc.collect()
        gc.collect()  # the first one calls finalizers, which keep it
        assert pool() is None
    sys.exit()


engine = create_engine(url, poolclass=QueuePool)
held = engine.connect()
with engine.connect() as connection:
    sessions = {session_id(held), session_id(connection)}
assert len(sessions) == 2
mine = session_id(held)
held.execute(text("CREATE TEMPORARY TABLE mine (n INTEGER)"))
held.commit()
held.execute(text("INSERT INTO mine VALUES (1)"))

for name in forks:
    fork = {"os.fork": os.fork, "C fork": ctypes.PyDLL(None).fork}[name]
    for end in ("sys.exit", "os._exit", "used", "disposed", "replaced", "dropped"):
        signal.alarm(LIMIT)
        child = fork()
        if child == 0:
            end_the_child()
        assert os.waitpid(child, 0)[1] == 0, (name, end)
        assert session_id(held) == mine, (name, end)
        assert held.scalar(text("SELECT count(*) FROM mine")) == 1, (name, end)
        with engine.connect() as connection:
            assert {mine, session_id(connection)} == sessions, (name, end)
held.close()
engine.dispose()
"""


def test_the_parent_goes_on(url: str) -> None:
    assert run_program(PROGRAM, url, "os.fork", "C fork") == ""
