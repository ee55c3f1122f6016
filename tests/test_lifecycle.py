"""The life of an exchange around its work: its one line in the log, and the ids in every line."""

import asyncio
import dataclasses
import hashlib
import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.trace import SpanKind
from structlog.testing import capture_logs

import guardproxy_tracing as tracing
from guardproxy import (
    Action,
    Exchange,
    Finding,
    Guard,
    Outcome,
    Policy,
    Rule,
    Stage,
    Step,
    StepKind,
    Verdict,
    hookimpl,
    logs,
    serve,
)
from guardproxy.errors import UpstreamError
from guardproxy.facts import of_response
from guardproxy.lifecycle import line as line_of
from guardproxy.settings import ClientKey, Settings
from guardproxy.types import OnError, Receipt
from tests.harness import (
    Upstreaming,
    logging_restored,
    message,
    proxy,
    sse,
    streaming,
    text_events,
    whole,
)
from tests.samples import Waits, guards

CLIENT_ID = "948fe603f61d"  # printf %s client | sha256sum | cut -c1-12
USAGE = {
    "input_tokens": 3,
    "output_tokens": 4,
    "total_tokens": 7,
    "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 1},
    "output_tokens_details": {"reasoning_tokens": 1},
}


async def test_an_exchange_is_one_line_of_the_log() -> None:
    with capture_logs() as logged:
        async with proxy(lambda _: (_ for _ in ()).throw(httpx.ConnectError("no"))) as client:
            got = await client.post({"input": "hi"})
            await client.post({"input": "hi"}, {"x-opper-guard-input": "nobody"})  # a 400 is no failure
            failed, refused = client.recorder.exchanges
    assert got.status == 502
    unknown: dict[str, str] = {"input": "not_run", "output": "not_run"}
    unreachable = {"upstream_failure": "unreachable", "upstream_origin": "http://upstream.test"}
    for line, level, of, code, words in (
        (logged[0], "warning", failed, "upstream_error", unreachable),
        (logged[1], "info", refused, "unknown_guard", unknown),
    ):
        assert line.pop("seconds") >= line.pop("overhead_seconds") > 0
        assert line.pop("client_id") == CLIENT_ID
        assert (line.pop("upstream_seconds", None) is None) is (of is refused)
        assert line == {
            "event": "exchange",
            "log_level": level,
            "exchange": of.id,
            "method": "POST",
            "route": "/v1/responses",
            "status": of.status,
            "outcome": "error",
            "code": code,
            **words,
        }
    assert len(logged) == 2


async def test_the_line_of_an_exchange_counts_and_has_no_text() -> None:
    made = whole(message("again TAG-1234"), usage={"input_tokens": 3, "output_tokens": 4})
    with capture_logs() as logged:
        async with proxy(made) as client:
            body = {"model": "m-1", "input": [{"role": "user", "content": "TAG-1234 TAG-1234"}]}
            await client.post(body, {"x-opper-guard-input": "tags=redact", "x-opper-guard-output": "tags"})
    (line,) = logged
    assert line.pop("seconds") >= line.pop("overhead_seconds") > 0
    assert line.pop("client_id") == CLIENT_ID
    assert line.pop("upstream_seconds") > 0
    assert set(line.pop("guard_seconds")) == {"input.tags", "output.tags"}
    assert line.pop("exchange").startswith("req_")
    assert line == {
        "event": "exchange",
        "log_level": "info",
        "method": "POST",
        "route": "/v1/responses",
        "status": 200,
        "outcome": "redacted",
        "model": "m-1",
        "upstream_status": 200,
        "response_status": "completed",
        "response_id": "resp_1",
        "response_model": "m",
        "input": "redacted",
        "input_guards": {"tags": "redact"},
        "input_findings": {"tags.TAG": 2},
        "input_parts": 1,
        "output": "flagged",
        "output_guards": {"tags": "flag"},
        "output_findings": {"tags.TAG": 1},
        "output_parts": 1,
        "input_tokens": 3,
        "output_tokens": 4,
    }


