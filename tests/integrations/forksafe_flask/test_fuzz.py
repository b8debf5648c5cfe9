"""Whatever a configuration says makes an app, or is told by its key; nothing connects."""

from __future__ import annotations

import traceback
from typing import Any

from flask import Flask
from hypothesis import example, given
from hypothesis import strategies as st

from forksafe_flask import ForkSafePool
from tests.integrations.forksafe_flask import fakes
from tests.support.anything import anything, patient

URL = "redis://localhost"
SECRET = "s3cr3t"  # noqa: S105 - for the tests' own URLs
WHERE = 'FORKSAFE_POOLS["cache"]'


# What these make raises what it likes, which is told with the pool's key alone.
MAKERS = ("connection_class", "parser_class")
REDIS_OPTIONS = (
    *("host", "port", "db", "username", "password", "path", "client_name", "protocol", "encoding"),
    *("encoding_errors", "decode_responses", "socket_timeout", "socket_connect_timeout", "retry"),
    *("socket_keepalive", "socket_keepalive_options", "socket_type", "socket_read_size"),
    *("health_check_interval", "credential_provider", "redis_connect_func", "command_packer"),
    *("max_connections", "timeout", "queue_class", "min_size", "max_waiting", "max_lifetime"),
    *("max_idle", "check_after", "name", "max_size", "pasword", *MAKERS),
)
POOL_OPTIONS = (
    *("max_size", "min_size", "timeout", "max_waiting", "max_lifetime", "max_idle", "check"),
    *("check_after", "configure", "reset", "close", "fileno", "name", "max_connections", "chekc"),
)


def complaint(config: dict[str, Any]) -> str | None:
    """What init_app says, if it makes no app; its causes must not show a password either."""
    app = Flask("app")
    app.config.update(config)
    wrong: Exception | None = None
    try:
        pools = ForkSafePool(app)
    except (TypeError, ValueError) as error:
        wrong = error
    if wrong is not None:
        assert SECRET not in "".join(traceback.format_exception(wrong))
        return str(wrong)
    with app.app_context():
        for stats in pools.stats().values():
            assert (stats.opened, stats.connect_errors) == (0, 0)
    return None


def names_one(said: str, options: dict[str, Any]) -> bool:
    told = said.removeprefix(WHERE)
    return told != said and any(name in told for name in options)


def options_of(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), anything, max_size=3)


@patient
@given(options_of(REDIS_OPTIONS))
def test_any_options_beside_a_url_make_an_app_or_are_named(options: dict[str, Any]) -> None:
    said = complaint({"FORKSAFE_POOLS": {"cache": {"url": URL, **options}}})
    if said is not None and not names_one(said, options):
        assert said.startswith(f"{WHERE}: ")
        assert not options.keys().isdisjoint(MAKERS)


@patient
@given(options_of(POOL_OPTIONS))
def test_any_options_beside_a_connect_make_an_app_or_are_named(options: dict[str, Any]) -> None:
    connect = fakes.Connections()
    said = complaint({"FORKSAFE_POOLS": {"cache": {"connect": connect, **options}}})
    assert said is None or names_one(said, options)
    assert connect.made == []


@patient
@given(anything | st.text(alphabet="ab.:1 ", max_size=6))
@example("a:b")
def test_any_connect_is_a_function_or_is_named(connect: object) -> None:
    said = complaint({"FORKSAFE_POOLS": {"cache": {"connect": connect}}})
    assert callable(connect) or names_one(str(said), {"connect": connect})


names = st.sampled_from(["default", "cache", "url", "connect"]) | anything.filter(
    lambda value: not isinstance(value, list | dict)
)


@patient
@given(
    st.dictionaries(
        st.sampled_from(["FORKSAFE_POOL_URL", "FORKSAFE_POOLS"]),
        st.one_of(
            anything,
            st.dictionaries(names, anything, max_size=2),
            st.dictionaries(names, st.dictionaries(names, anything, max_size=2), max_size=2),
        ),
    )
)
@example({"FORKSAFE_POOLS": {"cache": {"url": URL, "connect": fakes.connect}}})
def test_a_configuration_of_any_shape_makes_an_app_or_is_told_by_its_key(
    config: dict[str, Any],
) -> None:
    said = complaint(config)
    assert said is None or said.startswith(("FORKSAFE_POOL_URL", "FORKSAFE_POOLS", "no pool is "))


junk = st.text(alphabet=":/@?#[]%=&0159ab.é \0\ud800", max_size=6)
queries = st.builds(
    "?{}={}".format,
    st.sampled_from([name for name in REDIS_OPTIONS if name not in MAKERS]),
    st.text(max_size=5) | st.sampled_from(["1", "-1", "nan", "1e400", "9" * 400]),
)


@patient
@given(
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["redis://", "rediss://", "unix://", "redis://localhost", "http://", ""]),
        junk,
        st.text(max_size=3),
        st.just("") | queries,
    )
)
@example("redis://[::1")
@example("redis://localhost:99999")
@example("redis://localhost?wibble=5")
def test_any_url_makes_an_app_or_is_told_by_its_key(url: str) -> None:
    said = complaint({"FORKSAFE_POOL_URL": url})
    # An empty one is as none.
    assert said is None or said.startswith("FORKSAFE_POOL_URL" if url else "no pool is configured")


@patient
@given(
    st.builds(
        "{}{}{}{}@{}{}".format,
        st.sampled_from(["redis://u:", "rediss://:", "unix://u:", "redi://:", "redis:/:", ""]),
        *(junk, st.just(SECRET), junk, junk, st.just("") | queries),
    )
)
@example(f"redis://[{SECRET}@localhost")
@example(f"redis://:1/{SECRET}@localhost")
@example(f"redis://:{SECRET}@localhost?socket_timeout=soon")
def test_a_password_in_a_url_does_not_show(url: str) -> None:
    """Which `complaint` sees to, for the causes of the error too."""
    said = complaint({"FORKSAFE_POOLS": {"cache": {"url": url}}})
    assert said is None or said.startswith(WHERE)
