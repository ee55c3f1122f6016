"""The plugin against steps built by hand: the tree, the facts, the ids, and what must never be exported."""

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode
from structlog.testing import capture_logs

import guardproxy_tracing as tracing
from guardproxy import (
    Action,
    ConfigError,
    Exchange,
    Finding,
    Outcome,
    Policy,
    Rule,
    Settings,
    Stage,
    Step,
    StepKind,
    Verdict,
)
from guardproxy.testing.otlp import OtlpCollector
from guardproxy.types import Receipt
from guardproxy_tracing.counts import SPANS
from guardproxy_tracing.hooks import _process
from guardproxy_tracing.ids import expand, key_of, parent_of, uuid_of
from guardproxy_tracing.names import LATEST, SETTLED
from tests.harness import proxy, whole

UUID = "0190f5f0-1111-7222-8333-444455556666"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SETTINGS = Settings(upstream="https://up.example:8443/v1")
URL = "https://up.example:8443/v1/responses"
INPUT = {"pii": Rule(Action.REDACT), "secrets": Rule(Action.BLOCK)}


@pytest.fixture(autouse=True)
def _off_and_clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("ENDPOINT", "TRACES_ENDPOINT", "PROTOCOL", "TRACES_PROTOCOL"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    for name in ("SDK_DISABLED", "TRACES_EXPORTER", "TRACES_SAMPLER", "TRACES_SAMPLER_ARG", "SERVICE_NAME"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)
    yield
    tracing.guardproxy_shutdown()
    assert _process.provider is None


def settings(**own: Any) -> Settings:
    return Settings(upstream=SETTINGS.upstream, plugins={"tracing": tracing.TracingSettings(**own)})


def exchange(**facts: Any) -> Exchange:
    given: dict[str, Any] = {"method": "POST", "path": "/v1/responses", "headers": {}, "model": "gpt-4.1"}
    return Exchange(**({"creates": True} | given | facts))


@contextmanager
def opened(of: Exchange, step: Step) -> Iterator[Step]:
    manager = tracing.guardproxy_step(of, step)
    if manager is not None:
        manager.__enter__()
    try:
        yield step
    finally:
        if manager is not None:
            manager.__exit__(None, None, None)


def verdict(stage: Stage, outcome: Outcome, *findings: Finding) -> Verdict:
    return Verdict(stage, outcome, findings, receipt=Receipt(12, {"image": 1}))


def run_stage(of: Exchange, parent: Step, found: Verdict, rules: dict[str, Rule]) -> None:
    """What stage.py does: the guards' steps are open at once, and all facts are there when they are left."""
    with ExitStack() as steps:
        stage = steps.enter_context(opened(of, Step(StepKind.STAGE, found.stage.value, parent, found.stage)))
        for name, rule in rules.items():
            guard = Step(StepKind.GUARD, name, stage, found.stage, rule)
            steps.enter_context(opened(of, guard))
            guard.seconds, guard.scanned, guard.cached = 0.25, 2, 5
            guard.outcome = Outcome.CLEAN
            for finding in found.findings:
                if finding.guard == name:
                    guard.findings[finding.category] = guard.findings.get(finding.category, 0) + 1
                    guard.score = max(guard.score or 0.0, finding.score)
        stage.verdict = of.verdicts[found.stage] = found


def finding(
    guard: str, category: str, score: float, path: str = "/input", stage: Stage = Stage.INPUT
) -> Finding:
    return Finding(guard, stage, path, 0, 4, category, score)


def run(of: Exchange, statuses: tuple[int, ...] = (200,)) -> Exchange:
    """A whole exchange with two input guards and one output guard."""
    of.policy = Policy(INPUT, {"toxicity": Rule()})
    with opened(of, Step(StepKind.EXCHANGE, "exchange")) as root:
        found = verdict(
            Stage.INPUT,
            Outcome.REDACTED,
            finding("pii", "EMAIL_ADDRESS", 0.8),
            finding("pii", "EMAIL_ADDRESS", 0.9),
            finding("pii", "PERSON", 0.6),
        )
        run_stage(of, root, found, INPUT)
        with opened(of, Step(StepKind.CALL, "call", root)) as call:
            for status in statuses:
                with opened(of, Step(StepKind.ATTEMPT, "attempt", call, url=URL)) as attempt:
                    attempt.status = status
            of.response_id, of.response_model = "resp_1", "gpt-4.1-2026"
            of.usage = {"input_tokens": 7, "output_tokens": 11, "total_tokens": 18}
            of.first_event_seconds, of.first_chunk_seconds = 0.9, 0.5
        run_stage(of, root, verdict(Stage.OUTPUT, Outcome.CLEAN), {"toxicity": Rule()})
        of.status, of.outcome = 200, "redacted"
    return of


def recorded(of: Exchange, **own: Any) -> dict[str, ReadableSpan]:
    with tracing.record() as spans:
        tracing.guardproxy_startup(settings(**own))
        run(of)
    return {span.name: span for span in spans}


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def context_of(span: ReadableSpan) -> SpanContext:
    context: SpanContext | None = span.context
    assert context is not None
    return context


def tree(spans: dict[str, ReadableSpan]) -> dict[str, str | None]:
    names = {context_of(span).span_id: name for name, span in spans.items()}
    return {name: names[span.parent.span_id] if span.parent else None for name, span in spans.items()}


def test_off_by_default() -> None:
    tracing.guardproxy_startup(SETTINGS)
    of = run(exchange(headers={"traceparent": TRACEPARENT}))
    assert tracing.guardproxy_step(of, Step(StepKind.EXCHANGE, "exchange")) is None
    assert of.response_headers == {}
    assert of.state == {}


def test_the_tree() -> None:
    spans = recorded(exchange())
    assert tree(spans) == {
        "POST /v1/responses": None,
        "guardproxy.guard input": "POST /v1/responses",
        "apply_guardrail pii": "guardproxy.guard input",
        "apply_guardrail secrets": "guardproxy.guard input",
        "chat gpt-4.1": "POST /v1/responses",
        "POST": "chat gpt-4.1",
        "guardproxy.guard output": "POST /v1/responses",
        "apply_guardrail toxicity": "guardproxy.guard output",
    }
    kinds = {name: span.kind for name, span in spans.items() if span.kind is not SpanKind.INTERNAL}
    assert kinds == {
        "POST /v1/responses": SpanKind.SERVER,
        "chat gpt-4.1": SpanKind.CLIENT,
        "POST": SpanKind.CLIENT,
    }
    shown = {name: attributes(span)["openinference.span.kind"] for name, span in spans.items()}
    assert {name for name, kind in shown.items() if kind == "LLM"} == {"chat gpt-4.1"}
    assert {name for name, kind in shown.items() if kind == "CHAIN"} == {"POST /v1/responses", "POST"}
    assert {span.status.status_code for span in spans.values()} == {StatusCode.UNSET}
    assert len({context_of(span).trace_id for span in spans.values()}) == 1


def test_facts_of_the_exchange() -> None:
    of = exchange(name="checkout", client="team-a", id="req_1")
    with of.upstream_watch:
        pass
    found = attributes(recorded(of)["POST /v1/responses"])
    assert found.pop("guardproxy.overhead.seconds") >= 0
    assert found.pop("guardproxy.upstream.seconds") > 0
    assert found == {
        "openinference.span.kind": "CHAIN",
        "http.request.method": "POST",
        "http.route": "/v1/responses",
        "url.path": "/v1/responses",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "guardproxy.outcome": "redacted",
        "guardproxy.exchange.id": "req_1",
        "guardproxy.client": "team-a",
        "guardproxy.name": "checkout",
        "guardproxy.stream": False,
        "guardproxy.verdict.input": "redacted",
        "guardproxy.verdict.output": "clean",
    }


def test_the_cost_and_the_tokens_of_caches_are_facts_of_the_call() -> None:
    of = exchange(cost_usd=Decimal("0.00006"))
    with tracing.record() as spans:
        tracing.guardproxy_startup(settings())
        with (
            opened(of, Step(StepKind.EXCHANGE, "exchange")) as root,
            opened(of, Step(StepKind.CALL, "call", root)),
        ):
            of.usage = {"cached_tokens": 3, "cache_write_tokens": 4}
    found = attributes(spans[0])
    assert found["llm.cost.total"] == 0.00006
    assert found["gen_ai.usage.cache_read.input_tokens"] == 3
    assert found["gen_ai.usage.cache_creation.input_tokens"] == 4


def test_facts_of_the_call_and_its_attempt() -> None:
    spans = recorded(exchange(stream=True))
    assert attributes(spans["chat gpt-4.1"]) == {
        "openinference.span.kind": "LLM",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4.1",
        "gen_ai.request.stream": True,
        "gen_ai.response.id": "resp_1",
        "gen_ai.response.model": "gpt-4.1-2026",
        "gen_ai.response.time_to_first_chunk": 0.5,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 11,
    }
    assert attributes(spans["POST"]) == {
        "openinference.span.kind": "CHAIN",
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "url.full": URL,
        "server.address": "up.example",
        "server.port": 8443,
    }


def test_facts_of_stage_and_guard() -> None:
    spans = recorded(exchange())
    assert attributes(spans["guardproxy.guard input"]) == {
        "openinference.span.kind": "GUARDRAIL",
        "guardproxy.verdict.outcome": "redacted",
        "guardproxy.verdict.findings": 3,
        "guardproxy.verdict.shadowed": 0,
        "guardproxy.receipt.parts": 12,
        "guardproxy.receipt.skipped.image": 1,
    }
    assert attributes(spans["apply_guardrail pii"]) == {
        "openinference.span.kind": "GUARDRAIL",
        "gen_ai.operation.name": "apply_guardrail",
        "gen_ai.guardrail.name": "pii",
        "gen_ai.guardrail.target.type": "llm_input",
        "gen_ai.guardrail.action": "redact",
        "guardproxy.guard.shadow": False,
        "guardproxy.guard.seconds": 0.25,
        "guardproxy.guard.scanned": 2,
        "guardproxy.guard.cached": 5,
        "guardproxy.guard.findings": 3,
        "guardproxy.guard.outcome": "clean",
    }


def test_one_event_for_each_category_with_count_and_highest_score() -> None:
    spans = recorded(exchange())
    events = [(event.name, dict(event.attributes or {})) for event in spans["apply_guardrail pii"].events]
    name = "gen_ai.guardrail.result"
    common = {"gen_ai.guardrail.action": "redact"}
    category, count, score = (f"gen_ai.guardrail.{word}" for word in ("category", "count", "score"))
    assert events == [
        (name, common | {category: "EMAIL_ADDRESS", count: 2, score: 0.9}),
        (name, common | {category: "PERSON", count: 1, score: 0.6}),
    ]
    assert spans["apply_guardrail secrets"].events == ()


@pytest.mark.parametrize("opt_in", ["", "http/dup", "http, gen_ai_latest_experimental"])
def test_the_names_that_move_are_chosen_by_the_standard_variable(
    monkeypatch: pytest.MonkeyPatch, opt_in: str
) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", opt_in)
    names = LATEST if "latest" in opt_in else SETTLED
    span = recorded(exchange())["apply_guardrail pii"]
    assert attributes(span)[names.guard] == "pii"
    assert attributes(span)[names.target] == names.targets["input"]
    assert attributes(span)[names.action] == "redact"
    told = [dict(event.attributes or {}) for event in span.events]
    assert [event[names.category] for event in told] == ["EMAIL_ADDRESS", "PERSON"]
    assert [event[names.count] for event in told] == [2, 1]
    other = SETTLED if names is LATEST else LATEST
    assert other.guard not in attributes(span)
    assert all(other.category not in event for event in told)


def test_a_block_is_no_error() -> None:
    of = exchange()
    with tracing.record() as spans, opened(of, Step(StepKind.EXCHANGE, "exchange")) as root:
        blocked = verdict(Stage.INPUT, Outcome.BLOCKED, finding("secrets", "AWS_ACCESS_KEY", 1.0))
        run_stage(of, root, blocked, INPUT)
        of.status, of.outcome, of.error_code = 400, "blocked", "guardrail_violation"
    by_name = {span.name: span for span in spans}
    server = by_name["POST /v1/responses"]
    assert attributes(server)["error.type"] == "guardrail_blocked"
    assert attributes(server)["guardproxy.outcome"] == "blocked"
    assert attributes(by_name["guardproxy.guard input"])["error.type"] == "guardrail_blocked"
    assert attributes(by_name["apply_guardrail secrets"])["error.type"] == "guardrail_blocked"
    assert "error.type" not in attributes(by_name["apply_guardrail pii"])
    assert {span.status.status_code for span in spans} == {StatusCode.UNSET}


def test_a_failed_guard_is_an_error_up_to_the_server_span() -> None:
    of = exchange()
    with tracing.record() as spans, opened(of, Step(StepKind.EXCHANGE, "exchange")) as root:
        with opened(of, Step(StepKind.STAGE, "input", root, Stage.INPUT)) as stage:
            with opened(of, Step(StepKind.GUARD, "pii", stage, Stage.INPUT, INPUT["pii"])) as guard:
                guard.error_type, guard.failure = "guardrail_failed", "timeout"
                guard.detector = "names"
                guard.outcome = Outcome.FAILED
            stage.error_type = "guardrail_failed"
        of.status, of.outcome, of.error_code = 500, "failed", "guardrail_failed"
    assert [attributes(span)["error.type"] for span in spans] == ["guardrail_failed"] * 3
    assert [span.status.status_code for span in spans] == [StatusCode.ERROR] * 3
    assert {span.status.description for span in spans} == {None}
    assert attributes(spans[0])["guardproxy.guard.outcome"] == "failed"
    assert attributes(spans[0])["guardproxy.guard.failure"] == "timeout"
    assert attributes(spans[0])["guardproxy.guard.detector"] == "names"


def test_a_client_that_left_is_no_error() -> None:
    of = exchange()
    with tracing.record() as spans, opened(of, Step(StepKind.EXCHANGE, "exchange")) as root:
        with opened(of, Step(StepKind.CALL, "call", root)) as call:
            call.error_type = "client_disconnected"
        of.outcome = "error"
        of.error_code = root.error_type = "client_disconnected"
    assert {span.status.status_code for span in spans} == {StatusCode.UNSET}
    assert attributes(spans[-1])["error.type"] == "client_disconnected"


@pytest.mark.parametrize(
    ("facts", "server", "call"),
    [
        ({"status": 429, "error_code": "429"}, False, True),
        ({"status": 400, "error_code": "unknown_guard", "error_status": 400}, False, False),
        ({"status": 503, "error_code": "503"}, True, True),
        ({"status": 200, "error_code": "response_failed", "response_failed": True}, True, True),
        ({"status": 200, "error_code": "upstream_error", "error_status": 502}, True, False),
        ({"status": 429, "error_code": "upstream_error", "error_status": 502}, True, True),
        ({"status": 200, "error_code": "uninspectable", "error_status": 400}, True, False),
    ],
)
def test_a_refusal_is_an_error_of_the_call_and_not_of_the_server(
    facts: dict[str, Any], server: bool, call: bool
) -> None:
    of = exchange(outcome="error", **facts)
    with tracing.record() as spans, opened(of, Step(StepKind.EXCHANGE, "exchange")) as root:
        with opened(of, Step(StepKind.CALL, "call", root)) as step:
            step.status = None if facts["error_code"] == "unknown_guard" else facts["status"]
        root.error_type = facts["error_code"]
    below, above = spans
    assert attributes(above)["error.type"] == facts["error_code"]
    assert (above.status.status_code is StatusCode.ERROR) is server
    assert (below.status.status_code is StatusCode.ERROR) is call


def test_attempts_are_spans_of_their_own_and_their_status_tells_errors() -> None:
    with tracing.record() as spans:
        run(exchange(), statuses=(503, 200))
    first, second = (span for span in spans if span.name == "POST")
    assert first.status.status_code is StatusCode.ERROR
    assert attributes(first)["error.type"] == "503"
    assert second.status.status_code is StatusCode.UNSET
    assert attributes(second)["http.request.resend_count"] == 1


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"path": "/llm/of-ours"}, "chat gpt-4.1"),
        ({"model": "a model with spaces"}, "chat"),
        ({"model": None}, "chat"),
        ({"path": "/v1/responses/input_tokens", "creates": False}, "guardproxy.call"),
    ],
)
def test_the_name_of_the_call(facts: dict[str, Any], name: str) -> None:
    assert name in recorded(exchange(**facts))