async def test_the_line_of_an_exchange_names_no_model_that_a_guard_found_something_in() -> None:
    with capture_logs() as logged:
        async with proxy(whole()) as client:
            await client.post({"model": "TAG-1234", "input": "hi"}, {"x-opper-guard-input": "tags"})
    assert "TAG-1234" not in repr(logged)
    assert logged[0]["input_findings"] == {"tags.TAG": 1}


async def test_what_is_no_exchange_leaves_no_line_and_no_trace() -> None:
    with capture_logs() as logged, tracing.record() as spans:
        async with proxy(whole(), plugins=[tracing]) as client:
            for method, path in (
                *(("GET", "/v1/models"), ("GET", "/v1/unknown"), ("PUT", "/v1/responses")),
                *(("GET", "/livez"), ("GET", "/readyz")),
            ):
                await client.post(b"", path=path, method=method)
            await client.post(b"", {"upgrade": "websocket"}, method="GET")
    assert [request.url.path for request in client.requests] == ["/v1/models"]
    assert "exchange" not in {line["event"] for line in logged}
    assert spans == []


async def test_the_line_of_an_exchange_says_which_guards_failed_and_how() -> None:
    floor = Policy(input={"raises": Rule(shadow=True), "tags": Rule(Action.REDACT)})
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    content = [{"type": "input_text", "text": "boom"}, image]
    with capture_logs() as logged:
        async with proxy(whole(), floor=floor) as client:
            headers = {"x-opper-name": "checkout"}
            asked = {"model": "m-1", "input": [{"role": "user", "content": content}]}
            await client.post(asked, headers)
            await client.post({"input": "boom"}, headers | {"x-opper-guard-input": "raises"})
    let_go, stopped = (line for line in logged if line["event"] == "exchange")
    assert let_go["input_guards"] == {"raises": "shadow flag", "tags": "redact"}
    assert not {"name", "model"} & set(let_go)  # who knows what it would have found there
    assert let_go["input_skipped"] == {"image": 1}
    assert let_go["guard_failures"] == stopped["guard_failures"] == {"input.raises": "raised"}
    assert "upstream_seconds" in let_go
    assert "upstream_seconds" not in stopped


async def test_every_answer_of_an_exchange_has_the_id_that_log_and_span_call_it_by() -> None:
    theirs = {"x-request-id": "theirs", "x-guardproxy-exchange": "theirs"}

    def answer(request: httpx.Request) -> httpx.Response:
        if b"refuse" in request.content:
            raise httpx.ConnectError("no")
        made = streaming(sse(text_events("hi"))) if b"stream" in request.content else whole()
        reply = made(request)
        reply.headers.update(theirs)
        return reply

    block = {"x-opper-guard-input": "tags=block", "x-opper-guard-output": "tags"}
    cases: list[tuple[dict[str, Any], dict[str, str], int]] = [
        ({"input": "hi"}, {}, 200),
        ({"input": "hi"}, block, 200),
        ({"input": "hi", "stream": True}, block, 200),
        ({"input": "TAG-1234"}, block, 400),
        ({"input": "hi"}, {"x-opper-guard-input": "nobody"}, 400),
        ({"input": "hi"}, {"authorization": ""}, 401),
        ({"input": "refuse"}, {}, 502),
    ]
    with capture_logs() as logged, tracing.record() as spans:
        async with proxy(answer, plugins=[tracing]) as client:
            got = [await client.post(body, headers) for body, headers, _ in cases]
            got.append(await client.post({"input": "hi", "guards": ["tags"]}, path="/v1/guard/check"))
    assert [one.status for one in got] == [*(status for _, _, status in cases), 200]
    ids = [one.headers["x-guardproxy-exchange"] for one in got]
    assert len(set(ids)) == len(ids)
    assert [line["exchange"] for line in logged if line["event"] == "exchange"] == ids
    called = [span.attributes or {} for span in spans if span.kind is SpanKind.SERVER]
    assert [of["guardproxy.exchange.id"] for of in called] == ids
    assert {one.headers["x-request-id"] for one in got[:3]} == {"theirs"}
    assert [one.headers["x-request-id"] for one in got[3:]] == ids[3:]
    assert "theirs" not in repr(logged)


