"""An ended record as a span of OpenTelemetry's, under the ids that the client was given for it."""

import threading

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer

from guardproxy_spans.records import Record, ids_of
from guardproxy_tracing import OpperIdGenerator, OpperPropagator, tracer
from guardproxy_tracing.ids import uuid_of
from guardproxy_tracing.propagator import PARENT_HEADER

_SCOPE = "guardproxy.spans"
_PREFIX = "guardproxy.span."
_propagator = OpperPropagator()
_made = OpperIdGenerator()


class _GivenIds(IdGenerator):
    """Gives the ids that were set in this thread."""

    def __init__(self) -> None:
        self.next = threading.local()

    def generate_trace_id(self) -> int:
        return int(self.next.trace_id)

    def generate_span_id(self) -> int:
        return int(self.next.span_id)

    def is_trace_id_random(self) -> bool:
        return True


_given = _GivenIds()


def _tracer() -> Tracer | None:
    return tracer(_SCOPE, _given)


def on() -> bool:
    """Whether spans go anywhere."""
    return _tracer() is not None


def new_id(trace_id: int | None) -> str:
    """The UUID of a new span, in that trace or in a new one."""
    return uuid_of(_made.generate_trace_id() if trace_id is None else trace_id, _made.generate_span_id())


def export(record: Record) -> None:
    """Hand the span of an ended record to the exporters; nothing while tracing is off."""
    found = _tracer()
    if found is None:
        return
    _given.next.trace_id, _given.next.span_id = ids_of(record.id)
    context = Context()
    if record.parent is not None:
        context = _propagator.extract({PARENT_HEADER: record.parent}, context)
    span = found.start_span(
        record.name, context, SpanKind.INTERNAL, attributes=_attributes(record), start_time=record.start
    )
    if record.failed:
        span.set_status(Status(StatusCode.ERROR))
    span.end(record.end)


def _attributes(record: Record) -> dict[str, str | bool | int | float]:
    told = {
        "openinference.span.kind": record.kind,
        "error.type": "_OTHER" if record.failed else None,
        "guardproxy.client": record.client,
        f"{_PREFIX}type": record.type,
        f"{_PREFIX}input_chars": record.input_chars,
        f"{_PREFIX}output_chars": record.output_chars,
        f"{_PREFIX}unfinished": record.unfinished,
        **{f"{_PREFIX}{name}": value for name, value in record.values.items()},
    }
    return {name: value for name, value in told.items() if value is not None}
