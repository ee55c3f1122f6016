"""The plugin in a whole proxy, with a real exporter: the tree, and that what guards found stays inside."""

import asyncio
import gzip
import json
import time
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

import guardproxy_tracing as tracing
from guardproxy import Action, Detector, Guard, Match, Policy, Rule
from guardproxy.testing.otlp import ExportedSpan, OtlpCollector
from tests.harness import Client, message, proxy, response, sse, streaming, text_events, whole
from tests.samples import Names, Tags, Waits

TAG = "TAG-" + "1234"
KEY = "k" + "eyvalue99"
GUARDS = {"x-opper-guard-input": "tags", "x-opper-guard-output": "tags", "authorization": f"Bearer {KEY}"}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("TRACES_EXPORTER", "SDK_DISABLED", "TRACES_SAMPLER", "EXPORTER_OTLP_PROTOCOL"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)
    with OtlpCollector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint)
        yield collector


def parents(spans: list[ExportedSpan]) -> dict[str, str]:
    names = {span.span_id: span.name for span in spans}
    return {span.name: names.get(span.parent_id, "") for span in spans}


async def test_a_redacted_exchange(collector: OtlpCollector) -> None:
    async with proxy(whole(message(f"again {TAG}")), plugins=[tracing]) as client:
        body = {"model": "m-1", "input": f"see {TAG}", "metadata": {"a": TAG}}
        got = await client.post(body, GUARDS | {"x-opper-guard-action": "redact"})
        passed_on = client.requests[0].headers["traceparent"]
    assert TAG not in got.body.decode()
    assert parents(collector.spans) == {
        "POST /v1/responses": "",
        "guardproxy.guard input": "POST /v1/responses",
        "apply_guardrail tags": parents(collector.spans)["apply_guardrail tags"],
        "chat m-1": "POST /v1/responses",
        "POST": "chat m-1",
        "guardproxy.guard output": "POST /v1/responses",
    }
    assert len(collector.spans) == 7
    attempt = collector.named("POST")
    assert passed_on == f"00-{attempt.trace_id}-{attempt.span_id}-03"
    assert attempt.attributes["url.full"] == "http://upstream.test/v1/responses"
    server = collector.named("POST /v1/responses")
    assert got.headers["traceresponse"] == f"00-{server.trace_id}-{server.span_id}-03"
    assert got.headers["x-opper-span-id"].replace("-", "")[16:] == server.span_id
    assert server.attributes["guardproxy.verdict.input"] == "redacted"
    assert server.attributes["guardproxy.verdict.output"] == "redacted"
    guards = [span for span in collector.spans if span.name == "apply_guardrail tags"]
    assert [event.attributes["gen_ai.guardrail.count"] for span in guards for event in span.events] == [2, 1]
    assert TAG.encode() not in collector.raw
    assert KEY.encode() not in collector.raw


async def test_a_stored_response_is_no_chat_and_its_id_is_in_no_name(collector: OtlpCollector) -> None:
    async with proxy(whole(message(f"again {TAG}")), plugins=[tracing]) as client:
        headers = GUARDS | {"x-opper-guard-action": "redact"}
        await client.post(b"", headers, path="/v1/responses/resp_1", method="GET")
    route = "GET /v1/responses/{id}"
    assert parents(collector.spans) == {
        route: "",
        "guardproxy.guard input": route,
        "apply_guardrail tags": parents(collector.spans)["apply_guardrail tags"],
        "guardproxy.call": route,
        "GET": "guardproxy.call",
        "guardproxy.guard output": route,
    }
    assert collector.named(route).attributes["http.route"] == "/v1/responses/{id}"
    assert collector.named(route).attributes["guardproxy.outcome"] == "redacted"
    assert TAG.encode() not in collector.raw


async def test_a_block_before_the_call(collector: OtlpCollector) -> None:
    async with proxy(whole(), plugins=[tracing]) as client:
        got = await client.post({"model": "m-1", "input": TAG}, {"x-opper-guard-input": "tags=block"})
    assert got.status == 400
    server = collector.named("POST /v1/responses")
    assert server.attributes["http.response.status_code"] == 400
    assert server.attributes["error.type"] == "guardrail_blocked"
    assert server.attributes["guardproxy.outcome"] == "blocked"
    assert {span.status for span in collector.spans} == {"UNSET"}
    assert {span.name for span in collector.spans} == {
        "POST /v1/responses",
        "guardproxy.guard input",
        "apply_guardrail tags",
    }
    assert TAG.encode() not in collector.raw


async def test_a_block_in_mid_stream(collector: OtlpCollector) -> None:
    events = sse(text_events("fine words " * 40 + TAG + " end"))
    async with proxy(streaming(events), plugins=[tracing]) as client:
        got = await client.post(
            {"model": "m-1", "input": "hi", "stream": True}, {"x-opper-guard-output": "tags=block"}
        )
    assert got.status == 200
    server = collector.named("POST /v1/responses")
    assert server.attributes["guardproxy.outcome"] == "blocked"
    assert server.status == "UNSET"
    assert collector.named("guardproxy.guard output").attributes["guardproxy.verdict.outcome"] == "blocked"
    assert collector.named("chat m-1").attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert {span.status for span in collector.spans} == {"UNSET"}
    assert TAG.encode() not in collector.raw