def test_the_route_has_no_query() -> None:
    server = recorded(exchange(path="/v1/responses?after=x"))["POST /v1/responses"]
    assert attributes(server)["http.route"] == "/v1/responses"


def test_the_call_ends_when_it_was_left() -> None:
    spans = recorded(exchange())
    left, then = spans["chat gpt-4.1"].end_time, spans["guardproxy.guard output"].start_time
    assert left is not None
    assert then is not None
    assert left <= then


def test_no_span_is_ever_current() -> None:
    of = exchange()
    with tracing.record(), opened(of, Step(StepKind.EXCHANGE, "exchange")):
        assert not trace.get_current_span().get_span_context().is_valid


def test_the_state_is_gone_with_the_exchange() -> None:
    of = exchange()
    recorded(of)
    assert of.state == {}


def test_record_twice_at_once_and_in_turn() -> None:
    with tracing.record() as outer:
        with tracing.record() as inner:
            run(exchange())
        run(exchange())
    with tracing.record() as later:
        run(exchange())
    assert (len(outer), len(inner), len(later)) == (16, 8, 8)
    assert tracing.guardproxy_step(exchange(), Step(StepKind.EXCHANGE, "exchange")) is None


# Where the trace comes from and goes to


def test_a_new_root_can_be_continued_by_the_returned_uuid() -> None:
    of = exchange()
    server = recorded(of)["POST /v1/responses"]
    span = context_of(server)
    assert server.parent is None
    assert parent_of(of.response_headers["X-Opper-Span-Id"]) == (span.trace_id, span.span_id)
    flags = f"{span.trace_flags:02x}"
    assert of.response_headers["traceresponse"] == f"00-{span.trace_id:032x}-{span.span_id:016x}-{flags}"

    then = recorded(exchange(headers={"x-opper-parent-span-id": of.response_headers["X-Opper-Span-Id"]}))
    child = then["POST /v1/responses"]
    assert child.parent is not None
    assert (child.parent.trace_id, child.parent.span_id) == (span.trace_id, span.span_id)
    assert context_of(child).trace_id == span.trace_id


