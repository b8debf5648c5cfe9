"""The conformance suite with psycopg, with TLS and without: a real server."""

from __future__ import annotations

from tests.support.sql_conformance import SqlConformance


class TestPool(SqlConformance):
    driver = "psycopg"


class TestPoolOverTls(TestPool):
    server = "postgres_tls"