@pytest.mark.parametrize("place", ["model", "name", "parent", "state"])
async def test_what_a_client_says_elsewhere_stays_inside_too(collector: OtlpCollector, place: str) -> None:
    body = {"model": TAG if place == "model" else "m-1", "input": "hi"}
    headers = {
        "name": {"x-opper-name": f"{TAG} and words"},
        "parent": {"x-opper-parent-span-id": TAG},
        "state": {"tracestate": f"v={TAG}", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"},
    }.get(place, {})
    async with proxy(whole(message("ok")), plugins=[tracing]) as client:
        await client.post(json.dumps(body).encode(), GUARDS | headers)
    collector.named("POST /v1/responses")
    assert TAG.encode() not in collector.raw


async def test_chained_exchanges_share_a_trace(collector: OtlpCollector) -> None:
    async def one(client: Client, **headers: str) -> str:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await client.post({"model": "m-1", "input": "hi"}, given)).headers["x-opper-span-id"]

    async with proxy(whole(message("ok")), plugins=[tracing]) as client:
        first = await one(client)
        second = await one(client, x_opper_parent_span_id=first)
        await one(client, x_opper_parent_span_id=second)
    servers = [span for span in collector.spans if span.kind == "SERVER"]
    assert len({span.trace_id for span in servers}) == 1
    assert [span.parent_id for span in servers] == ["", servers[0].span_id, servers[1].span_id]


PNG = "data:image/png;base64,iVBORw0KGgo="
UNREAD = {"encrypted": 1, "file": 1, "file_id": 1, "image": 2, "previous_response_id": 1}


async def test_the_receipt_is_in_the_header_and_on_the_stage(collector: OtlpCollector) -> None:
    content = [
        {"type": "input_text", "text": f"see {TAG}"},
        {"type": "input_image", "image_url": PNG},
        {"type": "input_image", "image_url": PNG},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_file", "file_data": "JVBERi3/"},
    ]
    sealed = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2VhbGVk"}
    body = {"previous_response_id": "resp_0", "input": [{"role": "user", "content": content}, sealed]}
    async with proxy(whole(message("ok")), plugins=[tracing]) as client:
        got = await client.post(body, {"x-opper-guard-input": "tags"})
    counts = " ".join(f"{reason}:{count}" for reason, count in sorted(UNREAD.items()))
    assert got.headers["x-guardproxy-receipt"] == f"parts=1, skipped={counts}"
    stage = collector.named("guardproxy.guard input")
    told = {k: v for k, v in stage.attributes.items() if k.startswith("guardproxy.receipt.")}
    skipped = {f"guardproxy.receipt.skipped.{reason}": count for reason, count in UNREAD.items()}
    assert told == {"guardproxy.receipt.parts": 1, **skipped}
    # The report has no place for it.
    (entry,) = got.json["guards"]
    assert entry.keys() == {"type", "guard_type", "stage", "action", "flagged", "findings", "total"}


async def test_a_label_that_no_guard_has_cleared_is_not_exported(collector: OtlpCollector) -> None:
    name = {"x-opper-name": "boom/" + TAG}
    shadow = Policy(input={"raises": Rule(Action.FLAG, shadow=True)})
    async with proxy(whole(message("ok")), plugins=[tracing]) as client:
        failed = await client.post({"model": "m-1", "input": "hi"}, name | {"x-opper-guard-input": "raises"})
    async with proxy(whole(message("ok")), plugins=[tracing], floor=shadow) as client:
        shadowed = await client.post({"model": "m-1", "input": "hi"}, name)
    assert (failed.status, shadowed.status) == (500, 200)
    assert TAG.encode() not in collector.raw


async def test_what_a_failed_guard_has_not_read_of_an_answer_is_not_exported(
    collector: OtlpCollector,
) -> None:
    body = {**response(message("boom")), "id": TAG, "model": TAG}
    async with proxy(lambda _: httpx.Response(200, json=body), plugins=[tracing]) as client:
        got = await client.post({"model": "m-1", "input": "hi"}, {"x-opper-guard-output": "raises"})
    assert got.status == 500
    assert TAG.encode() not in collector.raw


@pytest.mark.parametrize("guards", [{}, GUARDS | {"x-opper-guard-action": "redact"}])
@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_the_bodys_trace_object(
    collector: OtlpCollector, guards: dict[str, str], encoding: str
) -> None:
    trace = {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "parent_span_id": "00f067aa0ba902b7"}
    body = json.dumps({"model": "m-1", "input": "hi", "trace": trace | {"trace_name": f"x {TAG}"}}).encode()
    headers = guards | ({"content-encoding": "gzip"} if encoding else {})
    async with proxy(whole(message("ok")), plugins=[tracing]) as client:
        await client.post(gzip.compress(body) if encoding else body, headers)
    server = collector.named("POST /v1/responses")
    assert {"trace_id": server.trace_id, "parent_span_id": server.parent_id} == trace
    sent = client.requests[0].content
    sent = gzip.decompress(sent) if "content-encoding" in client.requests[0].headers else sent
    assert json.loads(sent)["trace"] == trace | {"trace_name": "x [TAG]" if guards else f"x {TAG}"}
    assert TAG.encode() not in collector.raw


