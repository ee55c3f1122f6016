"""Exports that fail are told in the log: to where and how, seldom, once, and without what they hold."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

import guardproxy_metrics as metrics
import guardproxy_tracing as tracing
from guardproxy import Settings
from guardproxy.testing.otlp import OtlpCollector
from guardproxy_metrics.hooks import _process as metering
from guardproxy_tracing.failures import Failures
from guardproxy_tracing.hooks import _process
from tests.plugins.test_tracing import run_alone

SECRET = "ca" + "nary"


@pytest.fixture(autouse=True)
def _off(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("EXPORTER_OTLP_TRACES_ENDPOINT", "EXPORTER_OTLP_METRICS_ENDPOINT", "SDK_DISABLED"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")  # no retry begins later
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={SECRET}")
    yield
    tracing.guardproxy_shutdown()
    metrics.guardproxy_shutdown()


def told(log: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [line for line in log if line["event"].startswith("export_")]


def export(count: int) -> None:
    run_alone(count)
    assert _process.provider is not None
    _process.provider.force_flush()


@pytest.mark.parametrize(
    ("protocol", "status", "how"),
    [
        ("http/protobuf", 401, {"status": 401}),
        ("http/protobuf", 404, {"status": 404}),
        ("http/protobuf", 503, {"status": 503}),
        ("http/protobuf", None, {"error": "requests.exceptions.ConnectionError"}),
        ("grpc", 503, {"status": "UNAVAILABLE"}),
        ("grpc", None, {"status": "UNAVAILABLE"}),
    ],
)
def test_a_failure_is_one_line_with_destination_and_reason(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    protocol: str,
    status: int | None,
    how: dict[str, Any],
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    with OtlpCollector(status=status or 200) as collector, capture_logs() as log, caplog.at_level("DEBUG"):
        to = collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint
        to = to if status else "http://127.0.0.1:9"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", to.replace("//", f"//me:{SECRET}@"))
        if protocol == "grpc":
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", to)
        tracing.guardproxy_startup(Settings())
        for _ in range(3):
            export(2)
        line = {"event": "export_failed", "log_level": "warning", "signal": "traces", "to": to, **how}
        assert told(log) == [line | {"lost": 2}]
        if status:
            collector.status = 200
            export(1)
            export(1)
            assert told(log)[1:] == [
                {"event": "export_restored", "log_level": "info", "signal": "traces", "to": to}
            ]
    assert [record.name for record in caplog.records if "opentelemetry.exporter" in record.name] == []
    assert SECRET not in repr(log) + caplog.text


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_metrics_tell_theirs(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    with OtlpCollector(status=503) as collector, capture_logs() as log:
        to = collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", to)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        metrics.guardproxy_startup(Settings())
        assert metering.provider is not None
        for status in (503, 503, 200):
            collector.status = status
            metering.provider.force_flush()
    failed, restored = told(log)
    assert (failed["event"], failed["signal"], failed["to"]) == ("export_failed", "metrics", to)
    assert failed["status"] == ("UNAVAILABLE" if protocol == "grpc" else 503)
    assert failed["lost"] > 0
    assert (restored["event"], restored["signal"]) == ("export_restored", "metrics")


def test_a_signal_is_told_of_once_in_a_minute_with_what_was_lost_since() -> None:
    now = 0.0
    failures = Failures("traces", "http://a.example", lambda: now)
    with capture_logs() as log:
        failures.worked()
        for second in (0.0, 1.0, 59.0, 60.0, 61.0):
            now = second
            failures.failed(2, 503)
        failures.worked()
        failures.failed(5, error="builtins.OSError")  # not a minute since, so neither it nor its end is told
        failures.worked()
        now = 121.0
        failures.failed(1, error="builtins.OSError")
    assert [(line["event"], line.get("lost")) for line in log] == [
        ("export_failed", 2),
        ("export_failed", 6),
        ("export_restored", None),
        ("export_failed", 8),
    ]
    assert (log[1]["status"], log[3]["error"]) == (503, "builtins.OSError")


def test_an_export_that_is_given_up_at_the_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    with OtlpCollector(status=503) as collector, capture_logs() as log:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint)
        own = tracing.TracingSettings(shutdown_timeout=0.1)
        tracing.guardproxy_startup(Settings(plugins={"tracing": own}))
        run_alone(1)
        tracing.guardproxy_shutdown()
    (line,) = told(log)
    assert (line["error"], line["lost"]) == ("shutdown", 1)


def test_the_libraries_speak_for_themselves_outside_of_an_export(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter").warning("a word")
    assert [record.message for record in caplog.records] == ["a word"]
