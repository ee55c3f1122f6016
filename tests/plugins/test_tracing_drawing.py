"""Trees on a terminal: one for each exchange, whole, with what its guards found."""

import io
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from rich.console import Console

import guardproxy_tracing as tracing
from guardproxy_tracing.drawing import TreePrinter
from guardproxy_tracing.names import LATEST, SETTLED, Names
from guardproxy_tracing.provider import Provider
from tests.harness import message, proxy, sse, streaming, text_events, whole

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


def test_an_error_that_is_no_fault_is_named_too() -> None:
    drawn = Drawn()
    for status, error, outcome in (
        *((400, "unknown_guard", "error"), (429, "429", "error"), (400, "guardrail_blocked", "blocked")),
        (200, "client_disconnected", "cancelled"),
    ):
        facts = {"http.response.status_code": status, "error.type": error, "guardproxy.outcome": outcome}
        drawn.span("server", **facts).end(MS)
    assert drawn.lines[1::2] == [
        "└── server  1.0 ms  error  400  unknown_guard",
        "└── server  1.0 ms  error  429",
        "└── server  1.0 ms  blocked  400",
        "└── server  1.0 ms  cancelled  200  client_disconnected",
    ]


def test_an_error_is_red_where_it_is_a_fault_and_else_dim() -> None:
    out = io.StringIO()
    console = Console(file=out, width=160, force_terminal=True, color_system="standard")
    tracer = Provider((), (TreePrinter(console),)).get_tracer("test")
    for failed, style in ((True, "\x1b[31m"), (False, "\x1b[2m")):
        span = tracer.start_span("server", Context(), attributes={"error.type": "no_such_word"})
        if failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end()
        line = out.getvalue().splitlines()[-1]
        assert f"{style}  no_such_word" in line


@pytest.mark.parametrize(
    ("kind", "facts", "said"),
    [
        (SpanKind.SERVER, {}, True),
        (SpanKind.SERVER, {"http.route": "/v3/compat/openresponses"}, True),
        (SpanKind.SERVER, {"guardproxy.upstream.seconds": 0.0}, False),
        (SpanKind.SERVER, {"http.request.method": "GET"}, False),
        (SpanKind.SERVER, {"http.route": "/v1/guard/check"}, False),
        (SpanKind.CLIENT, {}, False),
    ],
)
def test_a_provider_that_was_not_called_is_said(kind: SpanKind, facts: dict[str, Any], said: bool) -> None:
    drawn = Drawn()
    given = {"http.request.method": "POST", "http.route": "/v1/responses"} | facts
    drawn.tracer.start_span("s", Context(), kind, given, start_time=0).end(MS)
    assert drawn.lines[1:] == ["└── s  1.0 ms" + ("  the provider was not called" if said else "")]


async def test_what_guardproxy_did_in_the_providers_place_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    body, guard = {"model": "m", "input": "hi", "stream": True}, {"x-opper-guard-output": "tags"}
    cut = sse(text_events("fine")[:-1])
    async with proxy(streaming(cut), plugins=[tracing], trace="console") as client:
        await client.post(body, guard)
        made = capsys.readouterr().out
        await client.post(body, {"x-opper-guard-output": "no-such"})
        refused = capsys.readouterr().out
    assert "  200  guardproxy made the terminal event\n" in made
    assert "was not called" not in made
    assert "  error  400  unknown_guard  the provider was not called\n" in refused


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
