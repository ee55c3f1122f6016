"""Spans and data points as an OTLP backend gets them, readable; and how their bytes are decoded."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

_REMOTE = trace_pb2.SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


@dataclass(frozen=True, slots=True)
class ExportedEvent:
    """An event of an exported span."""

    name: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExportedSpan:
    """A span as the backend got it. Ids are lower-case hex, times nanoseconds since 1970.

    `parent_id` is empty for a root, and `parent_remote` says that the parent is another program's;
    `kind` and `status` are the words of the OTLP enums (`SERVER`, `UNSET`, `ERROR`); `links` are
    (trace id, span id).
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    status: str
    start: int
    end: int
    attributes: Mapping[str, Any]
    events: tuple[ExportedEvent, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    resource: Mapping[str, Any] = field(default_factory=dict)
    trace_state: str = ""
    status_message: str = ""
    parent_remote: bool = False


@dataclass(frozen=True, slots=True)
class ExportedPoint:
    """A data point of a metric as the backend got it.

    `kind` is `sum` (one that only grows if `monotonic`), `gauge`, `histogram` or another word of OTLP.
    Sums and gauges have a `value`; histograms have `count`, `total` (the sum of what was recorded),
    `bounds`, and one bucket more than bounds. `temporality` is `CUMULATIVE`, `DELTA`, or empty where there
    is none.
    """

    name: str
    unit: str
    description: str
    kind: str
    attributes: Mapping[str, Any]
    value: int | float | None = None
    count: int | None = None
    total: float | None = None
    bounds: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()
    monotonic: bool = False
    temporality: str = ""
    exemplars: int = 0
    resource: Mapping[str, Any] = field(default_factory=dict)


def decode(body: bytes) -> list[ExportedSpan]:
    """The spans of an OTLP export request.

    Raises:
        google.protobuf.message.DecodeError: `body` is no such request.
    """
    request = ExportTraceServiceRequest.FromString(body)
    return [
        _span(span, _attributes(of_resource.resource.attributes))
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def decode_points(body: bytes) -> list[ExportedPoint]:
    """The data points of an OTLP export request of metrics.

    Raises:
        google.protobuf.message.DecodeError: `body` is no such request.
    """
    request = ExportMetricsServiceRequest.FromString(body)
    return [
        point
        for of_resource in request.resource_metrics
        for of_scope in of_resource.scope_metrics
        for metric in of_scope.metrics
        for point in _points(metric, _attributes(of_resource.resource.attributes))
    ]


def _points(metric: metrics_pb2.Metric, resource: Mapping[str, Any]) -> Iterator[ExportedPoint]:
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    data = getattr(metric, kind)
    temporality = ""
    if hasattr(data, "aggregation_temporality"):
        word = metrics_pb2.AggregationTemporality.Name(data.aggregation_temporality)
        temporality = word.removeprefix("AGGREGATION_TEMPORALITY_")
    for point in data.data_points:
        common: dict[str, Any] = {
            "name": metric.name,
            "unit": metric.unit,
            "description": metric.description,
            "kind": kind,
            "attributes": _attributes(point.attributes),
            "monotonic": getattr(data, "is_monotonic", False),
            "temporality": temporality,
            "exemplars": len(getattr(point, "exemplars", ())),
            "resource": resource,
        }
        if kind in ("sum", "gauge"):
            yield ExportedPoint(**common, value=getattr(point, point.WhichOneof("value")))
        else:
            yield ExportedPoint(
                **common,
                count=point.count,
                total=point.sum,
                bounds=tuple(getattr(point, "explicit_bounds", ())),
                buckets=tuple(getattr(point, "bucket_counts", ())),
            )


def _span(span: trace_pb2.Span, resource: Mapping[str, Any]) -> ExportedSpan:
    return ExportedSpan(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        status=trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        events=tuple(ExportedEvent(event.name, _attributes(event.attributes)) for event in span.events),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        resource=resource,
        trace_state=span.trace_state,
        status_message=span.status.message,
        parent_remote=bool(span.flags & _REMOTE),
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    pair: KeyValue
    for pair in pairs:
        found[pair.key] = _value(pair.value)
    return found


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind) if kind else None
