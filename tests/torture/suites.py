"""What forks by itself, and what watches the wire, is tortured by tests of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from tests.support.programs import ROOT

FORKS = {
    "gunicorn: sync, gthread, gevent; kill, HUP, USR2": (
        "tests/integrations/forksafe_gunicorn/test_sharing.py"
    ),
    "gunicorn's dirty workers": "tests/integrations/forksafe_gunicorn/test_dirty_workers.py",
    "uWSGI: default, threads, hooks, lazy": "tests/integrations/forksafe_uwsgi",
    "Celery, prefork": "tests/integrations/forksafe_celery",
    "RQ, a fork for each job": "tests/integrations/forksafe_rq",
    "multiprocessing: fork, forkserver, spawn": "tests/forks/test_multiprocessing.py",
    "300 forks under 8 busy threads": "tests/forks/test_storm.py",
    "not one byte on the wire": "tests/servers",
}
FAULTS = {
    "servers that die, networks that break, requests killed": "tests/faults",
    "bad input": "tests/forksafe_pool/test_bad_input.py",
    "bad input to redis-py's classes": "tests/integrations/forksafe_redis/test_bad_input.py",
    "bad input to SQLAlchemy's class": "tests/integrations/forksafe_sqlalchemy/test_bad_input.py",
    "bad input to psycopg's arguments": "tests/integrations/forksafe_psycopg/test_options.py",
    "bad input to Flask's configuration": "tests/integrations/forksafe_flask/test_config.py",
    "anything at all in Flask's configuration": "tests/integrations/forksafe_flask/test_fuzz.py",
}
ALL = {"suites": FORKS, "faults": FAULTS}


def run(path: str) -> dict[str, int]:
    """How many tests there were, and how many of them failed or were skipped."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "results.xml")
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-n", "auto", f"--junitxml={file}", path],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        suite = ElementTree.parse(file).getroot()[0]  # noqa: S314 - pytest's own
    counts = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    return {
        "tests": counts["tests"],
        "failed": counts["failures"] + counts["errors"],
        "skipped": counts["skipped"],
    }
