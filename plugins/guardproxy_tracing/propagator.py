"""Where a trace comes from and goes to: `X-Opper-Parent-Span-Id`, `traceparent` and `traceresponse`."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from opentelemetry import trace
from opentelemetry.context import Context, create_key, get_value, set_value
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from guardproxy_tracing.ids import key_of, parent_of, trace_of, uuid_of

PARENT_HEADER = "x-opper-parent-span-id"
SPAN_HEADER = "X-Opper-Span-Id"
_SPAN_ID = re.compile(r"[0-9A-Fa-f]{16}")
_UNDECIDED = create_key("guardproxy-sampling-undecided")
# A UUID says nothing about sampling. A process that samples by the parent alone shall keep the trace.
_FLAGS = TraceFlags(TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID)
_W3C = TraceContextTextMapPropagator()


class OpperPropagator(TextMapPropagator):
    """Reads and writes `X-Opper-Parent-Span-Id`. A parent that another propagator found before wins."""

    def extract(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        getter: Getter[CarrierT] = default_getter,
    ) -> Context:
        """`context` with the span that the header names as its remote parent."""
        context = Context() if context is None else context
        if trace.get_current_span(context).get_span_context().is_valid:
            return context
        values = getter.get(carrier, PARENT_HEADER) or []
        found = parent_of(values[0].strip()) if len(values) == 1 else None
        return context if found is None else _with_parent(context, *found)

    def inject(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        setter: Setter[CarrierT] = default_setter,
    ) -> None:
        """Name the current span of `context` in the header."""
        span = trace.get_current_span(context).get_span_context()
        if span.is_valid:
            setter.set(carrier, PARENT_HEADER, uuid_of(span.trace_id, span.span_id))

    @property
    def fields(self) -> set[str]:
        """The header that `inject` writes."""
        return {PARENT_HEADER}


def _with_parent(context: Context, trace_id: int, span_id: int) -> Context:
    parent = _remote(trace_id, span_id)
    return set_value(_UNDECIDED, True, trace.set_span_in_context(NonRecordingSpan(parent), context))


def _remote(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=_FLAGS)


def undecided(context: Context | None) -> bool:
    """Whether the parent in `context` came without a decision on sampling."""
    return get_value(_UNDECIDED, context) is True


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an exchange's span belongs. `unusable`: a parent was named, and it is none."""

    parent: SpanContext | None = None
    decided: bool = False  # the parent said whether its trace is sampled
    links: tuple[Link, ...] = ()
    unusable: bool = False
    trace_id: int | None = None  # of a root that is to begin in a trace that has been named


def origin(headers: Mapping[str, str], ids: Mapping[str, str], trust: bool = True) -> Origin:
    """The origin that a request names; a new root unless `trust`.

    A valid `traceparent` in its headers (names in lower case) wins. Another parent in
    `X-Opper-Parent-Span-Id` becomes a link then. Without either, the `ids` of the body's `trace` object
    count (OpenRouter's): `trace_id`, `parent_span_id`.
    """
    if not trust:
        return Origin()
    given = headers.get(PARENT_HEADER, "").strip()
    named = parent_of(given) if given else None
    parent = _traceparent(headers)
    unusable = (bool(given) and named is None) or (parent is None and "traceparent" in headers)
    if parent is None and named is None and ids:
        found = _of_body(ids)
        return replace(found, unusable=found.unusable or unusable)
    if parent is None:
        return Origin(_remote(*named) if named else None, unusable=unusable)
    return Origin(parent, True, _links(parent, named), unusable)


def _of_body(ids: Mapping[str, str]) -> Origin:
    trace_id = trace_of(ids["trace_id"]) if "trace_id" in ids else None
    given = ids.get("parent_span_id")
    unusable = "trace_id" in ids and trace_id is None
    if given is None:
        return Origin(unusable=unusable, trace_id=trace_id)
    if _SPAN_ID.fullmatch(given):  # of W3C: it says nothing without its trace
        span_id = int(given, 16) if trace_id is not None else 0
    elif (named := parent_of(given)) is not None:
        span_id = named[1]
        trace_id = trace_id or named[0]
    else:
        span_id = 0
    if not span_id or trace_id is None:
        return Origin(unusable=True, trace_id=trace_id)
    return Origin(_remote(trace_id, span_id), unusable=unusable)


def _traceparent(headers: Mapping[str, str]) -> SpanContext | None:
    """The span that `traceparent` names. `tracestate` is left out: it holds free text."""
    value = headers.get("traceparent")
    if value is None:
        return None
    found = trace.get_current_span(_W3C.extract({"traceparent": value}, Context())).get_span_context()
    return found if found.is_valid else None


def _links(parent: SpanContext, named: tuple[int, int] | None) -> tuple[Link, ...]:
    if named is None:
        return ()
    trace_id, span_id = named
    if key_of(trace_id) == key_of(parent.trace_id):  # the UUID of a span in the same trace, begun elsewhere
        if span_id == parent.span_id:
            return ()
        trace_id = parent.trace_id
    return (Link(_remote(trace_id, span_id)),)


def traceparent(span: SpanContext) -> str:
    """`span` in the W3C spelling of `traceparent` and `traceresponse`."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"


def response_headers(span: SpanContext) -> dict[str, str]:
    """What tells the client how to continue from `span`."""
    return {SPAN_HEADER: uuid_of(span.trace_id, span.span_id), "traceresponse": traceparent(span)}


def _is_of(headers: Mapping[str, str], trace_id: int) -> bool:
    given = _traceparent(headers)
    return given is not None and given.trace_id == trace_id


def request_headers(span: SpanContext, words: Collection[str], headers: Mapping[str, str]) -> dict[str, str]:
    """What tells an upstream that `span` is its parent, in the `words` of the setting `propagate`.

    `headers` are the client's: what they say of another trace must not pass beside it.
    """
    found: dict[str, str] = {}
    if "tracecontext" in words:
        found["traceparent"] = traceparent(span)
        if "tracestate" in headers and not _is_of(headers, span.trace_id):
            found["tracestate"] = ""
    if "opper" in words:
        found[PARENT_HEADER] = uuid_of(span.trace_id, span.span_id)
    return found
