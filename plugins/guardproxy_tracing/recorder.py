"""Spans at a price that every exchange can pay: begun when a step begins, ended when it ends, handed on.

A finished span is the SDK's `ReadableSpan` and goes to the SDK's processors. The SDK's own tracer makes the
same at three times the cost: it asks the sampler for every span, copies and checks every attribute, and takes
locks, for callers whom it does not know. Here one task owns a span, the sampler is asked once an exchange
(its span's decision holds for those below it), and attributes are right as they are made.
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
        self.provider = provider
        self.scope = InstrumentationScope(scope)
        self._ids = provider.id_generator
        limits = SpanLimits()  # of the environment
        most = limits.max_span_attributes
        unlimited = limits.max_span_attribute_length is None and (most is None or most >= _USUAL)
        self._limits = None if unlimited else limits

    def root(self, origin: Origin, name: str, kind: SpanKind) -> SpanContext:
        """The context of a span that begins where `origin` says; its flags say whether it is kept.

        None of the samplers that OTEL_TRACES_SAMPLER names looks at a span's attributes.
        """
        parent = origin.parent
        if parent is None:
            trace_id = origin.trace_id or self._ids.generate_trace_id()
            random = self._ids.is_trace_id_random()
        else:
            trace_id = parent.trace_id
            random = parent.trace_flags.random_trace_id
        decided = _UNDECIDED
        if parent is not None and origin.decided:
            decided = trace.set_span_in_context(NonRecordingSpan(parent), decided)
        sampled = self.provider.sampler.should_sample(decided, trace_id, name, kind, None, origin.links)
        flags = _FLAGS[_KEPT if sampled.decision is Decision.RECORD_AND_SAMPLE else _DROPPED, random]
        return SpanContext(trace_id, self._ids.generate_span_id(), False, flags, sampled.trace_state)

    def below(self, parent: SpanContext) -> SpanContext:
        """The context of a span inside the one of `parent`."""
        span_id = self._ids.generate_span_id()
        return SpanContext(parent.trace_id, span_id, False, parent.trace_flags, parent.trace_state)

    def finish(self, span: "LiveSpan") -> None:
        """Hand on a span that has ended."""
        if (limits := self._limits) is not None:
            span.limit(limits.max_span_attributes, limits.max_span_attribute_length)
        self.provider.finished(span)


class LiveSpan(ReadableSpan):
    """A span that is written to until it ends, and only read then; it holds nothing of its exchange."""

    def __init__(
        self,
        recorder: Recorder,
        name: str,
        kind: SpanKind,
        context: SpanContext,
        parent: SpanContext | None,
        attributes: Attributes,
        links: Sequence[Link] = (),
        began: float = 0.0,
    ) -> None:
        """Begin it, `began` seconds ago; `attributes` are its own from now on."""
        self._own, self._began = attributes, time_ns() - int(began * 1e9)
        super().__init__(
            name,
            context,
            parent,
            recorder.provider.resource,
            attributes,
            (),
            links,
            kind,
            None,
            _UNSET,
            self._began,
            None,
            recorder.scope,
        )
        self._recorder: Recorder | None = recorder

    def add_event(self, name: str, attributes: Attributes) -> None:
        """Something happened now."""
        self._events = (*self._events, Event(name, attributes))

    def limit(self, most: int | None, length: int | None) -> None:
        """Keep no more than `most` attributes, and no more of a text than `length` characters."""
        self._attributes = BoundedAttributes(most, self._attributes, immutable=True, max_value_len=length)

    def end(
        self,
        attributes: Attributes,
        *,
        name: str | None = None,
        failed: bool = False,
        time: int | None = None,
    ) -> None:
        """End it at `time` (nanoseconds since 1970) or now, with what is known then, and hand it on."""
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return
        self._own |= attributes
        if name is not None:
            self._name = name
        if failed:
            self._status = _ERROR
        self._end_time = max(self._began, time or time_ns())  # somebody may set the clock back meanwhile
        recorder.finish(self)
