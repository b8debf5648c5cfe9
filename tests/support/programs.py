"""Run a piece of a test as a program of its own: its exit is then a real one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 60.0
# Python 3.12 and later warn of a fork in a process that has threads: that is the test.
_QUIET = ("-W", "ignore::DeprecationWarning")


def run_program(source: str, *arguments: str, limit: float = LIMIT) -> str:
    """Run ``source`` in a new interpreter; returns what it printed.

    Raises AssertionError, with all that it said, where it fails or prints to standard error.
    """
    paths = [str(ROOT), str(ROOT / "integrations"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, *_QUIET, "-c", textwrap.dedent(source), *arguments],
        capture_output=True,
        text=True,
        timeout=limit,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert not done.stderr, done.stderr
    return done.stdout
