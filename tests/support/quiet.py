"""A child of which nobody hears: it neither logs nor warns, and no finalizer in it raises."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any

from tests.support.forks import in_child

LIMIT = 15.0


class _Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(f"{record.getMessage()} {record.exc_info}")


def in_quiet_child(function: Callable[[], Any], fork: Callable[[], int]) -> Any:
    """What ``function`` returned in a forked child that said nothing.

    A warning becomes an error, which a finalizer that warns cannot raise: so it is reported.
    """

    def child() -> tuple[list[str], Any]:
        complaints = _Complaints()
        logging.getLogger().addHandler(complaints)
        warnings.simplefilter("error")
        sys.unraisablehook = lambda args: complaints.said.append(repr(args))
        result = function()
        return complaints.said, result

    said, result = in_child(child, fork, LIMIT)
    assert said == [], said
    return result