def test_a_foreign_uuid_gives_a_trace_that_all_its_children_share() -> None:
    one, other = (
        recorded(exchange(headers={"x-opper-parent-span-id": UUID}))["POST /v1/responses"] for _ in range(2)
    )
    assert context_of(one).trace_id == context_of(other).trace_id
    assert one.parent is not None
    assert f"{one.parent.span_id:016x}" == "8333444455556666"


def test_traceparent_wins_and_the_uuid_becomes_a_link() -> None:
    of = exchange(headers={"traceparent": TRACEPARENT, "x-opper-parent-span-id": UUID, "tracestate": "a=b"})
    server = recorded(of)["POST /v1/responses"]
    assert server.parent is not None
    assert f"{server.parent.trace_id:032x}" == TRACEPARENT[3:35]
    assert f"{server.parent.span_id:016x}" == TRACEPARENT[36:52]
    assert of.response_headers["traceresponse"].startswith(TRACEPARENT[:36])
    (link,) = server.links
    assert (link.context.trace_id, link.context.span_id) == parent_of(UUID)
    assert not context_of(server).trace_state


def test_both_headers_of_one_parent_make_no_link() -> None:
    of = exchange()
    span = context_of(recorded(of)["POST /v1/responses"])
    headers = {
        "traceparent": of.response_headers["traceresponse"],
        "x-opper-parent-span-id": of.response_headers["X-Opper-Span-Id"],
    }
    child = recorded(exchange(headers=headers))["POST /v1/responses"]
    assert child.parent is not None
    assert child.parent.span_id == span.span_id
    assert child.links == ()


