"""What README.md shows is run as it is printed there, but for the addresses of the servers."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support import memcached as memcached_server
from tests.support.gunicorn import Gunicorn
from tests.support.memcached import Memcached
from tests.support.postgres import Postgres
from tests.support.programs import ROOT, run_program

README = (ROOT / "README.md").read_text()
SECTIONS = dict(re.findall(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", README, re.M | re.S))
URL = "redis://localhost:6379/0"


def snippets(section: str) -> list[str]:
    """The Python in the section of this title."""
    found = re.findall(r"^```python\n(.*?)^```$", SECTIONS[section], re.M | re.S)
    assert found, section
    return found


def at(snippet: str, shown: str, real: str) -> str:
    """The snippet with the address of a real server in the place of the one it shows."""
    assert shown in snippet
    return snippet.replace(shown, real)


def test_redis_py(redis_url: str) -> None:
    (snippet,) = snippets("redis-py")
    used = """
import os
ours = client.client_id()
pid = os.fork()
if pid == 0:
    os._exit(client.client_id() == ours)
assert os.waitpid(pid, 0)[1] == 0
assert client.client_id() == ours
assert (pool.max_connections, pool.timeout) == (20, 1.0)
"""
    run_program(at(snippet, URL, redis_url) + used)


FORKED = """
import os

app = create_app()
with app.app_context():
    pools.redis.set("visits", 0)


@app.get("/pid")
def pid():
    numbers = pools.stats()["default"]
    return {"pid": os.getpid(), "total": numbers.total, "severed": numbers.severed}
"""


@pytest.mark.parametrize("configured", ["by a file", "by the module"])
def test_flask_on_gunicorn(tmp_path: Path, redis_url: str, configured: str) -> None:
    app, _ = snippets("Flask")
    (conf,) = snippets("gunicorn")
    (options,) = re.findall(r"`gunicorn (--preload -c \S+) \"shop:create_app\(\)\"`", README)
    # min_size: what the hooks fill, before the first request.
    source = at(app, URL, f"{redis_url}?min_size=2") + FORKED
    arguments = [] if configured == "by a file" else options.split()
    file = conf if configured == "by a file" else None
    with Gunicorn(tmp_path, source, *arguments, conf=file) as server:
        workers = server.wait_for_workers()
        answers = server.ask_each(workers, "/pid")
        assert [answers[worker]["severed"] for worker in workers] == [1, 1]
        assert [answers[worker]["total"] for worker in workers] == [2, 2]
        visits = [int(server.get("/")) for _ in range(4)]
        assert visits == list(range(visits[0], visits[0] + 4))


def test_flask_with_several_pools(tmp_path: Path, redis_url: str, postgres: Postgres) -> None:
    _, snippet = snippets("Flask")
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "__init__.py").touch()
    (shop / "database.py").write_text(
        f"""
import psycopg


def connect():
    return psycopg.connect(host="{postgres.host}", port={postgres.port}, user="postgres")


def rollback(conn):
    conn.rollback()
"""
    )
    configured, used = at(
        at(snippet, URL, redis_url), URL.replace("/0", "/1"), redis_url.replace("/0", "/1")
    ).split("connection = ")
    indented = f"    connection = {used}"
    run_program(
        f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from flask import Flask
from forksafe_flask import ForkSafePool
from psycopg.pq import TransactionStatus
app, pools = Flask("shop"), ForkSafePool()
{configured}
pools.init_app(app)
with app.app_context():
    assert pools.redis.ping() and pools.get_redis("cache").ping()
    assert pools.get_pool("cache").connection_kwargs["db"] == 1
{indented}
    assert connection.execute("SELECT 1").fetchone() == (1,)
    assert connection.info.transaction_status == TransactionStatus.INTRANS
assert connection.info.transaction_status == TransactionStatus.IDLE
with app.app_context():
    assert pools.connection("database") is connection
"""
    )


@pytest.mark.skipif(memcached_server.MISSING is not None, reason=str(memcached_server.MISSING))
def test_any_other_driver(memcached: Memcached) -> None:
    (snippet,) = snippets("Any other driver")
    used = """
import os
with pool.connection() as client:
    client.set("key", "value")
pid = os.fork()
if pid == 0:
    with pool.connection() as client:
        os._exit(client.get("key") != b"value")
assert os.waitpid(pid, 0)[1] == 0
with pool.connection() as client:
    assert client.get("key") == b"value"
assert (pool.stats().opened, pool.stats().max_size) == (1, 5)
"""
    run_program(at(snippet, '"localhost"', f'"{memcached.host}:{memcached.port}"') + used)


@pytest.mark.parametrize("section", [name for name in SECTIONS if "```python" in SECTIONS[name]])
def test_every_name_that_a_snippet_imports_is_there(section: str) -> None:
    for snippet in snippets(section):
        for node in ast.walk(ast.parse(snippet)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                exec(ast.unparse(node), {})  # noqa: S102 - our own
