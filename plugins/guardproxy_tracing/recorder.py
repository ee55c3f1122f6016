"""Spans at a price that every exchange can pay: begun when a step begins, ended when it ends, handed on.

A finished span is the SDK's `ReadableSpan` and goes to the SDK's processors. The SDK's own tracer makes the
same at three times the cost: it asks the sampler for every span, copies and checks every attribute, and takes
locks, for callers whom it does not know. Here one task owns a span, the sampler is asked once an exchange
(its span's decision holds for those below it), and attributes are right as they are made. Until a span ends
it is three facts; what it says is put together then, once.
"""

from collections.abc import Sequence
from time import time_ns
from typing import Final

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util import types

from guardproxy_tracing.propagator import Origin
from guardproxy_tracing.provider import Provider

Value = str | bool | int | float | list[str]
Attributes = dict[str, Value]

_UNDECIDED: Final = Context()  # no parent, or one that did not say whether its trace is sampled
_UNSET: Final = Status(StatusCode.UNSET)
_ERROR: Final = Status(StatusCode.ERROR)
_DROPPED: Final = TraceFlags(TraceFlags.DEFAULT)
_KEPT: Final = TraceFlags(TraceFlags.SAMPLED)
_FLAGS: Final = {
    (flags, random): TraceFlags(flags | (TraceFlags.RANDOM_TRACE_ID if random else 0))
    for flags in (_DROPPED, _KEPT)
    for random in (False, True)
}
_USUAL: Final = 128  # attributes of a span, by the specification; none of ours has as many


class Recorder:
    """Makes the spans of exchanges, for the processors of `provider`."""

    def __init__(self, provider: Provider, scope: str) -> None:
        self.sampler = provider.configured_sampler
        self._resource = provider.resource
        self._scope = InstrumentationScope(scope)
        self._ids = provider.id_generator
        self._takers = provider.takers
        limits = SpanLimits()  # of the environment
        most = limits.max_span_attributes
        unlimited = limits.max_span_attribute_length is None and (most is None or most >= _USUAL)
        self._limits = None if unlimited else limits

    def root(self, origin: Origin, name: str, kind: SpanKind) -> SpanContext:
        """The context of a span that begins where `origin` says; its flags say whether it is kept.

        None of the samplers that OTEL_TRACES_SAMPLER names looks at a span's attributes.
        """
        parent, ids = origin.parent, self._ids
        if parent is None:
            trace_id = origin.trace_id or ids.generate_trace_id()
            random = ids.is_trace_id_random()
        else:
            trace_id = parent.trace_id
            random = parent.trace_flags.random_trace_id
        decided = _UNDECIDED
        if parent is not None and origin.decided:
            decided = trace.set_span_in_context(NonRecordingSpan(parent), decided)
        sampled = self.sampler.should_sample(decided, trace_id, name, kind, None, origin.links)
        flags = _FLAGS[_KEPT if sampled.decision is Decision.RECORD_AND_SAMPLE else _DROPPED, random]
        return SpanContext(trace_id, ids.generate_span_id(), False, flags, sampled.trace_state)

    def below(self, parent: SpanContext) -> SpanContext:
        """The context of a span inside the one of `parent`."""
        # As the class makes it, less its checks: ids of ours are valid, and this is asked for every span.
        trace_id, _, _, flags, state, _ = parent
        fields = (trace_id, self._ids.generate_span_id(), False, flags, state, True)
        return tuple.__new__(SpanContext, fields)

    def finish(
        self,
        span: "LiveSpan",
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        *,
        events: Sequence[Event] = (),
        links: Sequence[Link] = (),
        failed: bool = False,
        time: int | None = None,
    ) -> None:
        """Hand on `span`, which ends at `time` (nanoseconds since 1970) or now, with all that it says."""
        given: types.Attributes = attributes
        if (limits := self._limits) is not None:
            most, length = limits.max_span_attributes, limits.max_span_attribute_length
            given = BoundedAttributes(most, attributes, immutable=True, max_value_len=length)
        finished = ReadableSpan(
            name,
            span.context,
            span.parent,
            self._resource,
            given,
            events,
            links,
            kind,
            None,
            _ERROR if failed else _UNSET,
            span.began,
            max(span.began, time or time_ns()),  # somebody may set the clock back meanwhile
            self._scope,
        )
        for take in self._takers:
            take(finished)


class LiveSpan:
    """A span that has begun: where it belongs, and since when (nanoseconds since 1970)."""

    __slots__ = ("began", "context", "parent")

    def __init__(self, context: SpanContext, parent: SpanContext | None, ago: float = 0.0) -> None:
        """Begin it now, or `ago` seconds before."""
        self.context, self.parent = context, parent
        self.began = time_ns() - int(ago * 1e9) if ago else time_ns()