CUT = sse(text_events("hello")[:-1], done=False)


@pytest.mark.parametrize("guards", [{}, {"x-opper-guard-output": "tags=redact"}])
@pytest.mark.parametrize(
    ("answer", "raw", "guarded"),
    [
        (lambda _: (_ for _ in ()).throw(httpx.ProxyError("no")), "proxy", "proxy"),
        (streaming(CUT, error=httpx.ReadError("reset")), "broke_off", "broke_off"),
        (streaming(CUT, error=httpx.RemoteProtocolError("no")), "invalid", "invalid"),
        (streaming(CUT), "broke_off", "broke_off"),
        (lambda _: httpx.Response(307, headers={"location": "http://host.test"}), None, "redirect"),
        (lambda _: httpx.Response(200, json="x", headers={"content-encoding": "br"}), None, "invalid"),
        (whole(), None, None),
    ],
)
async def test_log_and_span_say_why_the_upstream_failed(
    answer: Any, raw: str | None, guarded: str | None, guards: dict[str, str]
) -> None:
    with capture_logs() as logged, tracing.record() as spans:
        async with proxy(answer, plugins=[tracing]) as client:
            await client.post({"input": "hi", "stream": True}, guards)
    (line,) = (line for line in logged if line["event"] == "exchange")
    (attempt,) = (span.attributes or {} for span in spans if "url.full" in (span.attributes or {}))
    word = guarded if guards else raw
    assert line.get("upstream_failure") == attempt.get("guardproxy.upstream.failure") == word
    assert (word is not None) is (attempt.get("error.type") == "upstream_error")
    assert "host.test" not in repr(line)


@pytest.mark.parametrize("named", [True, False])
async def test_the_line_of_an_exchange_names_it_where_no_guard_found_something_in_the_name(
    named: bool,
) -> None:
    headers = {"x-opper-name": "checkout" if named else "TAG-1234", "x-opper-guard-input": "tags"}
    with capture_logs() as logged:
        async with proxy(whole()) as client:
            await client.post({"input": "hi"}, headers)
    assert logged[0].get("name") == ("checkout" if named else None)


@pytest.mark.parametrize("known", [True, False])
async def test_the_line_of_an_exchange_says_which_key_was_sent_and_not_the_key(known: bool) -> None:
    keys = (ClientKey(name="team-a", sha256=hashlib.sha256(b"client" if known else b"other").hexdigest()),)
    with capture_logs() as logged:
        async with proxy(whole(), keys=keys) as client:
            await client.post({"input": "hi"})
        async with proxy(whole(), auth="none") as client:
            await client.post({"input": "hi"}, {"authorization": ""})
    sent, none = logged
    assert sent["client_id"] == CLIENT_ID == hashlib.sha256(b"client").hexdigest()[:12]
    assert (sent.get("client"), sent["status"]) == (("team-a", 200) if known else (None, 401))
    assert "client_id" not in none


@pytest.mark.parametrize("parent", ["none", "0190f5f0-1111-7222-8333-444455556666"])
async def test_the_line_of_an_exchange_says_that_its_parent_is_none(parent: str) -> None:
    with capture_logs() as logged, tracing.record():
        async with proxy(whole(), plugins=[tracing]) as client:
            await client.post({"input": "hi"}, {"x-opper-parent-span-id": parent})
    (line,) = (line for line in logged if line["event"] == "exchange")
    assert line.get("parent_unusable") == (True if parent == "none" else None)


