"""How metrics get out: the page, OTLP, slow backends, and several processes."""

import asyncio
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pluggy
import pytest
from structlog.testing import capture_logs

import guardproxy_metrics as metrics
import guardproxy_tracing as tracing
from guardproxy import ConfigError, Settings, hookspecs
from guardproxy.app import create_app
from guardproxy.plugins import PROJECT
from guardproxy.testing import FakeUpstream
from guardproxy.testing.otlp import OtlpCollector
from guardproxy_metrics import table
from guardproxy_metrics.hooks import _process
from tests.plugins.metering import EXCHANGES, SHADOW, exchange, metered, scrape, total

pytestmark = pytest.mark.usefixtures("metrics_off")


# The page.


@pytest.mark.parametrize(
    ("accept", "encoding", "kind"),
    [
        ("", "", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0",
            "",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        ("text/plain;version=x;escaping=dots", "", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=1.0.0", "gzip", "text/plain; version=1.0.0; charset=utf-8"),
    ],
)
async def test_the_page_comes_as_it_is_asked_for(accept: str, encoding: str, kind: str) -> None:
    async with metered() as client:
        await exchange(client, "allowed")
        headers = {"accept": accept, "accept-encoding": encoding}
        got = await client.post(b"", headers, path="/metrics", method="GET")
    assert got.status == 200
    assert got.headers["content-type"].startswith(kind)
    assert got.headers["content-type"].count("charset") == 1
    body = gzip.decompress(got.body) if encoding else got.body
    assert got.headers.get("content-encoding", "") == encoding
    assert b"guardproxy_exchanges_total{" in body
    assert body.endswith(b"# EOF\n") is accept.startswith("application")


async def test_scrapes_at_the_same_time_do_not_mix() -> None:
    async with metered() as client:
        await exchange(client, "allowed")
        pages = await asyncio.gather(*(client.post(b"", path="/metrics", method="GET") for _ in range(12)))
    for page in pages:
        assert page.body.decode().count("# TYPE guardproxy_exchanges_total counter") == 1


async def test_without_it_there_is_no_page_and_nothing_is_measured() -> None:
    async with metered(own={"prometheus": False}) as client:
        await exchange(client, "allowed")
        got = await client.post(b"", path="/metrics", method="GET")
        assert _process.instruments is None
    assert (got.status, got.json["error"]["code"]) == (404, "not_found")


async def test_switched_off_as_a_whole_the_page_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    async with metered() as client:
        await exchange(client, "allowed")
        assert await scrape(client) == {}
        assert _process.instruments is None


async def test_several_processes_have_no_page() -> None:
    with capture_logs() as log:
        async with metered(workers=3) as client:
            got = await client.post(b"", path="/metrics", method="GET")
    assert (got.status, got.json["error"]["code"]) == (501, "not_implemented")
    assert got.json["error"]["message"].startswith("With workers above 1 GET /metrics would tell of the one")
    assert set(got.json["error"]) == {"message", "type", "code", "param"}
    said = [line["reason"] for line in log if line["event"] == "metrics_page_refused"]
    assert said == [got.json["error"]["message"]]


# Export.


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_metrics_are_exported_at_the_latest_at_the_end(
    monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    with OtlpCollector() as collector:
        endpoint = collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        async with metered(own={"prometheus": False}, floor=SHADOW, guard_timeout=0.05) as client:
            for name in EXCHANGES:
                await exchange(client, name)
        collector.wait_for_metrics()
    exported = {point.name: point for point in collector.points}
    assert set(exported) == {one.name for one in table.INSTRUMENTS}
    for one in table.INSTRUMENTS:
        point = exported[one.name]
        assert (point.unit, point.description) == (one.unit, one.description)
        assert point.bounds == one.bounds
        assert point.kind == ("histogram" if one.bounds else "sum")
        assert point.monotonic is (one.kind is table.Kind.COUNTER)
        assert {name for p in collector.metric(one.name) for name in p.attributes} == set(one.attributes)
        assert point.resource["service.name"] == "guardproxy"
        assert point.resource["service.instance.id"]
    assert sum(point.value or 0 for point in collector.metric("guardproxy.exchanges")) == len(EXCHANGES)


async def test_metrics_are_exported_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    with OtlpCollector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint)
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
        async with metered() as client:
            await exchange(client, "allowed")
            await asyncio.to_thread(collector.wait_for_metrics)


@pytest.mark.parametrize("how", ["hangs", "refuses", "is not there"])
async def test_a_backend_changes_nothing_for_clients(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    with OtlpCollector(status=500 if how == "refuses" else 200, hang=how == "hangs") as collector:
        endpoint = "http://127.0.0.1:9" if how == "is not there" else collector.http_endpoint
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
        began = time.monotonic()
        with capture_logs() as log:
            async with metered(own={"shutdown_timeout": 0.3}) as client:
                got = await client.post({"model": "tag", "input": "hi"})
                if how != "is not there":
                    await asyncio.to_thread(collector.wait_for_metrics)
                assert got.status == 200
                assert total(await scrape(client), "guardproxy_exchanges_total") == 1
        assert time.monotonic() - began < 30  # nothing waits for the exporter's own time-outs and retries
    if how == "hangs":
        assert {"event": "metrics_given_up", "log_level": "warning", "seconds": 0.3} in log


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"METRICS_EXPORTER": "file"}, "OTEL_METRICS_EXPORTER = 'file' must be one of otlp, console, none."),
        (
            {"METRICS_EXPORTER": "otlp", "EXPORTER_OTLP_METRICS_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL = 'http/json' must be one of http/protobuf, grpc.",
        ),
        (
            {"EXPORTER_OTLP_METRICS_ENDPOINT": "localhost:4318"},
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT must be an http:// or https:// URL.",
        ),
        (
            {"METRICS_EXPORTER": "console", "METRIC_EXPORT_INTERVAL": "1m"},
            "OTEL_METRIC_EXPORT_INTERVAL = '1m' must be milliseconds, more than 0.",
        ),
        (
            {"METRICS_EXPORTER": "console", "METRIC_EXPORT_INTERVAL": "0"},
            "OTEL_METRIC_EXPORT_INTERVAL = '0' must be milliseconds, more than 0.",
        ),
    ],
)
def test_what_there_is_not_stops_the_startup(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_{name}", value)
    with pytest.raises(ConfigError, match=re.escape(message)):
        metrics.guardproxy_check(Settings())


@pytest.mark.parametrize(
    ("variables", "page", "workers", "to"),
    [
        ({}, True, 1, ["/metrics"]),
        ({}, True, 2, ["nowhere"]),
        ({}, False, 1, ["nowhere"]),
        ({"SDK_DISABLED": "true", "METRICS_EXPORTER": "otlp"}, True, 1, ["nowhere"]),
        ({"METRICS_EXPORTER": "console"}, False, 1, ["standard output, as JSON"]),
        (
            {"EXPORTER_OTLP_ENDPOINT": "http://me:pw@127.0.0.1:9/x?k=v"},
            True,
            1,
            ["http://127.0.0.1:9 (http/protobuf)", "/metrics"],
        ),
        (
            {"EXPORTER_OTLP_METRICS_ENDPOINT": "127.0.0.1:9", "EXPORTER_OTLP_PROTOCOL": "grpc"},
            False,
            1,
            ["127.0.0.1:9 (grpc)"],
        ),
    ],
)
def test_the_log_says_where_metrics_go_and_no_credential(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], page: bool, workers: int, to: list[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_{name}", value)
    own = metrics.MetricsSettings(prometheus=page, shutdown_timeout=0.1)
    with capture_logs() as logged:
        metrics.guardproxy_startup(Settings(plugins={"metrics": own}, workers=workers))
    assert [line["to"] for line in logged if line["event"] == "metrics"] == [to]


def test_metrics_may_stay_at_home_where_spans_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    metrics.guardproxy_startup(Settings(plugins={"metrics": metrics.MetricsSettings(prometheus=False)}))
    assert _process.instruments is None


async def test_dropped_spans_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    with OtlpCollector(hang=True) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.http_endpoint + "/v1/traces")
        async with metered(plugins=[tracing]) as client:
            dropped = {"guardproxy_result": "dropped"}
            before = total(await scrape(client), "guardproxy_trace_spans_total", **dropped)
            for _ in range(8):
                await exchange(client, "allowed")
            found = await scrape(client)
            assert total(found, "guardproxy_trace_spans_total", **dropped) - before >= 8 * 3 - 2 - 2
            collector.release()


# Several processes.


def served(settings: Settings) -> Any:
    """What each worker of the test below serves."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(metrics, "metrics")
    return create_app(settings, plugins=manager)


PROGRAM = """
import sys
from guardproxy import logs, serve
from guardproxy.settings import Settings
from tests.plugins.test_metrics_export import served

if __name__ == "__main__":
    settings = Settings(port=0, workers=2, log_format="json", upstream=sys.argv[1])
    logs.configure(settings, sys.stdout)
    sys.exit(serve.run(settings, served))
"""


def lines(process: "subprocess.Popen[str]") -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    return (json.loads(line) for line in process.stdout)


def test_two_workers_are_two_instances_whose_sums_are_right() -> None:
    with FakeUpstream() as fake, OtlpCollector() as collector:
        environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint}
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, fake.url],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with process:
            try:
                log: list[dict[str, Any]] = []
                for line in lines(process):
                    log.append(line)
                    if line["event"] == "listening":
                        break
                url = log[-1]["address"]
                for _ in range(20):  # each on a connection of its own
                    body, headers = {"model": "m", "input": "hi"}, {"authorization": "Bearer any"}
                    assert httpx.post(f"{url}/v1/responses", json=body, headers=headers).status_code == 200
                refused = httpx.get(f"{url}/metrics")
                process.send_signal(signal.SIGTERM)
                log += lines(process)
                assert process.wait(60) == 0
            finally:
                process.kill()
    assert refused.status_code == 501
    message = refused.json()["error"]["message"]
    assert [line["reason"] for line in log if line["event"] == "metrics_page_refused"] == [message]
    instances = {point.resource["service.instance.id"] for point in collector.points}
    assert len(instances) == 2
    assert sum(point.value or 0 for point in collector.metric("guardproxy.exchanges")) == 20