@pytest.mark.parametrize(
    "value", ["no uuid", "0", UUID + ", " + UUID, "00000000-0000-0000-0000-000000000000"]
)
def test_an_unusable_uuid_is_noted_without_its_value(value: str) -> None:
    server = recorded(exchange(headers={"x-opper-parent-span-id": value}))["POST /v1/responses"]
    assert server.parent is None
    assert attributes(server)["guardproxy.parent.unusable"] is True
    assert value not in attributes(server).values()


@pytest.mark.parametrize(
    "value", ["", "x", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", TRACEPARENT + "," + TRACEPARENT]
)
def test_an_invalid_traceparent_leaves_the_turn_to_the_uuid(value: str) -> None:
    headers = {"traceparent": value, "x-opper-parent-span-id": UUID}
    server = recorded(exchange(headers=headers))["POST /v1/responses"]
    assert server.parent is not None
    assert (server.parent.trace_id, server.parent.span_id) == parent_of(UUID)
    assert server.links == ()


def test_inbound_context_can_be_distrusted() -> None:
    headers = {"traceparent": TRACEPARENT, "x-opper-parent-span-id": UUID}
    server = recorded(exchange(headers=headers), trust_inbound=False)["POST /v1/responses"]
    assert server.parent is None
    assert server.links == ()
    assert "guardproxy.parent.unusable" not in (server.attributes or {})


async def test_a_stage_that_could_not_inspect_is_an_error() -> None:
    with tracing.record() as spans:
        async with proxy(whole(), plugins=[tracing]) as client:
            await client.post(b"{", {"x-opper-guard-input": "tags"})
    stage, server = (span for span in spans if not span.name.startswith("apply_guardrail"))
    assert (stage.name, stage.status.status_code) == ("guardproxy.guard input", StatusCode.ERROR)
    assert {(span.attributes or {})["error.type"] for span in (stage, server)} == {"uninspectable"}
    assert server.status.status_code is StatusCode.UNSET


def sent_on(of: Exchange, **own: Any) -> tuple[dict[str, str], list[ReadableSpan]]:
    """The headers that the attempt of an exchange adds, and the spans."""
    with tracing.record() as spans:
        tracing.guardproxy_startup(settings(**own))
        with opened(of, Step(StepKind.EXCHANGE, "exchange")) as root:
            attempt = Step(StepKind.ATTEMPT, "attempt", Step(StepKind.CALL, "call", root))
            with opened(of, attempt):
                return dict(attempt.request_headers), spans
    raise AssertionError


@pytest.mark.parametrize("words", [(), ("tracecontext",), ("opper",), ("tracecontext", "opper")])
def test_the_upstream_gets_the_context_in_the_words_of_the_setting(words: tuple[str, ...]) -> None:
    sent, spans = sent_on(
        exchange(headers={"traceparent": TRACEPARENT, "tracestate": "a=b"}), propagate=words
    )
    span = context_of(next(span for span in spans if span.name == "POST"))
    assert f"{span.trace_id:032x}" == TRACEPARENT[3:35]
    wanted = {
        "tracecontext": (
            "traceparent",
            f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}",
        ),
        "opper": ("x-opper-parent-span-id", uuid_of(span.trace_id, span.span_id)),
    }
    assert sent == dict(wanted[word] for word in words)


