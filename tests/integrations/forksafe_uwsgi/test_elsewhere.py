"""Outside uWSGI: the same application runs under anything else."""

from __future__ import annotations

from pathlib import Path

from tests.support.programs import run_program

INSTALL = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
sys.path[:0] = sys.argv[1:]

import forksafe_uwsgi
assert "uwsgi" not in sys.modules

from forksafe_pool import Pool
pool = Pool(object, min_size=1)
forksafe_uwsgi.install()
print("made", pool.stats().opened)
"""
SAID = "DEBUG:forksafe_uwsgi:this is not uWSGI: no hook to install\nmade 0\n"


def test_nothing_happens() -> None:
    assert run_program(INSTALL) == SAID


def test_a_folder_called_uwsgi_is_not_uwsgi(tmp_path: Path) -> None:
    """It holds a project's uwsgi.ini, say; Python imports it as a namespace package."""
    (tmp_path / "uwsgi").mkdir()
    (tmp_path / "uwsgi" / "uwsgi.ini").touch()
    assert run_program(INSTALL, str(tmp_path)) == SAID
