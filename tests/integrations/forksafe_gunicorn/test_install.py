"""What install() makes of a configuration's globals."""

from __future__ import annotations

import functools
import os
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
from gunicorn.config import KNOWN_SETTINGS, Config

import forksafe_gunicorn
from forksafe_gunicorn import install
from forksafe_pool import Pool

ARITY = {"post_fork": 2, "post_worker_init": 1, "worker_exit": 2, "child_exit": 2}
HOOKS = sorted(ARITY)


class Worker:
    """A worker by whose log one sees that ours ran: see `calls`."""

    def __init__(self, calls: list[str]) -> None:
        self.pid = os.getpid()
        self.log = self
        self._calls = calls

    def debug(self, *_: Any, **__: Any) -> None:
        self._calls.append("ours")

    error = debug


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who was called, ours or theirs, in this order."""

    def fail() -> list[Pool[Any]]:
        raise RuntimeError("for the hook to report")

    monkeypatch.setattr("forksafe_pool.pools", fail)
    monkeypatch.setattr("forksafe_pool.workers.pools", fail)
    return []


def theirs(name: str, calls: list[str]) -> Callable[..., None]:
    """A hook of the user's, of the right arity."""
    if ARITY[name] == 1:

        def one(worker: object) -> None:
            calls.append("theirs")

        return one

    def two(server: object, worker: object) -> None:
        calls.append("theirs")

    return two


def call(name: str, hook: Any, calls: list[str]) -> None:
    """Call a hook as gunicorn does: validated by its setting."""
    cfg = Config()
    cfg.set(name, hook)
    getattr(cfg, name)(*[None, Worker(calls)][-ARITY[name] :])


ORDER = {
    "post_fork": ["ours", "theirs"],
    "post_worker_init": ["ours", "theirs"],
    "worker_exit": ["theirs", "ours"],
    "child_exit": ["theirs", "ours"],
}


