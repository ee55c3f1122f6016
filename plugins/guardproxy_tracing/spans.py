"""The span around a step: started when the step begins, handed on, ended when it is left; never current."""

from dataclasses import dataclass, field
from time import time_ns

from opentelemetry.trace import SpanContext, SpanKind

from guardproxy import Exchange, Step, StepKind
from guardproxy_tracing import attributes as facts
from guardproxy_tracing.names import APPLY_GUARDRAIL, RESULT_EVENT, Names
from guardproxy_tracing.propagator import Origin, response_headers
from guardproxy_tracing.recorder import Attributes, LiveSpan, Recorder

STATE = "tracing"  # the key of exchange.state
_SPAN_KINDS = {
    StepKind.EXCHANGE: SpanKind.SERVER,
    StepKind.CALL: SpanKind.CLIENT,
    StepKind.ATTEMPT: SpanKind.CLIENT,
}


@dataclass(slots=True)
class Trace:
    """The spans of one exchange that children may still ask for, as contexts by step.

    `root` says by its flags whether they are kept; if not, steps inside have none.
    """

    root: SpanContext
    contexts: dict[Step, SpanContext] = field(default_factory=dict)
    calls: list[tuple["StepSpan", int]] = field(default_factory=list)  # left at that time, not yet ended
    attempts: int = 0


class ExchangeSpan:
    """The SERVER span. It also tells the client where to continue the trace."""

    def __init__(self, recorder: Recorder, exchange: Exchange, step: Step, origin: Origin) -> None:
        self._exchange = exchange
        self._step = step
        method, route = facts.method(exchange), facts.route(exchange)
        exchange.parent_unusable = origin.unusable
        name = f"{method} {route}" if route else method
        self.context = recorder.root(origin, name, SpanKind.SERVER)
        self._span: LiveSpan | None = None
        if self.context.trace_flags.sampled:
            first: Attributes = {facts.KIND: "CHAIN", "http.request.method": method, "url.scheme": "http"}
            if route is not None:
                # The path, too, is the template: whatever stands for an id in it, a client chose it.
                first["http.route"] = first["url.path"] = route
            if origin.unusable:
                first["guardproxy.parent.unusable"] = True
            self._span = LiveSpan(
                recorder,
                name,
                SpanKind.SERVER,
                self.context,
                origin.parent,
                first,
                origin.links,
                exchange.elapsed(),  # since then it is live; the step began when its body was there
            )

    def __enter__(self) -> None:
        exchange = self._exchange
        trace_id, span_id = self.context.trace_id, self.context.span_id
        exchange.trace_id, exchange.span_id = f"{trace_id:032x}", f"{span_id:016x}"
        exchange.response_headers.update(response_headers(self.context))
        exchange.state[STATE] = Trace(self.context)

    def __exit__(self, *_: object) -> None:
        inside: Trace = self._exchange.state.pop(STATE)
        if self._span is None:
            return
        found = facts.of_exchange(self._exchange, self._step)
        if not inside.calls:
            found |= facts.of_content(self._exchange)
        while inside.calls:  # which know of `inside`: without this cycle the exchange goes when it is over
            call, time = inside.calls.pop(0)
            call.end(time)
        self._span.end(found, failed=self._exchange.broke, time=self._step.ended)


class StepSpan:
    """The span of a step inside an exchange."""

    def __init__(
        self,
        recorder: Recorder,
        exchange: Exchange,
        step: Step,
        names: Names,
    ) -> None:
        self._exchange = exchange
        self._step = step
        self._trace: Trace = exchange.state[STATE]
        parent = self._trace.root
        if step.parent is not None:
            parent = self._trace.contexts.get(step.parent, parent)
        self._names = names
        name, first = _begin(exchange, step, self._trace)
        kind = _SPAN_KINDS.get(step.kind, SpanKind.INTERNAL)
        self.context = recorder.below(parent)
        self._span = LiveSpan(recorder, name, kind, self.context, parent, first)

    def __enter__(self) -> None:
        if self._step.kind in (StepKind.STAGE, StepKind.CALL):  # the others have no children
            self._trace.contexts[self._step] = self.context

    def __exit__(self, *_: object) -> None:
        self._trace.contexts.pop(self._step, None)
        if self._step.kind is StepKind.CALL:
            # Whether its names may be shown is known when the guards are through, those in shadow, too.
            self._trace.calls.append((self, self._step.ended or time_ns()))
        else:
            self.end(self._step.ended)

    def end(self, time: int | None = None) -> None:
        """End the span with its facts, at `time` (nanoseconds since 1970) or now."""
        step, name = self._step, None
        if step.kind is StepKind.GUARD:
            found = facts.of_guard(step, self._names)
            for result in facts.results(step, self._names):
                self._span.add_event(RESULT_EVENT, result)
        elif step.kind is StepKind.STAGE:
            found = facts.of_stage(step)
        elif step.kind is StepKind.CALL:
            found = facts.of_call(self._exchange, step) | facts.of_content(self._exchange)
            if (model := found.get("gen_ai.request.model")) is not None:
                name = f"chat {model}"
        else:
            found = facts.of_attempt(step)
        self._span.end(found, name=name, failed=facts.is_error(found), time=time)


def _begin(exchange: Exchange, step: Step, trace: Trace) -> tuple[str, Attributes]:
    """The name of a step's span, and what is known when it begins."""
    if step.kind is StepKind.STAGE:
        return f"guardproxy.guard {step.name}", {facts.KIND: "GUARDRAIL"}
    if step.kind is StepKind.GUARD:
        return f"{APPLY_GUARDRAIL} {step.name}", {facts.KIND: "GUARDRAIL"}
    if step.kind is StepKind.CALL:
        return _begin_call(exchange)
    trace.attempts += 1
    first: Attributes = {facts.KIND: "CHAIN", "http.request.method": facts.method(exchange)}
    if trace.attempts > 1:
        first["http.request.resend_count"] = trace.attempts - 1
    return facts.method(exchange), first


def _begin_call(exchange: Exchange) -> tuple[str, Attributes]:
    if not facts.is_chat(exchange):
        return "guardproxy.call", {facts.KIND: "CHAIN"}
    return "chat", {
        facts.KIND: "LLM",
        "gen_ai.operation.name": "chat",
        # The dialect that is spoken, whoever answers: the conventions use it to tell formats apart.
        "gen_ai.provider.name": "openai",
        "gen_ai.request.stream": exchange.stream,
    }