def test_every_fact_of_the_line_is_documented_and_every_documented_one_is_there() -> None:
    rules = {"tags": Rule()}
    finding = Finding("tags", Stage.INPUT, "/input", 0, 8, "TAG")
    receipt = Receipt(1, {"image": 1}, 1)
    verdicts = {
        stage: Verdict(stage, Outcome.FLAGGED, (finding,), (finding,), ("tags",), receipt) for stage in Stage
    }
    facts: dict[str, Any] = {
        field.name: "x" for field in dataclasses.fields(Exchange) if field.type == (str | None)
    }
    facts |= {field.name: True for field in dataclasses.fields(Exchange) if field.type is bool}
    facts |= {"status": 200, "upstream_status": 200, "events": 1, "events_delivered": 1}
    facts |= {"first_event_seconds": 0.5, "cost_usd": Decimal("0.5")}
    facts |= {"guard_seconds": {"input.tags": 1.0}, "guard_failures": {"input.tags": "raised"}}
    fine = Exchange("POST", "/v1/responses", {}, **facts)
    with fine.upstream_watch:
        of_response(fine, {"usage": USAGE})
    told = set(line_of(fine))
    fine.policy, fine.verdicts = (
        Policy(rules, rules),
        verdicts,
    )  # now something may have been found in the names
    told |= set(line_of(fine))
    fine.error_code = UpstreamError.code
    told |= set(line_of(fine))
    page = (Path(__file__).parents[1] / "docs/logs.md").read_text("utf-8")
    table = page.split("| fact | meaning |")[1].split("\n\n")[0].splitlines()[2:]
    documented = [name for row in table for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])]
    assert len(documented) == len(set(documented))
    assert told - {"exchange"} == set(documented)


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    """What is logged as JSON; afterwards logging is as it was."""
    output = io.StringIO()
    with logging_restored():
        logs.configure(Settings(log_format="json"), output)
        yield output


class Ids:
    """A plugin that names a span, as tracing does; in each it has a library log a warning."""

    @hookimpl
    def guardproxy_step(self, exchange: Exchange, step: Step) -> Any:
        @contextmanager
        def around() -> Iterator[None]:
            if step.kind is StepKind.EXCHANGE:
                exchange.trace_id, exchange.span_id = exchange.headers["x-ids"] * 32, "b" * 16
            yield

        return around()

    @hookimpl
    async def guardproxy_before_forward(self, exchange: Exchange) -> None:
        await asyncio.sleep(0)  # another exchange has its turn
        logging.getLogger("library").warning("about %s", "TAG-1234")
        if exchange.headers["x-ids"] == "a":
            raise RuntimeError("TAG-1234")


async def test_every_line_has_the_ids_of_its_exchange(output: io.StringIO) -> None:
    async with proxy(whole(), plugins=[Ids()]) as client:
        got = await asyncio.gather(*(client.post({"input": "hi"}, {"x-ids": name}) for name in "abc"))
        logging.getLogger("library").warning("outside")
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    for name, answer in zip("abc", got, strict=True):
        own = [line for line in lines if line.get("trace_id") == name * 32]
        assert {line["span_id"] for line in own} == {"b" * 16}
        assert {line["exchange"] for line in own} == {answer.headers["x-request-id"]}
        failed = ["plugin failed"] if name == "a" else []
        assert [line["event"] for line in own] == ["library_log", *failed, "exchange"]
    assert "trace_id" not in lines[-1]
    assert "TAG-1234" not in output.getvalue()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("rule", [Rule(), Rule(on_error=OnError.FLAG), Rule(shadow=True)])
