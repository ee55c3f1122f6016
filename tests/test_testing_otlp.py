import threading
from collections.abc import Iterator

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

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