def test_the_upstream_learns_of_a_trace_that_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    of = exchange()
    sent, spans = sent_on(of)
    assert spans == []
    assert of.response_headers["traceresponse"] == sent["traceparent"]
    assert int(sent["traceparent"][-2:], 16) & 1 == 0


def test_a_distrusted_trace_state_does_not_pass_beside_our_trace() -> None:
    given = {"traceparent": TRACEPARENT, "tracestate": "a=b"}
    sent, _ = sent_on(exchange(headers=given), trust_inbound=False)
    assert sent["tracestate"] == ""
    assert TRACEPARENT[3:35] not in sent["traceparent"]


# The body's `trace`


TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
OURS = uuid_of(expand(7), 2 << 62 | 9)


@pytest.mark.parametrize(
    ("ids", "trace_id", "parent"),
    [
        ({"trace_id": TRACE_ID, "parent_span_id": "00f067aa0ba902b7"}, int(TRACE_ID, 16), 0x00F067AA0BA902B7),
        (
            {"trace_id": UUID, "parent_span_id": "00F067AA0BA902B7"},
            int(UUID.replace("-", ""), 16),
            0xF067AA0BA902B7,
        ),
        ({"trace_id": TRACE_ID, "parent_span_id": UUID}, int(TRACE_ID, 16), 0x8333444455556666),
        ({"trace_id": OURS, "parent_span_id": OURS}, expand(7), 2 << 62 | 9),
        ({"parent_span_id": UUID}, *(parent_of(UUID) or ())),
        ({"trace_id": TRACE_ID}, int(TRACE_ID, 16), None),
        ({"trace_id": OURS}, expand(7), None),
    ],
)
def test_the_bodys_trace_names_the_parent(ids: dict[str, str], trace_id: int, parent: int | None) -> None:
    server = recorded(exchange(trace=ids))["POST /v1/responses"]
    assert context_of(server).trace_id == trace_id
    assert (server.parent.span_id if server.parent else None) == parent
    assert "guardproxy.parent.unusable" not in attributes(server)


