"""What a person might get wrong is told when the pool is made."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import create_engine

from forksafe_sqlalchemy import QueuePool


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("pool_size", "5", TypeError),
        ("pool_size", -1, ValueError),
        ("pool_size", 1.5, TypeError),
        ("max_overflow", "1", TypeError),
        ("max_overflow", -2, ValueError),
        ("timeout", "30", TypeError),
        ("timeout", -1, ValueError),
        ("timeout", float("nan"), ValueError),
    ],
)
def test_an_option(name: str, value: object, error: type[Exception]) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(error, match=rf"^{name} must be .* not {value!r}"):
        QueuePool(lambda: None, **options)


def test_an_option_of_an_engine() -> None:
    with pytest.raises(ValueError, match=r"^pool_size must be at least 0, not -5"):
        create_engine("sqlite://", poolclass=QueuePool, pool_size=-5)
