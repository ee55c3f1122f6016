"""Spans without the SDK's tracer: what they share with its own, and what the environment says of them."""

from typing import Any

import pytest
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from guardproxy_tracing.propagator import Origin
from guardproxy_tracing.provider import Provider
from guardproxy_tracing.recorder import LiveSpan, Recorder

REMOTE = SpanContext(5, 6, True, TraceFlags(TraceFlags.SAMPLED))


class Kept(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class Asked(Sampler):
    """Notes of what it was asked."""

    def __init__(self, decision: Decision = Decision.RECORD_AND_SAMPLE) -> None:
        self.decision = decision
        self.given: list[tuple[int, str]] = []

    def should_sample(
        self, parent_context: Any, trace_id: int, name: str, *_: Any, **__: Any
    ) -> SamplingResult:
        self.given.append((trace_id, name))
        return SamplingResult(self.decision)

    def get_description(self) -> str:
        return "asked"


def made() -> tuple[Recorder, Kept]:
    kept = Kept()
    return Recorder(Provider((), (kept,)), "guardproxy"), kept


def test_the_sampler_is_asked_once_an_exchange() -> None:
    recorder, _ = made()
    recorder.sampler = sampler = Asked()
    root = recorder.root(Origin(), "POST", SpanKind.SERVER)
    inner = recorder.below(recorder.below(root))
    assert sampler.given == [(root.trace_id, "POST")]
    assert inner.trace_id == root.trace_id
    assert inner.trace_flags.sampled


@pytest.mark.parametrize("decision", [Decision.DROP, Decision.RECORD_ONLY])
def test_what_is_not_to_be_exported_is_not_kept(decision: Decision) -> None:
    recorder, _ = made()
    recorder.sampler = Asked(decision)
    root = recorder.root(Origin(), "POST", SpanKind.SERVER)
    assert not root.trace_flags.sampled
    assert not recorder.below(root).trace_flags.sampled


def test_a_root_and_one_below_a_parent_say_whether_their_trace_id_is_random() -> None:
    recorder, _ = made()
    assert recorder.root(Origin(), "POST", SpanKind.SERVER).trace_flags.random_trace_id
    below = recorder.root(Origin(REMOTE, True), "POST", SpanKind.SERVER)
    assert below.trace_id == REMOTE.trace_id
    assert not below.trace_flags.random_trace_id


def test_a_finished_span_is_handed_on_as_the_sdk_does() -> None:
    kept = Kept()
    provider = Provider((), (kept,))
    recorder = Recorder(provider, "guardproxy")
    root = recorder.root(Origin(REMOTE, True), "POST", SpanKind.SERVER)
    live = LiveSpan(root, REMOTE)
    assert not kept.spans
    event = Event("happened", {"m": 2})
    recorder.finish(live, "b", SpanKind.SERVER, {"n": 1, "k": True}, events=[event], failed=True)
    (found,) = kept.spans
    assert (found.name, found.kind, found.context, found.parent) == ("b", SpanKind.SERVER, root, REMOTE)
    assert found.start_time <= found.end_time  # type: ignore[operator]
    assert dict(found.attributes or {}) == {"n": 1, "k": True}
    assert found.events == (event,)
    assert not found.status.is_ok
    assert found.resource is provider.resource
    assert found.instrumentation_scope == InstrumentationScope("guardproxy")


def test_a_span_can_have_begun_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardproxy_tracing.recorder.time_ns", lambda: 5 * 10**9)
    assert (LiveSpan(REMOTE, None).began, LiveSpan(REMOTE, None, 1.5).began) == (5 * 10**9, 35 * 10**8)


@pytest.mark.parametrize(
    ("name", "value", "left"),
    [
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3", {"a": "abc", "b": "xyz"}),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3", {"a": "abc", "b": "xyz"}),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "1", {"b": "xyz"}),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "200", {"a": "abcdef", "b": "xyz"}),
    ],
)
def test_the_limits_of_the_environment_hold(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, left: dict[str, str]
) -> None:
    monkeypatch.setenv(name, value)
    recorder, kept = made()
    root = recorder.root(Origin(), "POST", SpanKind.SERVER)
    recorder.finish(LiveSpan(root, None), "a", SpanKind.SERVER, {"a": "abcdef", "b": "xyz"})
    assert dict(kept.spans[0].attributes or {}) == left
    assert kept.spans[0].dropped_attributes == 2 - len(left)


def test_a_clock_that_is_set_back_ends_no_span_before_its_start() -> None:
    recorder, kept = made()
    live = LiveSpan(recorder.root(Origin(), "POST", SpanKind.SERVER), None)
    recorder.finish(live, "a", SpanKind.SERVER, {}, time=live.began - 10**9)
    assert kept.spans[0].end_time == kept.spans[0].start_time
