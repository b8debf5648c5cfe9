"""Arrows run one way: no circles of imports, and the core's private modules are its own."""

from __future__ import annotations

from tests.support import rooms

#: Still to be freed: the pools inside redis-py's and SQLAlchemy's classes.
REACHES_INSIDE = {"forksafe_redis._inner", "forksafe_sqlalchemy._inner"}


def test_only_the_core_imports_its_private_modules() -> None:
    outside = rooms.files("integrations", "examples", "bench")
    found = {
        name
        for name, path in outside.items()
        if any(imported.startswith("forksafe_pool._") for imported in rooms.imports(path))
    }
    assert found == REACHES_INSIDE


def test_no_two_files_import_each_other_not_even_for_types() -> None:
    modules = rooms.files("forksafe_pool", "integrations")
    assert rooms.circles(rooms.graph(modules)) == []


def test_a_circle_is_found() -> None:
    arrows = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}
    assert rooms.circles(arrows) == [["b", "c"]]
