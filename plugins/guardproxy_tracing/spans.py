"""The span around a step: started when the step begins, handed on, ended when it is left; never current."""

from dataclasses import dataclass, field
from time import time_ns

from opentelemetry.sdk.trace import Event
from opentelemetry.trace import SpanContext, SpanKind

from guardproxy import Exchange, Step, StepKind
from guardproxy_tracing import attributes as facts
from guardproxy_tracing.names import APPLY_GUARDRAIL, RESULT_EVENT, Names
from guardproxy_tracing.propagator import Origin, response_headers
from guardproxy_tracing.recorder import LiveSpan, Recorder

STATE = "tracing"  # the key of exchange.state


@dataclass(slots=True)
class Trace:
    """The spans of one exchange that children may still ask for, as contexts by step.

    Unless it is `kept`, steps inside have none.
    """

    root: SpanContext
    kept: bool
    contexts: dict[Step, SpanContext] = field(default_factory=dict)
    calls: list[tuple["StepSpan", int]] = field(default_factory=list)  # left at that time, not yet ended
    attempts: int = 0


class ExchangeSpan:
    """The SERVER span. It also tells the client where to continue the trace."""

    __slots__ = ("_context", "_exchange", "_name", "_origin", "_recorder", "_span", "_step")

    def __init__(self, recorder: Recorder, exchange: Exchange, step: Step, origin: Origin) -> None:
        self._recorder, self._exchange, self._step, self._origin = recorder, exchange, step, origin
        exchange.parent_unusable = origin.unusable
        method, route = facts.method(exchange), facts.route(exchange)
        self._name = f"{method} {route}" if route else method
        self._context = context = recorder.root(origin, self._name, SpanKind.SERVER)
        # It is live since the request's head was there; the step began with its body.
        ago = exchange.elapsed()
        self._span = LiveSpan(context, origin.parent, ago) if context.trace_flags.sampled else None

    def __enter__(self) -> None:
        exchange, context = self._exchange, self._context
        exchange.trace_id, exchange.span_id = f"{context.trace_id:032x}", f"{context.span_id:016x}"
        exchange.response_headers.update(response_headers(context))
        exchange.state[STATE] = Trace(context, self._span is not None)

    def __exit__(self, *_: object) -> None:
        inside: Trace = self._exchange.state.pop(STATE)
        if self._span is None:
            return
        exchange, origin = self._exchange, self._origin
        called = bool(inside.calls)
        while inside.calls:  # which know of `inside`: without this circle the exchange goes when it is over
            call, time = inside.calls.pop(0)
            call.end(time)
        found = facts.of_exchange(exchange, self._step)
        if origin.unusable:
            found["guardproxy.parent.unusable"] = True
        if not called:
            found |= facts.of_content(exchange)
        self._recorder.finish(
            self._span,
            self._name,
            SpanKind.SERVER,
            found,
            links=origin.links,
            failed=exchange.broke,
            time=self._step.ended,
        )


class StepSpan(LiveSpan):
    """The span of a step inside an exchange."""

    __slots__ = ("_exchange", "_names", "_number", "_recorder", "_step", "_trace")

    def __init__(
        self, recorder: Recorder, exchange: Exchange, step: Step, trace: Trace, names: Names
    ) -> None:
        self._recorder, self._exchange, self._step = recorder, exchange, step
        self._trace, self._names = trace, names
        parent = trace.root
        if step.parent is not None:
            parent = trace.contexts.get(step.parent, parent)
        self.context, self.parent, self.began = recorder.below(parent), parent, time_ns()
        kind = step.kind
        if kind is StepKind.STAGE or kind is StepKind.CALL:  # the others have no children
            trace.contexts[step] = self.context
        elif kind is StepKind.ATTEMPT:
            trace.attempts += 1
        self._number = trace.attempts

    def __enter__(self) -> None:
        """It has begun."""

    def __exit__(self, *_: object) -> None:
        step, trace = self._step, self._trace
        trace.contexts.pop(step, None)
        if step.kind is StepKind.CALL:
            # Whether its names may be shown is known when the guards are through, those in shadow, too.
            trace.calls.append((self, step.ended or time_ns()))
        else:
            self.end(step.ended)

    def end(self, time: int | None) -> None:
        """End the span with its facts, at `time` (nanoseconds since 1970) or now."""
        step, exchange = self._step, self._exchange
        events: list[Event] = []
        span_kind = SpanKind.INTERNAL
        if step.kind is StepKind.GUARD:
            name = f"{APPLY_GUARDRAIL} {step.name}"
            found = facts.of_guard(step, self._names)
            if step.findings:
                events = [Event(RESULT_EVENT, result) for result in facts.results(step, self._names)]
        elif step.kind is StepKind.STAGE:
            name = f"guardproxy.guard {step.name}"
            found = facts.of_stage(step)
        elif step.kind is StepKind.CALL:
            span_kind = SpanKind.CLIENT
            found = facts.of_call(exchange, step)
            name = facts.call_name(found)
        else:
            span_kind = SpanKind.CLIENT
            name = facts.method(exchange)
            found = facts.of_attempt(exchange, step, self._number - 1)
        self._recorder.finish(
            self, name, span_kind, found, events=events, failed=facts.is_error(found), time=time
        )
