"""Trees on a terminal: one for each exchange, whole, with what its guards found."""

import io
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags
from rich.console import Console

import guardproxy_tracing as tracing
from guardproxy_tracing.drawing import TreePrinter
from guardproxy_tracing.names import LATEST, SETTLED, Names
from guardproxy_tracing.provider import Provider
from tests.harness import message, proxy, whole

MS = 1_000_000


class Drawn:
    """A provider whose exchanges are drawn, and what was drawn."""

    def __init__(self) -> None:
        self.out = io.StringIO()
        self.printer = TreePrinter(Console(file=self.out, width=160, color_system=None))
        self.tracer = Provider((), (self.printer,)).get_tracer("test")

    def span(self, name: str, parent: Any = None, **facts: Any) -> Any:
        context = trace.set_span_in_context(parent, Context()) if parent else Context()
        return self.tracer.start_span(name, context=context, start_time=0, attributes=facts)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.out.getvalue().splitlines()]


@pytest.mark.parametrize("names", [SETTLED, LATEST])
def test_a_tree(names: Names) -> None:
    drawn = Drawn()
    server = drawn.span(
        "POST /v1/responses", **{"guardproxy.outcome": "redacted", "http.response.status_code": 200}
    )
    stage = drawn.span("guardproxy.guard input", server, **{"guardproxy.verdict.outcome": "redacted"})
    guard = drawn.span("apply_guardrail pii", stage, **{"guardproxy.guard.outcome": "redacted"})
    found = {names.category: "EMAIL_ADDRESS", names.count: 2, names.action: "redact"}
    guard.add_event("gen_ai.guardrail.result", found)
    watched = {"guardproxy.guard.shadow": True, "guardproxy.guard.outcome": "blocked"}
    shadow = drawn.span("apply_guardrail toxicity", stage, **watched)
    shadow.add_event("gen_ai.guardrail.result", found | {names.action: "block"})
    call = drawn.span("chat m", server, **{"error.type": "upstream_error"})
    call.set_status(Status(StatusCode.ERROR))
    for span in (guard, shadow, stage, call):
        span.end(2 * MS)
        assert drawn.lines == []
    server.end(3 * MS)
    assert drawn.lines == [
        "trace {0.trace_id:032x}  span {0.span_id:016x}".format(server.get_span_context()),
        "└── POST /v1/responses  3.0 ms  redacted  200",
        "    ├── guardproxy.guard input  2.0 ms  redacted",
        "    │   ├── apply_guardrail pii  2.0 ms  redacted  EMAIL_ADDRESS ×2 (redact)",
        "    │   └── apply_guardrail toxicity  2.0 ms  shadow: blocked  EMAIL_ADDRESS ×2 (would block)",
        "    └── chat m  2.0 ms  upstream_error",
    ]


def test_a_status_and_an_error_that_say_the_same_are_one_word() -> None:
    drawn = Drawn()
    server = drawn.span("server", **{"http.response.status_code": 502, "error.type": "upstream_error"})
    attempt = drawn.span("POST", server, **{"http.response.status_code": 503, "error.type": "503"})
    for span in (attempt, server):
        span.set_status(Status(StatusCode.ERROR))
        span.end(MS)
    assert drawn.lines[1:] == ["└── server  1.0 ms  502  upstream_error", "    └── POST  1.0 ms  503"]


def test_a_chain_of_exchanges_can_be_followed_by_the_heads() -> None:
    drawn = Drawn()
    parent = NonRecordingSpan(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)))
    first = drawn.span("first", parent)
    first.end(MS)
    found = first.get_span_context()
    again = SpanContext(found.trace_id, found.span_id, is_remote=True, trace_flags=found.trace_flags)
    then = drawn.span("then", NonRecordingSpan(again))
    then.end(MS)
    heads = [line for line in drawn.lines if line.startswith("trace ")]
    assert heads == [
        f"trace {1:032x}  span {found.span_id:016x}  below span {2:016x}",
        f"trace {1:032x}  span {then.get_span_context().span_id:016x}  below span {found.span_id:016x}",
    ]


def test_a_parent_that_is_none_is_said() -> None:
    drawn = Drawn()
    drawn.span("server", **{"guardproxy.parent.unusable": True}).end(MS)
    assert drawn.lines[1:] == ["└── server  1.0 ms  the parent that was named is none"]


def test_no_line_is_cut_or_filled_up(capsys: pytest.CaptureFixture[str]) -> None:
    Provider((), (TreePrinter(),)).get_tracer("test").start_span("a name " * 40).end()
    lines = capsys.readouterr().out.splitlines()
    assert [line.count("a name") for line in lines] == [0, 40]
    assert all(line == line.rstrip() for line in lines)


def test_exchanges_at_once_in_one_trace_are_trees_of_their_own() -> None:
    drawn = Drawn()
    parent = NonRecordingSpan(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)))
    one, other = drawn.span("one", parent), drawn.span("other", parent)
    inner, stays = drawn.span("inner", one), drawn.span("stays", other)
    stays.end(MS)
    inner.end(MS)
    one.end(MS)
    assert len(drawn.lines) == 3
    other.end(MS)
    assert [line.split("── ")[-1].split()[0] for line in drawn.lines] == [
        *("trace", "one", "inner"),
        *("trace", "other", "stays"),
    ]


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardproxy_tracing.drawing.MOST_WAITING", 3)
    drawn = Drawn()
    server = drawn.span("server")
    for number in range(9):
        drawn.span(f"inner{number}", server).end(MS)
    server.end(MS)
    assert [line.split("── ")[-1].split()[0] for line in drawn.lines] == [
        *("trace", "server"),
        *("inner6", "inner7", "inner8"),
    ]


async def test_the_setting_draws_each_exchange_without_a_backend(capsys: pytest.CaptureFixture[str]) -> None:
    async with proxy(whole(message("ok")), plugins=[tracing], trace="console") as client:
        await client.post({"model": "m-1", "input": "TAG-1234"}, {"x-opper-guard-input": "tags"})
    tree = capsys.readouterr().out
    for shown in ("POST /v1/responses", "apply_guardrail tags", "TAG ×1 (flag)", "chat m-1"):
        assert shown in tree
    assert "TAG-1234" not in tree