async def test_a_guard_that_fails_is_a_line_with_the_ids_of_its_exchange(
    output: io.StringIO, rule: Rule, stream: bool
) -> None:
    lets_go = rule != Rule()
    answer = streaming(sse(text_events("a boom")), 64) if stream else whole(message("a boom"))
    rules = {"raises": rule}
    floor = Policy({} if stream else rules, rules)
    with tracing.record() as spans:
        async with proxy(answer, plugins=[tracing], floor=floor) as client:
            got = await client.post({"input": ["a boom"], "stream": stream})
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    failed = sorted(
        (line for line in lines if line["event"] == "guard_failed"), key=lambda line: str(line["stage"])
    )
    server = next(span for span in spans if span.kind is SpanKind.SERVER)
    stages = ["output"] if stream else ["input", "output"] if lets_go else ["input"]
    for line, stage in zip(failed, stages, strict=True):
        assert line.pop("timestamp")
        assert line == {
            "event": "guard_failed",
            "level": "warning",
            "guard": "raises",
            "stage": stage,
            "detector": "raises",
            "failure": "raised",
            "error": "ValueError",
            "exchange": got.headers["x-guardproxy-exchange"],
            "trace_id": f"{server.context.trace_id:032x}",
            "span_id": f"{server.context.span_id:016x}",
        }
    (told,) = (line for line in lines if line["event"] == "exchange")
    assert told["guard_failures"] == {f"{stage}.raises": "raised" for stage in stages}
    guards = [span for span in spans if span.name == "apply_guardrail raises"]
    assert [(s.attributes or {})["guardproxy.guard.detector"] for s in guards] == ["raises"] * len(stages)
    assert "boom" not in output.getvalue()


class Ended:
    """A plugin that says when an exchange is over."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    @hookimpl
    async def guardproxy_after_forward(self) -> None:
        self.told.set()


async def test_a_guard_in_shadow_goes_on_when_a_real_connection_has_its_answer() -> None:
    waits, ended = Waits(), Ended()
    rules = {"waits": Rule(shadow=True)}
    given = {"made": {"waits": Guard("waits", (waits,))}, "floor": Policy(rules, rules)}
    async with (
        proxy(whole(message("ok")), plugins=[ended], **given) as inside,  # type: ignore[arg-type]
        serve.running(_Started(inside.app)) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        headers = {"authorization": "Bearer x", "connection": "close"}
        got = await client.post("/v1/responses", json={"input": "hi"}, headers=headers)
        assert got.status_code == 200
        await client.get("/livez")  # the server has done what it does behind an answer
        waits.go.set()
        await ended.told.wait()
        (exchange,) = inside.recorder.exchanges
    assert {stage: verdict.outcome.value for stage, verdict in exchange.verdicts.items()} == dict.fromkeys(
        Stage, "clean"
    )
    assert [len(verdict.shadowed) for verdict in exchange.verdicts.values()] == [1, 1]


class _Started:
    """An application whose lifespan is somebody else's."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("upstream", [whole(message("ok")), streaming(sse(text_events("ok")))])
@pytest.mark.parametrize("rules", [{}, {"tags": Rule(Action.BLOCK)}])
async def test_a_server_that_ends_cuts_guards_in_shadow_off_and_not_an_exchange_whose_answer_is_there(
    stage: Stage, upstream: Upstreaming, rules: dict[str, Rule]
) -> None:
    waits, delivered = Waits(), asyncio.Event()
    made = {**guards(), "waits": Guard("waits", (waits,))}
    floor = Policy(**{stage.value: {"waits": Rule(shadow=True), **rules}})
    async with proxy(upstream, made=made, floor=floor) as client:
        running = asyncio.create_task(client.post({"input": "hi"}, delivered=delivered))
        await waits.asked.wait()
        await delivered.wait()
        with capture_logs() as logged:
            running.cancel()  # as the server does when the drain is over
            with pytest.raises(asyncio.CancelledError):
                await running
        (exchange,) = client.recorder.exchanges
    (line,) = logged
    assert (line["log_level"], line["outcome"], line.get("code")) == ("info", "allowed", None)
    assert exchange.final_outcome(stage) is Outcome.INTERRUPTED


class Lingers:
    """A plugin that does not come to an end."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    @hookimpl
    async def guardproxy_after_forward(self) -> None:
        self.asked.set()
        await asyncio.Event().wait()


async def test_the_line_of_an_exchange_is_written_though_a_plugin_was_cut_off() -> None:
    lingers = Lingers()
    async with proxy(whole(), plugins=[lingers]) as client:
        with capture_logs() as logged:
            running = asyncio.create_task(client.post({"input": "hi"}))
            await lingers.asked.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
    assert [(line["event"], line["outcome"]) for line in logged] == [("exchange", "allowed")]
