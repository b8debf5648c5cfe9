"""Each example is run as a reader would run it, with warnings as errors."""

from __future__ import annotations

import inspect
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from forksafe_gunicorn import _hooks
from tests.support.gunicorn import Gunicorn
from tests.support.programs import ROOT

EXAMPLES = ROOT / "examples"
LIMIT = 60.0


def run(name: str, **env: str) -> str:
    """What the example printed. Raises AssertionError where it failed or complained."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert not done.stderr, done.stderr
    return done.stdout


def test_flask_app(tmp_path: Path, redis_url: str) -> None:
    port = urlsplit(redis_url).port
    assert port is not None
    app = (EXAMPLES / "flask_app.py").read_text()
    conf = (EXAMPLES / "gunicorn.conf.py").read_text()
    with Gunicorn(tmp_path, app, conf=conf, workers=2, env={"REDIS_URL": redis_url}) as server:
        workers = server.wait_for_workers()
        answers = server.ask_each(workers)
        assert len({answer["connection"] for answer in answers.values()}) == 2
        stats = server.ask_each(workers, "/stats")
        assert [stats[pid]["inherited_and_cut_off"] for pid in workers] == [1, 1]
        owned = server.connections(port)
        (master,) = server.masters
        assert owned.keys() == {master, *workers}
        assert all(owned.values())
        assert len(set().union(*owned.values())) == sum(map(len, owned.values()))
        assert "Traceback" not in server.log


def test_gunicorn_s_configuration_installs_the_hooks() -> None:
    """Without them the app is as safe: its pools would only not be filled and closed."""
    conf = runpy.run_path(str(EXAMPLES / "gunicorn.conf.py"))
    for ours in (_hooks.post_fork, _hooks.post_worker_init, _hooks.worker_exit, _hooks.child_exit):
        assert inspect.unwrap(conf[ours.__name__]) is ours


def test_redis_client(redis_url: str) -> None:
    out = run("redis_client.py", REDIS_URL=redis_url)
    found = re.findall(
        r"^(parent|child \d+) counted to a hundred over connection (\d+)$", out, re.M
    )
    assert len(found) == 5, out
    assert len({name for name, _ in found}) == len(set(found)) == 4
    assert len({connection for _, connection in found}) == 4
    assert [name for name, _ in found].count("parent") == 2


def test_any_driver() -> None:
    lines = run("any_driver.py").splitlines()
    said = [re.fullmatch(r"hello from (.+), over connection (\d)", line) for line in lines]
    assert [match and match[2] for match in said] == ["1", "2", "3", "4", "1"]
    assert [match and match[1].split()[0] for match in said] == ["the", *["child"] * 3, "the"]


def test_multiprocessing_workers(redis_url: str) -> None:
    lines = run("multiprocessing_workers.py", REDIS_URL=redis_url).splitlines()
    assert lines[0] == lines[-1]
    parents = re.findall(r"(\d+)", lines[0])[1]
    used = []
    for line, method in zip(lines[1:-1], ("fork", "forkserver", "spawn"), strict=True):
        assert line.startswith(f"{method}: {sum(n * n for n in range(20))}, ")
        used += re.findall(r"\((\d+), (\d+)\)", line)
    assert len({connection for _, connection in used} | {parents}) == len(used) + 1


def test_each_example_is_tested_and_short() -> None:
    found = {path.name for path in EXAMPLES.glob("*.py")} - {"__init__.py"}
    tested = set(re.findall(r'"([\w.]+\.py)"', Path(__file__).read_text()))
    assert found <= tested
    for name in found:
        assert len((EXAMPLES / name).read_text().splitlines()) <= 60, name