@pytest.mark.parametrize(
    "ids",
    [
        {"trace_id": ""},
        {"trace_id": "0" * 32},
        {"parent_span_id": "00f067aa0ba902b7"},
        {"parent_span_id": ""},
        {"trace_id": TRACE_ID, "parent_span_id": "0" * 16},
        {"trace_id": "1234567890123456", "parent_span_id": UUID},
    ],
)
def test_a_trace_of_the_body_that_is_none_is_noted(ids: dict[str, str]) -> None:
    server = recorded(exchange(trace=ids))["POST /v1/responses"]
    assert attributes(server)["guardproxy.parent.unusable"] is True


@pytest.mark.parametrize("headers", [{"traceparent": TRACEPARENT}, {"x-opper-parent-span-id": UUID}])
def test_the_headers_go_before_the_bodys_trace(headers: dict[str, str]) -> None:
    body = {"trace_id": "1" * 32, "parent_span_id": "2" * 16}
    with_body, without = (
        recorded(exchange(headers=headers, trace=trace))["POST /v1/responses"] for trace in (body, {})
    )
    assert with_body.parent is not None
    assert without.parent is not None
    assert with_body.parent.span_id == without.parent.span_id
    assert with_body.links == without.links


@pytest.mark.parametrize(
    ("headers", "noted"),
    [
        ({"traceparent": "x"}, True),
        ({"traceparent": TRACEPARENT[:-2]}, True),
        ({"x-opper-parent-span-id": "no uuid"}, True),
        ({"traceparent": "x", "x-opper-parent-span-id": "no uuid"}, True),
        ({"traceparent": ""}, True),
        ({"x-opper-parent-span-id": ""}, False),
    ],
)
def test_headers_that_name_no_parent_leave_the_turn_to_the_bodys_trace(
    headers: dict[str, str], noted: bool
) -> None:
    body = {"trace_id": TRACE_ID, "parent_span_id": UUID}
    server = recorded(exchange(headers=headers, trace=body))["POST /v1/responses"]
    assert context_of(server).trace_id == int(TRACE_ID, 16)
    assert server.parent is not None
    assert server.parent.span_id == 0x8333444455556666
    assert attributes(server).get("guardproxy.parent.unusable", False) is noted


def test_a_new_trace_begins_after_one_that_was_named() -> None:
    with tracing.record():
        run(exchange(trace={"trace_id": TRACE_ID}))
        of = run(exchange())
    assert of.trace_id != TRACE_ID


def test_the_propagator_round_trips() -> None:
    span = SpanContext(expand(12345), 2 << 62 | 7, is_remote=False)
    carrier: dict[str, str] = {}
    propagator = tracing.OpperPropagator()
    propagator.inject(carrier, trace.set_span_in_context(NonRecordingSpan(span), Context()))
    assert carrier == {"x-opper-parent-span-id": uuid_of(span.trace_id, span.span_id)}
    assert propagator.fields == set(carrier)
    found = trace.get_current_span(propagator.extract(carrier, Context())).get_span_context()
    assert (found.trace_id, found.span_id, found.is_remote) == (span.trace_id, span.span_id, True)


def test_the_propagator_leaves_a_parent_that_is_known() -> None:
    known = trace.set_span_in_context(NonRecordingSpan(SpanContext(1, 2, is_remote=True)), Context())
    propagator = tracing.OpperPropagator()
    assert propagator.extract({"x-opper-parent-span-id": UUID}, known) is known
    empty: dict[str, str] = {}
    propagator.inject(empty, Context())
    assert empty == {}
    nothing = Context()
    assert propagator.extract({"x-opper-parent-span-id": "?"}, nothing) is nothing


# Sampling


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_sampling_is_decided_from_the_derived_trace_id(monkeypatch: pytest.MonkeyPatch, sampler: str) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    parents = [uuid_of(expand(key << 20), 2 << 62 | 1) for key in range(60)]
    decided = []
    for _replica in range(2):
        with tracing.record() as spans:
            answers = [run(exchange(headers={"x-opper-parent-span-id": parent})) for parent in parents]
        kept = {context_of(span).trace_id for span in spans}
        assert len(spans) == 8 * len(kept)  # a trace is kept whole or not at all
        flags = [int(of.response_headers["traceresponse"][-2:], 16) & 1 for of in answers]
        assert sum(flags) == len(kept)
        decided.append(flags)
    assert decided[0] == decided[1]
    assert 5 < sum(decided[0]) < 55


def test_the_decision_of_a_traceparent_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_on")
    with tracing.record() as spans:
        of = run(exchange(headers={"traceparent": TRACEPARENT[:-2] + "00"}))
    assert spans == []
    assert of.response_headers["traceresponse"].startswith(TRACEPARENT[:36])
    assert "X-Opper-Span-Id" in of.response_headers
    assert of.state == {}


def test_nothing_is_kept_with_the_sampler_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with tracing.record() as spans:
        run(exchange(headers={"x-opper-parent-span-id": UUID}))
    assert spans == []


# Real exporters


