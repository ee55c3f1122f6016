import threading
from collections.abc import Iterator

import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from guardproxy.testing.otlp import OtlpCollector

EXPORTERS = ("http", "http gzip", "grpc")


@pytest.fixture
def collector() -> Iterator[OtlpCollector]:
    with OtlpCollector() as collector:
        yield collector


def exporter_to(collector: OtlpCollector, kind: str) -> SpanExporter:
    if kind == "grpc":
        return GrpcExporter(collector.grpc_endpoint, headers={"x-token": "t1"}, timeout=2)
    compression = Compression.Gzip if kind == "http gzip" else None
    url = collector.http_endpoint + "/v1/traces"
    return HttpExporter(url, headers={"x-token": "t1"}, compression=compression, timeout=2)


def export(collector: OtlpCollector, kind: str) -> None:
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter_to(collector, kind)))
    tracer = provider.get_tracer("test")
    link = Link(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1)))
    parent = tracer.start_span("parent", kind=SpanKind.SERVER, links=[link])
    parent.set_attributes({"text": "a", "number": 3, "ratio": 0.5, "yes": True, "list": ["a", "b"]})
    parent.add_event("happened", {"count": 2})
    parent.set_status(Status(StatusCode.ERROR, "why"))
    parent.end()
    provider.shutdown()


@pytest.mark.parametrize("kind", EXPORTERS)
def test_a_span_arrives_as_it_was(collector: OtlpCollector, kind: str) -> None:
    export(collector, kind)
    (span,) = collector.wait(1)
    assert span is collector.named("parent")
    assert (span.kind, span.status, span.status_message, span.parent_id) == ("SERVER", "ERROR", "why", "")
    assert span.attributes == {"text": "a", "number": 3, "ratio": 0.5, "yes": True, "list": ["a", "b"]}
    assert [(event.name, event.attributes) for event in span.events] == [("happened", {"count": 2})]
    assert span.links == ((f"{1:032x}", f"{2:016x}"),)
    assert span.resource["service.name"] == "shop"
    assert len(span.trace_id) == 32
    assert len(span.span_id) == 16
    assert 0 < span.start <= span.end


@pytest.mark.parametrize("kind", EXPORTERS)
def test_raw_has_bodies_and_headers(collector: OtlpCollector, kind: str) -> None:
    export(collector, kind)
    assert b"happened" in collector.raw
    assert b"x-token" in collector.raw
    assert b"t1" in collector.raw


def test_refused_exports_are_counted_and_kept_raw() -> None:
    with OtlpCollector(status=400) as collector:
        export(collector, "http")
        collector.wait_for_export()
        assert collector.exports == 1
        assert collector.spans == []
        assert b"happened" in collector.raw


def test_a_hanging_export_goes_through_when_released() -> None:
    with OtlpCollector(hang=True) as collector:
        exporting = threading.Thread(target=export, args=(collector, "http"))
        exporting.start()
        collector.wait_for_export()
        assert exporting.is_alive()
        collector.release()
        exporting.join()
        assert collector.named("parent").kind == "SERVER"


def test_waiting_for_spans_that_do_not_come_ends(collector: OtlpCollector) -> None:
    with pytest.raises(TimeoutError):
        collector.wait(1, seconds=0.01)
    with pytest.raises(TimeoutError):
        collector.wait_for_export(seconds=0.01)
    with pytest.raises(LookupError):
        collector.named("absent")


def metrics_exporter_to(collector: OtlpCollector, kind: str, timeout: float = 2) -> MetricExporter:
    if kind == "grpc":
        return GrpcMetrics(collector.grpc_endpoint, headers={"x-token": "t1"}, timeout=timeout)
    compression = Compression.Gzip if kind == "http gzip" else None
    url = collector.http_endpoint + "/v1/metrics"
    return HttpMetrics(url, headers={"x-token": "t1"}, compression=compression, timeout=timeout)


def meter_provider(collector: OtlpCollector, kind: str, timeout: float = 2) -> MeterProvider:
    reader = PeriodicExportingMetricReader(metrics_exporter_to(collector, kind, timeout), 3_600_000)
    return MeterProvider([reader], Resource({"service.name": "shop"}), shutdown_on_exit=False)