async def test_the_span_of_an_exchange_begins_before_its_body_is_there(collector: OtlpCollector) -> None:
    async with proxy(whole(), plugins=[tracing]) as client:
        began, sent = 0, False

        async def receive() -> Any:
            nonlocal began, sent
            if sent:
                await asyncio.Event().wait()
            began, sent = time.time_ns(), True
            return {"type": "http.request", "body": b'{"model":"m-1","input":"hi"}'}

        async def send(message: Any) -> None:
            pass

        scope = {"type": "http", "method": "POST", "path": "/v1/responses", "raw_path": b"/v1/responses"}
        scope |= {"headers": [(b"authorization", b"Bearer x")], "query_string": b"", "root_path": ""}
        await client.app(scope, receive, send)
    assert collector.named("POST /v1/responses").start <= began


@pytest.mark.parametrize("action", [Action.FLAG, Action.REDACT, Action.BLOCK])
async def test_captured_content_is_redacted(collector: OtlpCollector, action: Action) -> None:
    rules = {"pii": Rule(action), "secrets": Rule(Action.FLAG, shadow=True)}
    made = {"pii": Guard("pii", (Tags(),)), "secrets": Guard("secrets", (Names(),))}
    given: dict[str, Any] = {"floor": Policy(rules, rules), "capture_content": "redacted"}
    async with proxy(whole(message(f"again {TAG}")), plugins=[tracing], made=made, **given) as client:
        await client.post({"model": "m-1", "input": f"see {TAG} of Zorp", "instructions": "be kind"})
    span = collector.named("POST /v1/responses" if action is Action.BLOCK else "chat m-1")
    assert "see [TAG] of [NAME]" in span.attributes["gen_ai.input.messages"]
    assert "be kind" in span.attributes["gen_ai.system_instructions"]
    if action is not Action.BLOCK:
        assert "again [TAG]" in span.attributes["gen_ai.output.messages"]
    assert sum("gen_ai.input.messages" in span.attributes for span in collector.spans) == 1
    assert TAG.encode() not in collector.raw
    assert b"Zorp" not in collector.raw


class Late(Detector):
    """Notes when it was asked; remote, so that it runs in this process."""

    name = "late"
    reach = 4
    asked = 0

    async def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        self.asked = time.time_ns()
        await asyncio.sleep(0)
        return [[] for _ in texts]


async def test_the_call_ends_with_the_last_byte_and_not_with_the_guards(collector: OtlpCollector) -> None:
    late = Late()
    made = {"late": Guard("late", (late,))}
    async with proxy(whole(message("ok")), plugins=[tracing], made=made) as client:
        await client.post({"model": "m-1", "input": "hi"}, {"x-opper-guard-output": "late"})
    call, attempt = collector.named("chat m-1"), collector.named("POST")
    assert call.start <= attempt.start < attempt.end == call.end <= late.asked
    assert late.asked <= collector.named("guardproxy.guard output").end


@pytest.mark.parametrize("stage", ["input", "output"])
@pytest.mark.parametrize("answers", ["whole", "stream"])
@pytest.mark.parametrize("enforced", [True, False])
async def test_only_guards_in_shadow_last_longer_than_the_traffic(
    collector: OtlpCollector, stage: str, answers: str, enforced: bool
) -> None:
    waits, delivered = Waits(), asyncio.Event()
    made = {"waits": Guard("waits", (waits,)), "tags": Guard("tags", (Tags(),))}
    rules = {"waits": Rule(shadow=True)} | ({"tags": Rule(Action.REDACT)} if enforced else {})
    upstream = whole(message("ok")) if answers == "whole" else streaming(sse(text_events("ok")))
    async with proxy(upstream, plugins=[tracing], made=made, floor=Policy(**{stage: rules})) as client:
        asked = client.post({"model": "m-1", "input": "hi"}, delivered=delivered)
        exchanging = asyncio.create_task(asked)
        await delivered.wait()
        answered = time.time_ns()
        waits.go.set()
        await exchanging
    late = {span.name for span in collector.spans if span.end > answered}
    stages = set() if enforced else {f"guardproxy.guard {stage}"}
    assert late == {"apply_guardrail waits", *stages}


async def test_a_stream_of_many_deltas_makes_no_more_spans_than_one_of_few(collector: OtlpCollector) -> None:
    counts = []
    for length in (10, 1000):
        collector.spans.clear()
        upstream = streaming(sse(text_events("word " * (length // 5), size=1)))
        async with proxy(upstream, plugins=[tracing]) as client:
            got = await client.post({"model": "m-1", "input": "hi", "stream": True}, GUARDS)
        assert len([event for event in got.events if event != "[DONE]" and "delta" in event]) == length
        counts.append(len(collector.spans))
        assert collector.orphans() == []
        assert collector.duplicates() == []
    assert counts == [7, 7]
