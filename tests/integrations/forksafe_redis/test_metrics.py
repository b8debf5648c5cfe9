"""redis-py's OpenTelemetry counts, through the real SDK."""

from __future__ import annotations

import json

import pytest

from tests.support.programs import run_program
from tests.support.valkey import Valkey

pytest.importorskip("redis.observability", reason="redis-py counts connections since 7.4")

PROGRAM = """
import gc, json, os, sys
import redis
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from redis.observability.config import MetricGroup, OTelConfig
from redis.observability.providers import get_observability_instance
import forksafe_redis

url, module, kind = sys.argv[1:]
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
get_observability_instance().init(
    OTelConfig(metric_groups=[MetricGroup.CONNECTION_BASIC, MetricGroup.CONNECTION_ADVANCED])
)

def counts():
    found = {}
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    state = point.attributes.get("db.client.connection.state", "")
                    key = f"{metric.name.rsplit('.', 1)[-1]} {state}".strip()
                    value = getattr(point, "value", getattr(point, "count", None))
                    found[key] = found.get(key, 0) + value
    keys = ("count idle", "count used", "create_time", "wait_time")
    return {key: found.get(key, 0) for key in keys}

def counts_in_child(use):
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, json.dumps(use()).encode())
        os._exit(0)
    os.wait()
    return json.loads(os.read(read, 1000))

def ping():
    client.ping()
    return counts()

log = []
pool = getattr({"ours": forksafe_redis, "theirs": redis}[module], kind).from_url(url, protocol=3)
client = redis.Redis(connection_pool=pool)
first, second = pool.get_connection(), pool.get_connection()
log.append(counts())
pool.release(first)
log.append(counts())
client.ping()
log.append(counts())
pool.disconnect()
log.append(ping())
if module == "ours":
    pool.release(first)  # a second time
    log.append(counts_in_child(ping))
    log.append(counts_in_child(lambda: counts_in_child(ping)))
    log.append(counts())
    pool._pool.close(0)  # a polite end: what is idle goes
    log.append(counts())
    pool.discard(pool.get_connection())
    pool.discard(first)  # it is not in use
    log.append(counts())
    pool.reset()
    log.append(counts())
    del second
pool.release(pool.get_connection())
held = pool.get_connection()
log.append(counts())
del held, first, client, pool
gc.collect()
log.append(counts())
print(json.dumps(log))
"""


def measured(valkey: Valkey, module: str, kind: str) -> list[dict[str, int]]:
    found: list[dict[str, int]] = json.loads(run_program(PROGRAM, valkey.url, module, kind))
    return found


def idle_and_used(counts: dict[str, int]) -> tuple[int, int]:
    return counts["count idle"], counts["count used"]


@pytest.mark.parametrize("kind", ["ConnectionPool", "BlockingConnectionPool"])
def test_counts(valkey: Valkey, kind: str) -> None:
    pytest.importorskip("opentelemetry.sdk")
    ours, theirs = measured(valkey, "ours", kind), measured(valkey, "theirs", kind)
    assert ours[:4] == theirs[:4], "both in use, one released, after a command, a reconnect"
    in_child, in_grandchild, in_parent, closed, discarded, after_reset, held, dropped = map(
        idle_and_used, ours[4:]
    )
    assert in_child == in_grandchild == (1, 0)
    assert in_parent == idle_and_used(ours[3]), "neither a second release nor a child counts"
    assert closed == discarded == (0, 1)
    assert (after_reset, held, dropped) == ((0, 0), (0, 1), (0, 0))