@pytest.mark.parametrize("protocol", ["", "http/protobuf", "grpc"])
def test_spans_reach_a_backend(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    with OtlpCollector() as collector:
        endpoint = collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        tracing.guardproxy_startup(SETTINGS)
        of = run(exchange())
        tracing.guardproxy_shutdown()
        assert len(collector.spans) == 8
        server = collector.named("POST /v1/responses")
        assert server.resource["service.name"] == "guardproxy"
        assert of.response_headers["traceresponse"][3:52] == f"{server.trace_id}-{server.span_id}"
        assert collector.named("chat gpt-4.1").parent_id == server.span_id
        assert [event.name for event in collector.named("apply_guardrail pii").events] == [
            "gen_ai.guardrail.result",
            "gen_ai.guardrail.result",
        ]


def test_the_service_name_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "edge")
    with tracing.record() as spans:
        run(exchange())
    assert spans[0].resource.attributes["service.name"] == "edge"


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
    ],
)
def test_what_switches_it_on(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], on: bool) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    tracing.guardproxy_startup(SETTINGS)
    assert (_process.provider is not None) is on


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("OTEL_TRACES_EXPORTER", "one of otlp, console, none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "one of http/protobuf, grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "one of http/protobuf, grpc"),
        ("OTEL_TRACES_SAMPLER", "one of always_on, always_off, traceidratio, parentbased_always_on"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "an http:// or https:// URL"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "an http:// or https:// URL"),
    ],
)
@pytest.mark.parametrize("value", ["carrier-pigeon", "user:canary@pigeon"])
def test_what_the_environment_misspells_stops_startup(
    monkeypatch: pytest.MonkeyPatch, name: str, right: str, value: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(name, value)
    shown = " = 'carrier-pigeon'" if value == "carrier-pigeon" else ""
    with pytest.raises(ConfigError, match=f"^{name}{shown} must be {right}") as caught:
        tracing.guardproxy_check(SETTINGS)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["http://[::1", "ftp://a.example", "http://", "https://a:b"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_an_endpoint_that_is_no_url_stops_startup(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, protocol: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    with pytest.raises(ConfigError, match=r"^OTEL_EXPORTER_OTLP_ENDPOINT must be an http:// or https:// URL"):
        tracing.guardproxy_check(SETTINGS)


def test_a_sampler_matters_only_while_tracing_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "carrier-pigeon")
    tracing.guardproxy_startup(SETTINGS)
    assert _process.provider is None


def test_a_queue_without_room_for_a_batch_stops_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    with pytest.raises(ConfigError, match=r"^OTEL_BSP_MAX_EXPORT_BATCH_SIZE .512. must be no larger"):
        tracing.guardproxy_check(SETTINGS)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9", "dns:localhost:9", "ipv4:127.0.0.1:9", "[::1"])
def test_grpc_takes_a_host_and_port_and_its_own_names(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    tracing.guardproxy_startup(SETTINGS)
    assert _process.provider is not None


def _threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith(("guardproxy-tracing", "OtelBatch"))]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("way", ["refuses", "hangs", "is down"])
def test_a_backend_in_trouble_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, protocol: str, way: str
) -> None:
    with OtlpCollector(status=503 if way == "refuses" else 200, hang=way == "hangs") as collector:
        endpoint = collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint
        if way == "is down":
            endpoint = "http://127.0.0.1:9"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        # What hangs in the network ends with its time-out; what waits to try again, at once.
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2" if way == "hangs" else "60")
        tracing.guardproxy_startup(settings(shutdown_timeout=0.2))
        with caplog.at_level(logging.DEBUG):
            of = run(exchange(model="canary-model"))
            tracing.guardproxy_shutdown()
    if way != "hangs":
        for thread in _threads():
            thread.join(10)
        assert _threads() == []
    assert of.outcome == "redacted"
    assert set(of.response_headers) == {"X-Opper-Span-Id", "traceresponse"}
    assert "canary" not in caplog.text


def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "16")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    with OtlpCollector(hang=True) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint)
        tracing.guardproxy_startup(settings())
        for _ in range(10):
            run(exchange())
        collector.release()
        tracing.guardproxy_shutdown()
        assert 16 <= len(collector.spans) <= 16 + 8  # of 80: a full queue, and the batch on its way


# Privacy