@pytest.mark.parametrize("kind", EXPORTERS)
def test_a_metric_arrives_as_it_was(collector: OtlpCollector, kind: str) -> None:
    provider = meter_provider(collector, kind)
    meter = provider.get_meter("test")
    orders = meter.create_counter("orders", "{order}", "Orders so far.")
    orders.add(2, {"paid": True})
    orders.add(3, {"paid": True})
    orders.add(1, {"paid": False})
    seconds = meter.create_histogram("wait", "s", "Waits.", explicit_bucket_boundaries_advisory=[1, 2])
    for value in (0.5, 1.5, 7.0):
        seconds.record(value)
    meter.create_up_down_counter("open").add(-1)
    meter.create_observable_gauge("heat", [lambda _: [Observation(36.5, {"list": ["a", "b"]})]])
    provider.force_flush()
    orders.add(4, {"paid": False})
    provider.shutdown()

    values = {point.attributes["paid"]: point.value for point in collector.metric("orders")}
    assert values == {True: 5, False: 5}
    assert len([point for point in collector.points if point.name == "orders"]) == 4
    (order, _) = collector.metric("orders")
    assert (order.unit, order.description, order.kind) == ("{order}", "Orders so far.", "sum")
    assert (order.monotonic, order.temporality, order.exemplars) == (True, "CUMULATIVE", 0)
    assert order.resource["service.name"] == "shop"
    (wait,) = collector.metric("wait")
    assert (wait.kind, wait.unit, wait.value) == ("histogram", "s", None)
    assert (wait.count, wait.total, wait.bounds, wait.buckets) == (3, 9.0, (1, 2), (1, 1, 1))
    (opened,) = collector.metric("open")
    assert (opened.value, opened.monotonic) == (-1, False)
    (heat,) = collector.metric("heat")
    assert (heat.kind, heat.value, heat.attributes) == ("gauge", 36.5, {"list": ["a", "b"]})
    assert collector.metric("absent") == []
    assert b"Orders so far." in collector.raw
    assert b"x-token" in collector.raw
    assert (collector.metric_exports, collector.exports) == (2, 0)


def test_refused_metrics_are_kept_raw() -> None:
    with OtlpCollector(status=400) as collector:
        provider = meter_provider(collector, "http")
        provider.get_meter("test").create_counter("orders").add(1)
        provider.shutdown()
        collector.wait_for_metrics()
        assert collector.points == []
        assert b"orders" in collector.raw


def traced(collector: OtlpCollector, *names: str, twice: bool = False) -> None:
    """A span within a span, from a parent that is remote; only those of `names` are exported."""
    provider = TracerProvider(shutdown_on_exit=False)
    exporting = [exporter_to(collector, "http") for _ in range(1 + twice)]
    tracer = provider.get_tracer("test")
    remote = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1))
    parent = tracer.start_span("parent", set_span_in_context(NonRecordingSpan(remote)))
    child = tracer.start_span("child", set_span_in_context(parent))
    for span in (child, parent):
        span.end()
        if span.name in names:  # type: ignore[attr-defined]
            for exporter in exporting:
                exporter.export([span])  # type: ignore[list-item]
    provider.shutdown()


def test_a_span_whose_parent_is_missing_is_an_orphan(collector: OtlpCollector) -> None:
    traced(collector, "parent", "child")
    assert collector.orphans() == []  # the parent of the parent is not ours to export
    traced(collector, "child")
    assert [span.name for span in collector.orphans()] == ["child"]


def test_a_span_that_is_exported_twice_is_a_duplicate(collector: OtlpCollector) -> None:
    traced(collector, "parent", "child")
    assert collector.duplicates() == []
    traced(collector, "parent", twice=True)
    assert [span.name for span in collector.duplicates()] == ["parent", "parent"]


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_a_retry_is_no_duplicate(kind: str) -> None:
    with OtlpCollector(hang=True) as collector:
        span = TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("parent")
        span.end()
        impatient = exporter_to(collector, kind)
        once = threading.Thread(target=impatient.export, args=([span],))
        once.start()
        collector.wait_for_export()
        collector.release()
        once.join()
        impatient.export([span])  # type: ignore[list-item]  # it did not hear that all was well
        assert collector.exports == 2
        assert [found.name for found in collector.spans] == ["parent"]
        assert collector.duplicates() == []


def test_waiting_for_metrics_that_do_not_come_ends(collector: OtlpCollector) -> None:
    with pytest.raises(TimeoutError):
        collector.wait_for_metrics(seconds=0.01)
