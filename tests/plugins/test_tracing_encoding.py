"""Spans as bytes: equal, message by message, to what the SDK's own encoder makes of them."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from guardproxy_tracing.encoding import encode

TIMES = st.integers(0, 2**64 - 1)
TEXTS = st.text(max_size=12) | st.integers(60, 200).map("é".__mul__)  # around the longest that is remembered
PLAIN = (
    TEXTS
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)  # which is not equal to itself
)
ATTRIBUTES = st.dictionaries(
    TEXTS, PLAIN | st.lists(TEXTS, max_size=3) | st.lists(st.integers(0, 9)), max_size=4
)
STATES = st.sampled_from([TraceState(), TraceState([("a", "1"), ("b", "2")])])
CONTEXTS = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.sampled_from([TraceFlags(1), TraceFlags(3)]),
    STATES,
)
STATUSES = st.builds(Status, st.sampled_from(StatusCode)) | st.builds(
    Status, st.just(StatusCode.ERROR), TEXTS
)
RESOURCES = [Resource({"service.name": "a", "n": 1}), Resource({}, "https://example.org/schema")]
SCOPES = [
    None,
    InstrumentationScope("guardproxy"),
    InstrumentationScope("other", "1.2", "https://x", {"k": True}),
]
SPANS = st.builds(
    ReadableSpan,
    TEXTS,
    CONTEXTS,
    st.none() | CONTEXTS,
    st.sampled_from(RESOURCES),
    ATTRIBUTES,
    st.lists(st.builds(Event, TEXTS, ATTRIBUTES, TIMES), max_size=2),
    st.lists(st.builds(Link, CONTEXTS, ATTRIBUTES), max_size=2),
    st.sampled_from(SpanKind),
    st.none(),
    STATUSES,
    TIMES,
    TIMES,
    st.sampled_from(SCOPES),
)


def encoded(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    message = ExportTraceServiceRequest()
    message.ParseFromString(encode(spans))
    return message


@given(st.lists(SPANS, max_size=4))
def test_the_bytes_are_those_of_the_sdk(spans: Sequence[ReadableSpan]) -> None:
    assert encoded(spans) == encode_spans(spans)


def test_numbers_and_booleans_that_are_equal_stay_what_they_are() -> None:
    """What is remembered of attributes is by their type, too."""
    context = SpanContext(1, 2, False)
    spans = [
        ReadableSpan("a", context, resource=RESOURCES[0], attributes={"k": value})
        for value in (1, True, 1.0, 0, False, "1")
    ]
    assert encoded(spans) == encode_spans(spans)


def test_what_no_attribute_can_be_is_refused() -> None:
    odd = ReadableSpan("a", SpanContext(1, 2, False), resource=RESOURCES[0], attributes={"k": {1}})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="set"):
        encode([odd])