CANARY = "ca" + "nary"


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_no_text_no_key_no_header_is_ever_exported(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    text = f"a {CANARY} text"
    headers = {
        "authorization": f"Bearer {CANARY}",
        "x-opper-name": text,
        "x-opper-parent-span-id": CANARY,
        "tracestate": f"vendor={CANARY}",
        "baggage": f"user={CANARY}",
        "traceparent": TRACEPARENT,
        "cookie": CANARY,
        "user-agent": CANARY,
    }
    of = exchange(
        method=f"X{CANARY}",
        path=f"/v1/responses?key={CANARY}",
        headers=headers,
        request=text.encode(),
        model=text,
        name=text,
        client=text,
        id=text,
    )
    rule = Rule(Action.FLAG)
    with OtlpCollector() as collector:
        endpoint = collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        tracing.guardproxy_startup(Settings(upstream=f"https://user:{CANARY}@up.example/v1?key={CANARY}"))
        with opened(of, Step(StepKind.EXCHANGE, "exchange")) as root:
            found = verdict(Stage.INPUT, Outcome.FLAGGED, finding("pii", text, 0.9, path=f"/{CANARY}"))
            run_stage(of, root, found, {"pii": rule})
            with opened(of, Step(StepKind.CALL, "call", root)) as call:
                with opened(of, Step(StepKind.ATTEMPT, "attempt", call)) as attempt:
                    attempt.request_headers["authorization"] = f"Bearer {CANARY}"
                    attempt.error_type = text
                of.response_id = of.response_model = text
                of.usage = {text: 1}
                call.error_type = text
            of.status, of.outcome, of.error_code = 502, "error", text
        tracing.guardproxy_shutdown()
        assert len(collector.spans) == 5
        assert (
            collector.named("apply_guardrail pii").events[0].attributes["gen_ai.guardrail.category"]
            == "OTHER"
        )
        assert CANARY.encode() not in collector.raw


def test_a_model_that_a_guard_found_something_in_is_not_named() -> None:
    of = exchange(model="ada@example.org", name="bob@example.org")
    with tracing.record() as spans, opened(of, Step(StepKind.EXCHANGE, "exchange")) as root:
        inside = [finding("pii", "EMAIL_ADDRESS", 1.0, path) for path in ("/model", "X-Opper-Name")]
        run_stage(of, root, verdict(Stage.INPUT, Outcome.REDACTED, *inside), INPUT)
        with opened(of, Step(StepKind.CALL, "call", root)):
            of.response_model = "ada@example.org"
            of.response_id = "eve@example.org"
        echoed = [finding("pii", "EMAIL_ADDRESS", 1.0, p, Stage.OUTPUT) for p in ("/model", "/response/id")]
        of.verdicts[Stage.OUTPUT] = verdict(Stage.OUTPUT, Outcome.FLAGGED, *echoed)
    every = [value for span in spans for value in (span.name, *attributes(span).values())]
    assert "chat" in every
    assert not [value for value in every if "@example.org" in str(value)]


def test_a_model_that_was_found_at_the_input_is_not_named_when_the_upstream_says_it_again() -> None:
    of = exchange()
    with tracing.record() as spans, opened(of, Step(StepKind.EXCHANGE, "exchange")) as root:
        inside = finding("pii", "EMAIL_ADDRESS", 1.0, "/model")
        run_stage(of, root, verdict(Stage.INPUT, Outcome.FLAGGED, inside), INPUT)
        with opened(of, Step(StepKind.CALL, "call", root)):
            of.response_model = "ada@example.org"
        of.verdicts[Stage.OUTPUT] = verdict(Stage.OUTPUT, Outcome.CLEAN)
    every = [value for span in spans for value in (span.name, *attributes(span).values())]
    assert not [value for value in every if "@example.org" in str(value)]


def test_trace_of_a_traceparent_keeps_its_key() -> None:
    trace_id = int(TRACEPARENT[3:35], 16)
    of = exchange(headers={"traceparent": TRACEPARENT})
    recorded(of)
    found = parent_of(of.response_headers["X-Opper-Span-Id"])
    assert found is not None
    assert key_of(found[0]) == key_of(trace_id)


def test_what_becomes_of_spans_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    before = SPANS.sums()
    with OtlpCollector(hang=True) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint)
        tracing.guardproxy_startup(SETTINGS)
        run_alone(4)
        collector.wait_for_export()  # a batch of four is under way, and hangs
        run_alone(9)  # four wait, five had to make room
        assert SPANS.sums() == {**before, "dropped": before["dropped"] + 5}
        collector.status = 400
        collector.release()
        tracing.guardproxy_shutdown()
    assert SPANS.sums() == {
        "exported": before["exported"],
        "failed": before["failed"] + 8,
        "dropped": before["dropped"] + 5,
    }


def run_alone(spans: int) -> None:
    for _ in range(spans):
        with opened(exchange(), Step(StepKind.EXCHANGE, "exchange")):
            pass


@pytest.mark.parametrize(
    ("environment", "trace", "to"),
    [
        ({}, "otel", ["nowhere"]),
        ({}, "console", ["standard output, as trees"]),
        (
            {"EXPORTER_OTLP_ENDPOINT": "http://me:pw@127.0.0.1:1/x?k=v"},
            "otel",
            ["http://127.0.0.1:1 (http/protobuf)"],
        ),
        ({"TRACES_EXPORTER": "otlp"}, "otel", ["http://localhost:4318 (http/protobuf)"]),
        (
            {"TRACES_EXPORTER": "console"},
            "console",
            ["standard output, as trees", "standard output, as JSON"],
        ),
        (
            {"EXPORTER_OTLP_TRACES_ENDPOINT": "127.0.0.1:1", "EXPORTER_OTLP_PROTOCOL": "grpc"},
            "otel",
            ["127.0.0.1:1 (grpc)"],
        ),
    ],
)
def test_the_log_says_where_traces_go_and_no_credential(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], trace: str, to: list[str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"OTEL_{name}", value)
    with capture_logs() as logged:
        tracing.guardproxy_startup(Settings(trace=trace))
    (line,) = logged
    assert (line["event"], line["to"]) == ("tracing", to)
    assert ("service 'guardproxy'" in line["hint"]) is bool(environment)