@pytest.mark.parametrize("name", HOOKS)
class TestOneHook:
    def test_is_added_where_there_is_none(self, name: str, calls: list[str]) -> None:
        config: dict[str, Any] = {}
        install(config)
        call(name, config[name], calls)
        assert calls == ["ours"]

    def test_joins_a_function(self, name: str, calls: list[str]) -> None:
        config: dict[str, Any] = {name: theirs(name, calls)}
        install(config)
        call(name, config[name], calls)
        assert calls == ORDER[name]

    def test_joins_a_partial(self, name: str, calls: list[str]) -> None:
        def one(note: str, worker: object) -> None:
            calls.append(note)

        def two(note: str, server: object, worker: object) -> None:
            calls.append(note)

        function: Callable[..., None] = one if ARITY[name] == 1 else two
        config: dict[str, Any] = {name: functools.partial(function, "theirs")}
        install(config)
        call(name, config[name], calls)
        assert calls == ORDER[name]

    def test_joins_a_callable_object(self, name: str, calls: list[str]) -> None:
        function = theirs(name, calls)

        class One:
            def __call__(self, worker: object) -> None:
                function(worker)

        class Two:
            def __call__(self, server: object, worker: object) -> None:
                function(server, worker)

        config: dict[str, Any] = {name: One() if ARITY[name] == 1 else Two()}
        install(config)
        call(name, config[name], calls)
        assert calls == ORDER[name]

    def test_joins_a_bound_method(self, name: str, calls: list[str]) -> None:
        class Hooks:
            def one(self, worker: object) -> None:
                calls.append("theirs")

            def two(self, server: object, worker: object) -> None:
                calls.append("theirs")

        config: dict[str, Any] = {name: Hooks().one if ARITY[name] == 1 else Hooks().two}
        install(config)
        call(name, config[name], calls)
        assert calls == ORDER[name]

    def test_joins_a_dotted_name(
        self, name: str, calls: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = types.ModuleType("their_hooks")
        function = theirs(name, calls)
        vars(module)["function"] = function
        monkeypatch.setitem(sys.modules, "their_hooks", module)
        config: dict[str, Any] = {name: "their_hooks.function"}
        install(config)
        call(name, config[name], calls)
        assert calls == ORDER[name]
        assert vars(module)["function"] is function

    def test_twice_is_once(self, name: str, calls: list[str]) -> None:
        config: dict[str, Any] = {name: theirs(name, calls)}
        install(config)
        first = dict(config)
        install(config)
        assert config == first
        call(name, config[name], calls)
        assert calls == ORDER[name]

    def test_twice_is_once_beneath_a_decorator(self, name: str, calls: list[str]) -> None:
        config: dict[str, Any] = {name: theirs(name, calls)}
        install(config)
        joined = config[name]

        @functools.wraps(joined)
        def traced(*args: Any) -> None:
            joined(*args)

        config[name] = traced
        install(config)
        call(name, config[name], calls)
        assert calls == ORDER[name]

    def test_one_function_in_two_configurations(self, name: str, calls: list[str]) -> None:
        """What HUP does: the file is executed again, what it imports is not."""
        function = theirs(name, calls)
        first: dict[str, Any] = {name: function}
        install(first)
        again: dict[str, Any] = {name: function}
        install(again)
        call(name, again[name], calls)
        assert calls == ORDER[name]

    @pytest.mark.parametrize("form", ["object", "dotted name"])
    def test_ours_is_not_joined_to_itself(self, name: str, form: str) -> None:
        ours = getattr(forksafe_gunicorn, name)
        config: dict[str, Any] = {name: ours if form == "object" else f"forksafe_gunicorn.{name}"}
        install(config)
        assert config[name] is ours

    @pytest.mark.parametrize("error", [RuntimeError, SystemExit])
    def test_what_theirs_raises_passes(
        self, name: str, error: type[BaseException], calls: list[str]
    ) -> None:
        function = theirs(name, calls)

        def raise_one(worker: object) -> None:
            function(worker)
            raise error("theirs")

        def raise_two(server: object, worker: object) -> None:
            function(server, worker)
            raise error("theirs")

        config: dict[str, Any] = {name: raise_one if ARITY[name] == 1 else raise_two}
        install(config)
        with pytest.raises(error, match="theirs"):
            call(name, config[name], calls)
        assert calls == ORDER[name]

    @pytest.mark.parametrize(
        "wrong", [None, "nowhere", "no_such_module.hook", lambda: None, lambda a, b, c: None]
    )
    def test_what_gunicorn_refuses_is_left_to_it(self, name: str, wrong: Any) -> None:
        config: dict[str, Any] = {name: wrong}
        install(config)
        assert config[name] is wrong
        with pytest.raises(TypeError):
            Config().set(name, config[name])


def test_other_settings_are_not_touched() -> None:
    config: dict[str, Any] = {"timeout": 3, "pre_fork": print, "helper": len}
    install(config)
    assert set(config) == {"timeout", "pre_fork", "helper", *HOOKS}
    assert (config["timeout"], config["pre_fork"], config["helper"]) == (3, print, len)


def test_something_else_than_the_globals() -> None:
    with pytest.raises(TypeError, match=r"^config must be .*install\(globals\(\)\), not <module"):
        forksafe_gunicorn.install(forksafe_gunicorn)  # type: ignore[arg-type]


def test_star_import_then_install() -> None:
    config: dict[str, Any] = {name: getattr(forksafe_gunicorn, name) for name in HOOKS}
    before = dict(config)
    install(config)
    assert config == before


def test_the_module_is_a_configuration_of_hooks_alone() -> None:
    known = {str(setting.name) for setting in KNOWN_SETTINGS}
    assert known & vars(forksafe_gunicorn).keys() == set(HOOKS)
    cfg = Config()
    for name in HOOKS:
        cfg.set(name, getattr(forksafe_gunicorn, name))


def test_all_names_what_is_public() -> None:
    assert sorted(forksafe_gunicorn.__all__) == sorted([*HOOKS, "install"])
