"""One exchange, end to end in memory: what goes up, what comes back, and in which order things happen."""

import asyncio
import gzip
import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from guardproxy import Detector, Guard, LocalReply, Match, Policy, Rule, hookimpl, inputs
from guardproxy.streaming import GuardedStream
from guardproxy.types import Action, Outcome, Stage
from tests.harness import Chunks, message, proxy, response, sse, streaming, text_events, whole
from tests.samples import guards

REDACT = {"x-opper-guard-action": "redact"}
IN = {"x-opper-guard-input": "tags"}
OUT = {"x-opper-guard-output": "tags"}


async def test_raw_request_and_response_are_the_bytes_as_they_came() -> None:
    odd = b'{ "model" : "m","input":"TAG-1234", "n": 1e400, "n": 2 }'
    reply = httpx.Response(201, content=b'{"a":  1}', headers={"x-request-id": "theirs", "x-other": "1"})
    async with proxy(lambda _: reply) as client:
        got = await client.post(odd, {"x-opper-name": "job", "cookie": "a=b"})
        sent = client.requests[0]
    assert (got.status, got.body, got.headers["x-request-id"]) == (201, b'{"a":  1}', "theirs")
    assert sent.content == odd
    assert sent.url == "http://upstream.test/v1/responses"
    assert "x-opper-name" not in sent.headers
    assert sent.headers["cookie"] == "a=b"
    assert "x-guardproxy-verdict" not in got.headers


async def test_redacted_input_changes_only_the_text_that_was_found() -> None:
    body = b'{"model":"m",  "input":"see TAG-1234 now", "temperature":1e0}'
    async with proxy(whole(message("fine"))) as client:
        got = await client.post(body, IN | REDACT)
        assert client.requests[0].content == body.replace(b"TAG-1234", b"[TAG]")
    assert got.headers["x-guardproxy-verdict"] == "input=redacted, output=off"
    assert got.headers["x-guardproxy-receipt"] == "parts=1"
    (entry,) = got.json["guards"]
    assert entry["guard_type"] == "tags"
    assert entry["findings"] == [{"category": "TAG", "path": "/input", "start": 4, "end": 12, "score": 1.0}]


async def test_blocked_input_never_reaches_the_upstream() -> None:
    async with proxy(whole()) as client:
        got = await client.post(
            {"input": [{"role": "user", "content": "TAG-1234"}]}, {"x-opper-guard-input": "tags=block"}
        )
        assert client.requests == []
        assert client.recorder.exchanges[0].outcome == "blocked"
    assert got.status == 400
    error = got.json["error"]
    assert (error["code"], error["param"]) == ("guardrail_violation", "/input/0/content")
    assert error["message"] == "Blocked by guard 'tags' at the input: TAG."
    assert got.headers["x-should-retry"] == "false"
    assert got.headers["x-guardproxy-verdict"] == "input=blocked, output=off"
    assert "TAG-1234" not in got.body.decode()


async def test_flagged_input_is_forwarded_as_it_came() -> None:
    body = b'{"input":"TAG-1234 "}'
    async with proxy(whole(message("fine"))) as client:
        got = await client.post(body, IN)
        assert client.requests[0].content == body
    assert got.headers["x-guardproxy-verdict"] == "input=flagged, output=off"
    assert got.json["guards"][0]["flagged"] is True


async def test_redacted_output_agrees_with_its_report() -> None:
    item = message("see TAG-1234 and TAG-5678")
    item["content"][0]["annotations"] = [
        {"type": "url_citation", "start_index": 17, "end_index": 25, "url": "u", "title": "t"}
    ]
    item["content"][0]["logprobs"] = [{"token": "TAG"}]
    async with proxy(whole(item)) as client:
        got = await client.post({"input": "hi"}, OUT | REDACT)
    part = got.json["output"][0]["content"][0]
    assert part["text"] == "see [TAG] and [TAG]"
    assert part["logprobs"] == []
    assert (part["annotations"][0]["start_index"], part["annotations"][0]["end_index"]) == (14, 19)
    places = [(f["start"], f["end"]) for f in got.json["guards"][0]["findings"]]
    assert [part["text"][a:b] for a, b in places] == ["[TAG]", "[TAG]"]
    assert got.headers["x-guardproxy-verdict"] == "input=off, output=redacted"


async def test_blocked_output_is_a_400() -> None:
    async with proxy(whole(message("TAG-1234"))) as client:
        got = await client.post({"input": "hi"}, {"x-opper-guard-output": "tags=block"})
    assert got.status == 400
    assert got.json["error"]["param"] == "/output/0/content/0/text"
    assert "TAG-1234" not in got.body.decode()


async def test_an_error_page_of_the_upstream_is_inspected_too() -> None:
    page = httpx.Response(503, text="<b>TAG-1234</b>", headers={"retry-after": "7"})
    async with proxy(lambda _: page) as client:
        got = await client.post({"input": "hi"}, OUT | REDACT)
    assert (got.status, got.body, got.headers["retry-after"]) == (503, b"<b>[TAG]</b>", "7")


@pytest.mark.parametrize("size", [0, 1, 7, 100])
async def test_redacted_stream(size: int) -> None:
    async with proxy(streaming(sse(text_events("My number is TAG-1234, keep it.")), size)) as client:
        got = await client.post({"input": "hi", "stream": True}, OUT | REDACT)
    assert got.text == "My number is [TAG], keep it."
    assert b"1234" not in got.body
    assert [e["sequence_number"] for e in got.events[:-1]] == list(range(len(got.events) - 1))
    final = got.events[-2]["response"]
    assert final["output"][0]["content"][0]["text"] == got.text
    (entry,) = final["guards"]
    assert entry["total"] == 1
    (found,) = entry["findings"]
    assert (found["path"], got.text[found["start"] : found["end"]]) == ("/output/0/content/0/text", "[TAG]")
    assert got.events[-1] == "[DONE]"
    assert got.ended


async def test_a_clean_guarded_stream_is_the_bytes_as_they_came() -> None:
    body = sse(text_events("nothing to see", 3))
    async with proxy(streaming(body, 50)) as client:
        got = await client.post({"input": "hi"}, OUT | REDACT)
    assert got.body == body


@pytest.mark.parametrize("action", ["flag", "redact"])
async def test_a_stream_without_numbers_indexes_or_end_gets_them(action: str) -> None:
    events = text_events("hello there", 4, numbered=False)[:-1]
    for event in events:
        event.pop("output_index", None)
        event.pop("content_index", None)
    async with proxy(streaming(sse(events))) as client:
        got = await client.post({"input": "hi"}, OUT | {"x-opper-guard-action": action})
    *numbered, done = got.events
    assert done == "[DONE]"
    assert [e["sequence_number"] for e in numbered] == list(range(len(numbered)))
    assert all(e["output_index"] == 0 for e in numbered[1:-1])
    assert all(
        e["content_index"] == 0 for e in numbered if "content_part" in e["type"] or "text" in e["type"]
    )
    assert numbered[-1]["type"] == "response.completed"
    assert numbered[-1]["response"]["output"][0]["content"][0]["text"] == "hello there"


async def test_a_stream_that_is_blocked_in_the_middle() -> None:
    upstream = Chunks([sse(text_events("All is well. " * 5 + "TAG-1234 more"))])
    reply = httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=upstream)
    async with proxy(lambda _: reply) as client:
        got = await client.post({"input": "hi", "stream": True}, {"x-opper-guard-output": "tags=block"})
        assert client.recorder.exchanges[0].outcome == "blocked"
    error, failed, done = got.events[-3:]
    assert got.status == 200
    assert (error["type"], error["error"]["code"]) == ("error", "guardrail_violation")
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["output"] == []
    assert failed["response"]["id"] == "resp_1"
    assert failed["response"]["guards"][0]["flagged"] is True
    assert failed["sequence_number"] == error["sequence_number"] + 1
    assert done == "[DONE]"
    assert b"TAG-" not in got.body
    assert upstream.closed


async def test_tool_arguments_are_held_to_their_end() -> None:
    arguments = json.dumps({"to": "x", "text": "take \u0054AG-1234"}).replace("TAG", "\\u0054AG")
    place = {"item_id": "fc_1", "output_index": 0}
    item = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "send",
        "arguments": arguments,
    }
    kind = "response.function_call_arguments"
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response()},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": ""}},
        *({"type": f"{kind}.delta", **place, "delta": c} for c in arguments),
        {"type": f"{kind}.done", **place, "arguments": arguments},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response(item)},
    ]
    events = [{**event, "sequence_number": i} for i, event in enumerate(events)]
    async with proxy(streaming(sse(events), 40)) as client:
        got = await client.post({"input": "hi"}, OUT | REDACT)
    expected = {"to": "x", "text": "take [TAG]"}
    assert json.loads(got.text) == expected
    assert len(got.events) == len(events) + 1
    assert json.loads(got.events[-2]["response"]["output"][0]["arguments"]) == expected
    assert got.events[-2]["response"]["guards"][0]["findings"][0]["path"] == "/output/0/arguments#/text"
    assert b"1234" not in got.body


async def test_report_items_come_first_and_others_are_renumbered() -> None:
    async with proxy(streaming(sse(text_events("a TAG-1234 b", 2)))) as client:
        got = await client.post({"input": "hi"}, OUT | REDACT, path="/v3/compat/openresponses")
        assert client.requests[0].url.path == "/v1/responses"
    *events, _ = got.events
    assert [e["sequence_number"] for e in events] == list(range(len(events)))
    final = events[-1]["response"]["output"]
    assert [item["type"] for item in final] == ["opper:guard", "opper:meta", "message"]
    assert (final[0]["findings"][0]["path"], final[0]["content"]) == ("/output/2/content/0/text", [])
    added = {
        e["output_index"]: e["item"]["type"] for e in events if e["type"] == "response.output_item.added"
    }
    assert added == {0: "opper:guard", 1: "opper:meta", 2: "message"}
    assert "guards" not in events[-1]["response"]


@pytest.mark.parametrize("path", ["/v1/responses", "/v3/compat/openresponses"])
async def test_a_redacted_id_comes_back_in_no_place(path: str) -> None:
    async with proxy(whole(message("x"), id="TAG-1234", usage={"input_tokens": 7})) as client:
        got = await client.post({"input": "hi"}, OUT | REDACT, path=path)
        assert client.recorder.exchanges[0].response_id is None
        assert client.recorder.exchanges[0].usage == {"input_tokens": 7}
    assert b"-1234" not in got.body


async def test_own_items_are_stripped_from_the_input_with_and_without_guards() -> None:
    items = [{"type": "opper:guard", "id": "g"}, {"role": "user", "content": "x"}, {"type": "opper:meta"}]
    async with proxy(whole()) as client:
        await client.post({"input": items})
        await client.post({"input": items}, IN)
        assert [json.loads(r.content)["input"] for r in client.requests] == [[items[1]]] * 2


async def test_own_items_with_an_escaped_type_are_stripped_too() -> None:
    body = b'{"input":[{"type":"\\u006fpper:guard"},{"type":"message","role":"user","content":"x"}]}'
    async with proxy(whole()) as client:
        await client.post(body)
        assert len(json.loads(client.requests[0].content)["input"]) == 1


async def test_redacted_keys_that_would_be_one_stay_two() -> None:
    async with proxy(whole()) as client:
        await client.post({"input": "x", "metadata": {"TAG-1234": "a", "TAG-5678": "b"}}, IN | REDACT)
        assert json.loads(client.requests[0].content)["metadata"] == {"[TAG]": "a", "[TAG]_2": "b"}


async def test_a_key_that_is_echoed_is_in_no_path() -> None:
    async with proxy(whole(metadata={"TAG-1234567": "b TAG-5555"})) as client:
        got = await client.post({"input": "x", "metadata": {"TAG-1234567": "a"}}, OUT)
    paths = [finding["path"] for entry in got.json["guards"] for finding in entry["findings"]]
    assert paths == ["/metadata/[TAG]"]


async def test_a_flood_of_findings_hides_no_block() -> None:
    flood = "x" * 10_100
    place = {"item_id": "m2", "output_index": 1, "content_index": 0}
    events = [*text_events(flood, 5000)[:-1], {**text_events("")[1], **place}]
    tagged = {"type": "response.output_text.delta", **place, "delta": "see TAG-1234 ok" + " " * 30}
    async with proxy(streaming(sse([*events, tagged]), 500)) as client:
        headers = {"x-opper-guard-output": "tags=block,pairs=flag"}
        got = await client.post({"input": "hi", "stream": True}, headers)
    assert got.ended
    assert [e["error"]["code"] for e in got.events[:-1] if e["type"] == "error"] == ["guardrail_violation"]


async def test_a_fault_of_ours_ends_a_stream_that_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fault(*_: Any) -> None:
        raise ValueError("my secret")

    monkeypatch.setattr(GuardedStream, "_texts", fault)
    events = [{"type": "response.output_text.delta", "delta": "x"}]
    begun = b": begun\n\n"
    async with proxy(streaming(begun + sse(events), len(begun))) as client:
        got = await client.post({"input": "hi"}, OUT)
        assert client.recorder.exchanges[0].error_code == "internal_error"
    assert [e["type"] for e in got.events[:-1]] == ["error", "response.failed"]
    assert got.events[0]["error"]["code"] == "internal_error"
    assert got.events[-1] == "[DONE]"
    assert b"secret" not in got.body


async def test_echoes_are_not_judged_again() -> None:
    body = {
        "instructions": "never say TAG-1234",
        "input": "hi",
        "tools": [{"type": "function", "name": "f", "description": "TAG-9999"}],
    }
    echo = whole(message("ok"), instructions=body["instructions"], tools=body["tools"])
    async with proxy(echo) as client:
        got = await client.post(body, {"x-opper-guard-output": "tags=block"})
        other = await client.post({**body, "instructions": "x"}, {"x-opper-guard-output": "tags=block"})
    assert got.status == 200
    assert other.json["error"]["param"] == "/instructions"


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ({"output": [{"content": [{"text": "TAG-1234"}]}]}, whole(message("TAG-1234"))),
        ({"output_text": "TAG-1234"}, whole(output_text="TAG-1234")),
        ({"error": {"message": "TAG-1234"}}, whole(status=400, error={"message": "TAG-1234"})),
        ({"output": [{"content": [{"text": "TAG-1234"}]}]}, streaming(sse(text_events("TAG-1234")[-1:]))),
        ({"user": "TAG-1234"}, streaming(sse([{"type": "vendor.note", "user": "TAG-1234"}]))),
    ],
    ids=["output", "output_text", "error", "stream", "event"],
)
@pytest.mark.parametrize("action", ["block", "redact"])
async def test_a_client_makes_no_echo_of_what_it_wants_to_get(asked: Any, answer: Any, action: str) -> None:
    async with proxy(answer) as client:
        got = await client.post({"input": "hi", **asked}, {"x-opper-guard-output": f"tags={action}"})
        assert client.recorder.exchanges[0].verdicts[Stage.OUTPUT].findings
    assert b"TAG-1234" not in got.body


@pytest.mark.parametrize("policy", [IN, OUT], ids=["input", "output"])
async def test_a_redirect_leads_nobody_past_the_guards(policy: dict[str, str]) -> None:
    headers = {"location": "http://upstream.test/v1/elsewhere?TAG-1234"}
    async with proxy(lambda _: httpx.Response(307, headers=headers)) as client:
        got = await client.post({"input": "hi"}, policy)
        plain = await client.post({"input": "hi"})
    assert (got.status, got.json["error"]["code"]) == (502, "upstream_error")
    assert "location" not in got.headers
    assert b"TAG-1234" not in got.body
    assert (plain.status, plain.headers["location"]) == (307, headers["location"])


async def test_a_guarded_answer_is_not_asked_for_in_parts() -> None:
    asked = {"range": "bytes=0-9, 10-19", "if-range": '"x"'}
    async with proxy(whole(message("ok"))) as client:
        await client.post(b"", OUT | asked, path="/v1/responses/resp_1", method="GET")
        await client.post(b"", asked, path="/v1/responses/resp_1", method="GET")
    guarded, plain = client.requests
    assert "range" not in guarded.headers
    assert "if-range" not in guarded.headers
    assert plain.headers["range"] == asked["range"]


UTF7 = "+AFQAQQBHAC0AMQAyADMANA-"  # TAG-1234 for who is told that it is UTF-7


@pytest.mark.parametrize(
    "kind",
    [
        'application/json; charset="utf-7"',
        "application/json; charset=utf-8, application/json; charset=UTF-7",
    ],
)
@pytest.mark.parametrize("policy", [IN, OUT], ids=["input", "output"])
async def test_a_request_in_another_charset_is_refused(policy: dict[str, str], kind: str) -> None:
    async with proxy(whole(message("ok"))) as client:
        got = await client.post({"input": UTF7}, policy | {"content-type": kind})
        assert client.requests == []
        utf8 = await client.post(
            {"input": "hi"}, policy | {"content-type": "application/json; charset=UTF-8"}
        )
    assert (got.status, got.json["error"]["param"]) == (415, "Content-Type")
    assert utf8.status == 200


@pytest.mark.parametrize("action", ["block", "redact"])
async def test_a_stream_in_another_charset_does_not_pass(action: str) -> None:
    kind = {"content-type": "text/event-stream; charset=utf-7"}
    body = sse(text_events(UTF7))
    async with proxy(lambda _: httpx.Response(200, headers=kind, content=body)) as client:
        got = await client.post({"input": "hi"}, {"x-opper-guard-output": f"tags={action}"})
    assert (got.status, got.json["error"]["code"]) == (502, "upstream_error")


@pytest.mark.parametrize("value", [f"{'f' * 130}/TAG-1234", "id=TAG-1234"])
@pytest.mark.parametrize(
    "place",
    [
        lambda value: {"previous_response_id": value},
        lambda value: {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": value}]}]},
    ],
    ids=["previous_response_id", "file_id"],
)
async def test_what_is_no_id_is_a_text_where_an_id_belongs(place: Any, value: str) -> None:
    async with proxy(whole(message("ok"))) as client:
        got = await client.post({"input": "hi", **place(value)}, {"x-opper-guard-input": "tags=block"})
        assert client.requests == []
    assert (got.status, got.json["error"]["code"]) == (400, "guardrail_violation")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"input":', "uninspectable"),
        (b'{"input":"a","input":"b"}', "uninspectable"),
        (b'{"input":NaN}', "uninspectable"),
        (b'{"input":"\xff"}', "uninspectable"),
        (b'{"input":' + b"[" * 600 + b"]" * 600 + b"}", "uninspectable"),
        (b"[]", "uninspectable"),
        (b"", "invalid_request"),
    ],
)
async def test_what_cannot_be_inspected_is_refused(body: bytes, code: str) -> None:
    async with proxy(whole()) as client:
        got = await client.post(body, IN)
        assert client.requests == []
    assert (got.status, got.json["error"]["code"]) == (400, code)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-opper-guard-input": "nosuch"}, "unknown_guard"),
        ({"x-opper-guard-input": "tags=burn"}, "unknown_action"),
        ({"x-opper-guard-action": "burn"}, "unknown_action"),
        ({"x-opper-guard-report": "loud"}, "unknown_report"),
    ],
)
async def test_unknown_words_in_headers_are_refused(headers: dict[str, str], code: str) -> None:
    async with proxy(whole()) as client:
        got = await client.post({"input": "hi"}, headers)
    assert (got.status, got.json["error"]["code"]) == (400, code)


async def test_a_guard_that_raises_fails_closed_and_tells_nothing() -> None:
    async with proxy(whole()) as client:
        got = await client.post({"input": "boom my secret"}, {"x-opper-guard-input": "raises"})
        assert client.requests == []
        assert client.recorder.exchanges[0].outcome == "failed"
        fine = await client.post({"input": "quiet"}, {"x-opper-guard-input": "raises"})
    assert (got.status, got.json["error"]["code"]) == (500, "guardrail_failed")
    assert got.headers["x-should-retry"] == "false"
    assert got.headers["x-guardproxy-verdict"] == "input=failed, output=off"
    assert "secret" not in got.body.decode()
    assert fine.status == 200


async def test_a_guard_that_raises_in_mid_stream() -> None:
    body = sse(text_events("calm. " * 100 + "boom", 5))
    async with proxy(streaming(body, 200)) as client:
        got = await client.post({"input": "hi"}, {"x-opper-guard-output": "raises=redact"})
    assert got.events[-3]["error"]["code"] == "guardrail_failed"
    assert got.events[-2]["type"] == "response.failed"


async def test_shadow_changes_nothing_and_is_seen_by_plugins_only() -> None:
    floor = Policy(
        output={"tags": Rule(Action.BLOCK, shadow=True)}, input={"tags": Rule(Action.BLOCK, shadow=True)}
    )
    body = sse(text_events("TAG-1234", 2))
    async with proxy(streaming(body), floor=floor) as client:
        got = await client.post({"input": "TAG-1234"})
        assert [len(v.shadowed) for v in client.recorder.verdicts] == [1, 1]
        assert [v.outcome for v in client.recorder.verdicts] == [Outcome.CLEAN] * 2
    assert got.body == body
    assert "x-guardproxy-verdict" not in got.headers


async def test_flag_holds_nothing_but_the_terminal_event_tells() -> None:
    body = sse(text_events("a TAG-1234 b", 2))
    async with proxy(streaming(body, 10)) as client:
        got = await client.post({"input": "hi"}, OUT)
    assert got.text == "a TAG-1234 b"
    assert got.events[-2]["response"]["guards"][0]["total"] == 1


async def test_steps_of_a_redacted_exchange_in_order() -> None:
    async with proxy(whole(message("TAG-1234"), model="big")) as client:
        await client.post({"input": "TAG-1234", "model": "m"}, IN | OUT | REDACT)
        assert client.recorder.steps == [
            "+exchange POST /v1/responses",
            "resolve_policy",
            "+stage input",
            "+guard tags",
            "-guard tags",
            "-stage input",
            "verdict input",
            "before_forward",
            "+call m",
            "+attempt POST",
            "+stage output",
            "+guard tags",
            "-guard tags",
            "-stage output",
            "verdict output",
            "-attempt POST",
            "-call m",
            "after_forward",
            "-exchange POST /v1/responses",
        ]


async def test_steps_of_a_blocked_and_of_a_streamed_exchange() -> None:
    async with proxy(streaming(sse(text_events("hi")))) as client:
        await client.post({"input": "TAG-1234"}, {"x-opper-guard-input": "tags=block"})
        assert client.recorder.steps == [
            "+exchange POST /v1/responses",
            "resolve_policy",
            "+stage input",
            "+guard tags",
            "-guard tags",
            "-stage input",
            "verdict input",
            "after_forward",
            "-exchange POST /v1/responses",
        ]
        client.recorder.steps.clear()
        await client.post({"input": "x"}, OUT)
        assert client.recorder.steps == [
            "+exchange POST /v1/responses",
            "resolve_policy",
            "before_forward",
            "+call",
            "+attempt POST",
            "+stage output",
            "+guard tags",
            "-guard tags",
            "-stage output",
            "verdict output",
            "-attempt POST",
            "-call",
            "after_forward",
            "-exchange POST /v1/responses",
        ]


class Replies:
    @hookimpl
    async def guardproxy_before_forward(self, exchange: Any) -> LocalReply:
        return LocalReply(200, response(message("from TAG-1234")))


async def test_a_local_reply_is_inspected_like_an_answer() -> None:
    async with proxy(whole(), plugins=[Replies()]) as client:
        got = await client.post({"input": "hi"}, OUT | REDACT)
        assert client.requests == []
    assert got.json["output"][0]["content"][0]["text"] == "from [TAG]"


class Tightens:
    @hookimpl
    def guardproxy_resolve_policy(self, headers: Any) -> Policy | None:
        return Policy(input={"tags": Rule(Action.REDACT)}) if headers.get("x-tenant") == "strict" else None


async def test_a_plugin_can_only_tighten() -> None:
    async with proxy(whole(), plugins=[Tightens()]) as client:
        await client.post({"input": "TAG-1234"}, {"x-tenant": "strict", "x-opper-guard-input": "tags=flag"})
        assert json.loads(client.requests[0].content)["input"] == "[TAG]"


ESCAPED = json.dumps(response(message("x TAG-1234 y"))).replace("TAG-", "T\\u0041G-").encode()
DELTAS = sse([{"type": "response.output_text.delta", "delta": text} for text in ("say TA", "G-1234 ")])


def with_member(value: bytes) -> bytes:
    return ESCAPED.replace(b'{"id"', b'{"x":' + value + b',"id"', 1)


def typed(body: bytes, *content_types: str, **headers: str) -> Any:
    head = [*(("content-type", kind) for kind in content_types), *headers.items()]
    return lambda _: httpx.Response(200, headers=head, stream=Chunks([body]))


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (ESCAPED.replace(b'{"id"', b'{"id":1,"id"', 1), "application/json"),
        (ESCAPED.replace(b'{"id"', b'{"id":1,"id"', 1), "text/html"),
        (with_member(b"NaN"), "application/json"),
        (with_member(b"[" * 3000 + b"]" * 3000), "application/json"),
        (with_member(b"[" * 600 + b"]" * 600), "application/json"),
        (ESCAPED.decode().encode("utf-16-le"), "application/json; charset=utf-16"),
        (ESCAPED.decode().encode("utf-16-le"), "text/plain"),
        (b"+AFQ-AG-1234", "text/plain; charset=utf-7"),
        (b'{"t":"T\\u0041G-1234"}\n{}\n', "application/x-ndjson"),
        (DELTAS, "text/plain"),
        (DELTAS, ""),
    ],
)
async def test_an_answer_that_cannot_be_inspected(body: bytes, content_type: str) -> None:
    async with proxy(typed(body, *([content_type] if content_type else []))) as client:
        for action in ("redact", "block"):
            got = await client.post({"input": "hi"}, {"x-opper-guard-output": f"tags={action}"})
            assert (got.status, got.json["error"]["code"]) == (502, "upstream_error")
        got = await client.post({"input": "hi"}, OUT)
    assert (got.status, got.body) == (200, body)
    assert "skipped=file:1" in got.headers["x-guardproxy-receipt"]


@pytest.mark.parametrize(
    ("body", "redacted"),
    [
        (b"\xef\xbb\xbf" + ESCAPED, b"\xef\xbb\xbf" + ESCAPED.replace(b"T\\u0041G-1234", b"[TAG]")),
        (b' "T\\u0041G-1234"', b' "[TAG]"'),
        (b"7", b"7"),
    ],
)
async def test_answers_that_are_json_all_the_same(body: bytes, redacted: bytes) -> None:
    async with proxy(typed(body, "application/json")) as client:
        got = await client.post({"input": "hi"}, {**OUT, **REDACT, "x-opper-guard-report": "none"})
    assert got.body == redacted


async def test_a_second_content_type_makes_a_stream_too() -> None:
    async with proxy(
        typed(sse(text_events("TAG-1234", 3)), "application/json", "text/event-stream")
    ) as client:
        got = await client.post({"input": "hi", "stream": True}, OUT | REDACT)
    assert got.text == "[TAG]"


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body(status: int) -> None:
    async with proxy(lambda _: httpx.Response(status)) as client:
        got = await client.post({"input": "hi"}, OUT | REDACT)
    assert (got.status, got.body) == (status, b"")
    assert "content-length" not in got.headers
    assert got.headers["x-guardproxy-verdict"] == "input=off, output=clean"


async def test_headers_of_a_body_go_with_it() -> None:
    digests = {"repr-digest": "sha-256=:x:", "content-range": "bytes 0-1/2", "etag": "e", "x-kept": "1"}
    async with proxy(
        lambda _: httpx.Response(200, json=response(message("TAG-1234")), headers=digests)
    ) as client:
        got = await client.post({"input": "hi"}, OUT | REDACT)
    assert digests.keys() & got.headers.keys() == {"x-kept"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", ["fields", "items"])
async def test_an_output_that_is_no_list_is_kept(form: str, stream: bool) -> None:
    odd = response(message("x"), metadata={"a": "TAG-1234"}) | {"output": {"a": "b"}}
    event = {"type": "response.completed", "response": odd}
    upstream = streaming(sse([event])) if stream else typed(json.dumps(odd).encode(), "application/json")
    async with proxy(upstream) as client:
        got = await client.post({"input": "hi"}, {**OUT, **REDACT, "x-opper-guard-report": form})
    final = got.events[-2]["response"] if stream else got.json
    assert final["output"] == {"a": "b"}
    assert final["guards"][0]["flagged"] is True


@pytest.mark.parametrize(
    "upstream",
    [
        typed(b"brotli", "application/json", **{"content-encoding": "br"}),
        typed(b"no gzip", "text/event-stream", **{"content-encoding": "gzip"}),
        typed(ESCAPED[:-9], "application/json"),
        streaming(sse([{"type": 5}, *text_events("hello")]), 60),
        streaming(b"data: " + b"x" * (17 << 20)),
    ],
)
async def test_shadow_never_changes_traffic(upstream: Any) -> None:
    floor = Policy(output={"tags": Rule(Action.BLOCK, shadow=True)})
    async with proxy(upstream, floor=floor) as client:
        guarded = await client.post({"input": "hi"})
    async with proxy(upstream) as client:
        raw = await client.post({"input": "hi"})
    assert (guarded.status, guarded.body, guarded.ended) == (200, raw.body, True)


async def test_a_fault_of_guards_in_shadow_is_logged_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fault(*_: Any) -> None:
        raise TypeError("my secret")

    monkeypatch.setattr(GuardedStream, "feed", fault)
    monkeypatch.setattr(inputs, "inspect", fault)
    rule = {"tags": Rule(shadow=True)}
    body = sse(text_events("hello"))
    async with proxy(streaming(body), floor=Policy(input=rule, output=rule)) as client:
        got = await client.post({"input": "hi"})
        assert [v.outcome for v in client.recorder.verdicts] == [Outcome.INTERRUPTED] * 2
        assert client.recorder.exchanges[0].error_code is None
    assert (got.body, got.ended) == (body, True)


@pytest.mark.parametrize("beside", [{}, {"x-opper-guard-output": "pairs=redact"}])
async def test_a_fault_of_guards_in_shadow_leaves_a_stream_unjudged(
    monkeypatch: pytest.MonkeyPatch, beside: dict[str, str]
) -> None:
    async def fault(*_: Any) -> None:
        raise TypeError("my secret")

    monkeypatch.setattr(GuardedStream, "_look", fault)
    with capture_logs() as logged:
        async with proxy(
            streaming(sse(text_events("hello"))), floor=Policy(output={"tags": Rule(shadow=True)})
        ) as client:
            got = await client.post({"input": "hi"}, beside)
            assert [v.outcome for v in client.recorder.verdicts] == [Outcome.INTERRUPTED]
            assert client.recorder.exchanges[0].error_code is None
    assert (got.text, got.ended) == ("hello", True)
    assert [line["event"] for line in logged] == ["guards in shadow failed", "exchange"]
    assert "secret" not in repr(logged)


class Slow(Detector):
    """Waits until it is told to go on, then finds everything."""

    name = "slow"
    reach = 4

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.waits = False

    async def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        await self.go_on.wait()
        return [[Match(0, 1, "SLOW")] if text else [] for text in texts]


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("action", ["flag", "redact", "block"])
async def test_a_shadow_beside_an_enforced_guard_holds_up_nothing(stage: Stage, action: str) -> None:
    slow = Slow()
    made = {**guards(), "slow": Guard("slow", (slow,))}
    floor = Policy(**{stage.value: {"slow": Rule(Action.BLOCK, shadow=True)}})
    headers = {f"x-opper-guard-{stage}": f"tags={action}"}
    delivered = asyncio.Event()
    async with proxy(whole(message("TAG-1234")), made=made, floor=floor) as client:
        exchanging = asyncio.create_task(client.post({"input": "TAG-1234"}, headers, delivered=delivered))
        await delivered.wait()
        assert not exchanging.done()
        assert client.recorder.verdicts == []
        slow.go_on.set()
        got = await exchanging
        (verdict,) = client.recorder.verdicts
        steps = client.recorder.steps
        assert steps.index(f"-stage {stage}") < steps.index(f"verdict {stage}") < steps.index("after_forward")
    assert {finding.category for finding in verdict.shadowed} == {"SLOW"}
    assert got.status == (400 if action == "block" else 200)
    assert f"{stage}={verdict.outcome}" in got.headers["x-guardproxy-verdict"]


async def test_credentials() -> None:
    async with proxy(whole(), upstream_api_key="provider") as client:
        await client.post({"input": "hi"}, {"authorization": ""})
        assert client.requests[0].headers["authorization"] == "Bearer provider"
    async with proxy(whole()) as client:
        got = await client.post({"input": "hi"}, {"authorization": ""})
    assert (got.status, got.json["error"]["code"]) == (401, "invalid_api_key")


async def test_compressed_bodies() -> None:
    plain = json.dumps({"input": "TAG-1234"}).encode()
    packed = gzip.compress(plain)
    answer = httpx.Response(
        200,
        headers={"content-encoding": "gzip", "content-type": "application/json"},
        stream=Chunks([gzip.compress(json.dumps(response(message("TAG-1234"))).encode())]),
    )
    async with proxy(lambda _: answer) as client:
        got = await client.post(
            packed, IN | OUT | REDACT | {"content-encoding": "gzip", "accept-encoding": "gzip"}
        )
        bad = await client.post(packed, IN | {"content-encoding": "br"})
        sent = client.requests[0]
    assert json.loads(sent.content) == {"input": "[TAG]"}
    assert "content-encoding" not in sent.headers
    assert sent.headers["accept-encoding"] == "identity"
    assert got.json["output"][0]["content"][0]["text"] == "[TAG]"
    assert "content-encoding" not in got.headers
    assert bad.status == 415


async def test_a_stream_that_breaks_off() -> None:
    body = sse(text_events("hello")[:5], done=False)
    async with proxy(streaming(body, error=httpx.ReadError("gone"))) as client:
        guarded = await client.post({"input": "hi"}, OUT | REDACT)
        raw = await client.post({"input": "hi"})
    assert [e if e == "[DONE]" else e["type"] for e in guarded.events[-3:]] == [
        "error",
        "response.failed",
        "[DONE]",
    ]
    assert guarded.events[-3]["error"]["code"] == "upstream_error"
    assert not raw.ended


async def test_a_client_that_leaves_cancels_the_upstream() -> None:
    left, begun = asyncio.Event(), asyncio.Event()
    cancelled = asyncio.Event()

    class Slow(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            begun.set()
            yield b"data: {}\n\n"
            await asyncio.Event().wait()

        async def aclose(self) -> None:
            cancelled.set()

    reply = httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Slow())
    async with proxy(lambda _: reply) as client:
        running = asyncio.create_task(client.post({"input": "hi"}, OUT, disconnect=left))
        await begun.wait()
        left.set()
        await running
        assert cancelled.is_set()
        assert client.recorder.steps.count("after_forward") == 1
        assert client.recorder.exchanges[0].error_code == "client_disconnected"


@pytest.mark.parametrize(
    ("body", "query", "verdict"),
    [
        (b"{", "", "input=failed, output=pending"),
        (b"{}", "q=TAG-1234", "input=failed, output=pending"),
        (b'{"background": true}', "", "input=failed, output=pending"),
        (b"{}", "", "input=clean, output=clean"),
    ],
)
async def test_what_was_stopped_before_its_guards_is_not_inspected(
    body: bytes, query: str, verdict: str
) -> None:
    async with proxy(whole(message("fine"))) as client:
        got = await client.post(body, IN | OUT | REDACT, query=query)
    assert got.headers["x-guardproxy-verdict"] == verdict


async def test_a_client_that_leaves_while_it_sends_is_no_failure() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async with proxy(whole()) as client:
        scope = {"type": "http", "method": "POST", "path": "/v1/responses", "raw_path": b"/v1/responses"}
        scope |= {"headers": [(b"authorization", b"Bearer x")], "query_string": b"", "root_path": ""}
        with capture_logs() as logged:
            await client.app(scope, receive, send)
        assert client.recorder.exchanges[0].error_code == "client_disconnected"
    assert sent == []
    assert [(line["log_level"], line["code"]) for line in logged] == [("info", "client_disconnected")]


@pytest.mark.parametrize("stage", ["input", "upstream", "raw stream", "guarded stream"])
async def test_an_exchange_that_outlasts_the_drain_says_so(stage: str) -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    class Waits(Detector):
        name = "waits"
        reach = 10

        async def scan(self, texts: Any) -> Any:
            begun.set()
            await never.wait()

    class Slow(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            if stage != "upstream":
                yield sse(text_events("hello")[:4], done=False)
                await asyncio.sleep(0)
            begun.set()
            await never.wait()

    reply = httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Slow())
    headers = {"input": {"x-opper-guard-input": "waits"}, "raw stream": {}}.get(stage, OUT | REDACT)
    made = {**guards(), "waits": Guard("waits", (Waits(),))}
    async with proxy(lambda _: reply, made=made) as client:
        running = asyncio.create_task(client.post({"input": "hi"}, headers))
        await begun.wait()
        with capture_logs() as logged:
            running.cancel()  # as the server does when the drain is over
            got = await running
        (exchange,) = client.recorder.exchanges
        assert (exchange.outcome, exchange.error_code) == ("error", "shutting_down")
        assert client.recorder.steps.count("after_forward") == 1
    (line,) = logged
    assert (line["event"], line["log_level"], line["code"]) == ("exchange", "warning", "shutting_down")
    if stage in ("input", "upstream"):
        assert (got.status, got.json["error"]["code"]) == (503, "shutting_down")
        assert got.headers.get("x-should-retry") == ("false" if stage == "upstream" else None)
    elif stage == "raw stream":
        assert not got.ended
    else:
        assert [e if e == "[DONE]" else e["type"] for e in got.events[-3:]] == [
            "error",
            "response.failed",
            "[DONE]",
        ]
        assert got.events[-3]["error"]["type"] == "server_error"
        assert got.ended


async def test_an_end_that_the_client_does_not_take_is_no_second_failure() -> None:
    full = asyncio.Event()
    async with proxy(streaming(sse(text_events("hello")))) as client:
        app = client.app

        async def unread(scope: Any, receive: Any, send: Any) -> None:
            async def sending(message: Any) -> None:
                if message["type"] == "http.response.body":
                    full.set()
                    await asyncio.Event().wait()
                await send(message)

            await app(scope, receive, sending)

        client.app = unread
        running = asyncio.create_task(client.post({"input": "hi"}, OUT | REDACT))
        with capture_logs() as logged:
            for _ in range(2):  # the drain is over, and so is the time to tell of it
                await full.wait()
                full.clear()
                running.cancel()
            await running
        (exchange,) = client.recorder.exchanges
    assert (exchange.outcome, exchange.error_code) == ("error", "shutting_down")
    assert [(line["event"], line["code"]) for line in logged] == [("exchange", "shutting_down")]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/responses", 405),
        ("POST", "/v1/nothing", 404),
        ("POST", "/v1/responses/", 404),
        ("POST", "//v1/responses", 404),
    ],
)
async def test_other_paths_and_methods(method: str, path: str, status: int) -> None:
    async with proxy(whole()) as client:
        got = await client.post({"input": "hi"}, path=path, method=method)
    assert got.status == status
    assert "error" in got.json


async def test_a_body_over_the_cap() -> None:
    async with proxy(whole(), max_body=100) as client:
        got = await client.post(b"x" * 101)
    assert (got.status, got.json["error"]["code"]) == (413, "body_too_large")


async def test_models_pass_on() -> None:
    async with proxy(lambda _: httpx.Response(200, json={"data": []})) as client:
        got = await client.post(b"", path="/v1/models/org/name", method="GET")
        assert client.requests[0].url == "http://upstream.test/v1/models/org/name"
    assert got.json == {"data": []}


async def test_a_sealed_item_that_would_be_redacted_is_blocked() -> None:
    item = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "TAG-1234"}],
        "encrypted_content": "abc=",
    }
    async with proxy(whole()) as client:
        got = await client.post({"input": [item]}, IN | REDACT)
        assert client.requests == []
    assert (got.status, got.json["error"]["param"]) == (400, "/input/0")
    assert "drop the item" in got.json["error"]["message"]
    assert got.headers["x-guardproxy-verdict"].startswith("input=blocked")


async def test_background_is_refused_while_a_guard_holds() -> None:
    async with proxy(whole()) as client:
        got = await client.post({"input": "hi", "background": True}, OUT | REDACT)
        fine = await client.post({"input": "hi", "background": True}, OUT)
    assert (got.status, got.json["error"]["code"]) == (501, "not_implemented")
    assert fine.status == 200


@pytest.mark.parametrize(
    ("more", "status"),
    [
        (b'"background":true,"x":"\\ud800"', 501),
        (b'"background":1', 501),
        (b'"background":"true"', 501),
        (b'"background":{}', 501),
        (b'"background":false', 200),
        (b'"background":null', 200),
    ],
)
async def test_whatever_may_ask_for_the_background(more: bytes, status: int) -> None:
    async with proxy(whole()) as client:
        got = await client.post(b'{"input":"hi",%b}' % more, OUT | REDACT)
    assert got.status == status


async def test_a_label_that_was_not_inspected_is_told_to_no_plugin() -> None:
    async with proxy(whole()) as client:
        named = {"x-opper-name": "TAG-1234"}
        await client.post({"input": "hi", "model": "TAG-1234", "background": True}, IN | REDACT | named)
        await client.post({"input": "hi"}, IN | named | {"content-encoding": "br"})
        await client.post({"input": "hi", "model": "TAG-1234"}, IN)
        assert [(e.name, e.model) for e in client.recorder.exchanges] == [(None, None)] * 3


@pytest.mark.parametrize(
    ("action", "status", "code"), [("block", 400, "guardrail_violation"), ("redact", 400, "uninspectable")]
)
async def test_values_of_a_query_are_inspected(action: str, status: int, code: str) -> None:
    async with proxy(whole()) as client:
        headers = {"x-opper-guard-input": f"tags={action}"}
        got = await client.post({"input": "hi"}, headers, query="include=x&include=TAG-1234")
        assert client.requests == []
        flagged = await client.post({"input": "hi"}, IN, query="include=x&include=TAG-1234")
    assert (got.status, got.json["error"]["code"], got.json["error"]["param"]) == (status, code, "/?include")
    assert "1234" not in got.body.decode()
    assert flagged.json["guards"][0]["findings"][0]["path"] == "/?include"


@pytest.mark.parametrize("guarded", [False, True])
async def test_connection_does_not_take_the_encoding_of_a_body_away(guarded: bool) -> None:
    packed = gzip.compress(b'{"input":"hi"}')
    headers = {"content-encoding": "gzip", "connection": "content-encoding"} | (IN if guarded else {})
    async with proxy(whole()) as client:
        await client.post(packed, headers)
        assert client.requests[0].content == packed
        assert client.requests[0].headers["content-encoding"] == "gzip"


async def test_own_items_in_a_compressed_body_are_stripped_too() -> None:
    packed = gzip.compress(b'{"input":[{"type":"opper:guard"}]}')
    async with proxy(whole()) as client:
        await client.post(packed, {"content-encoding": "gzip"})
        assert client.requests[0].content == b'{"input":[]}'
        assert "content-encoding" not in client.requests[0].headers
        await client.post(packed[:-5], {"content-encoding": "gzip"})
        assert client.requests[1].content == packed[:-5]


async def test_a_label_is_a_text_like_any_other() -> None:
    async with proxy(whole()) as client:
        await client.post({"input": "hi"}, IN | {"x-opper-name": "job-1"})
        got = await client.post({"input": "hi"}, IN | {"x-opper-name": "TAG-1234"})
        assert [exchange.name for exchange in client.recorder.exchanges] == ["job-1", None]
    assert got.json["guards"][0]["findings"][0]["path"] == "/X-Opper-Name"


SHADOW = Policy(
    output={"tags": Rule(Action.BLOCK, shadow=True)}, input={"tags": Rule(Action.BLOCK, shadow=True)}
)


async def test_shadow_alone_leaves_even_odd_traffic_as_it_is() -> None:
    odd = b'{"input": "TAG-1234", "input": 1}'
    answer = b": note\n\ndata: {}\n\ndata: no json\n\n"
    async with proxy(streaming(answer, 7), floor=SHADOW) as client:
        got = await client.post(odd, {"accept-encoding": "br"}, query="any=thing")
        assert client.requests[0].content == odd
        assert client.requests[0].headers["accept-encoding"] == "br"
        assert {v.stage: v.outcome for v in client.recorder.verdicts}["input"] is Outcome.INTERRUPTED
    assert got.body == answer


async def test_shadow_sees_a_query() -> None:
    async with proxy(whole(message("hi")), floor=Policy(input={"tags": Rule(shadow=True)})) as client:
        assert (
            await client.post(b"", path="/v1/responses/resp_1", method="GET", query="include=TAG-1234")
        ).status == 200
        assert [finding.path for finding in client.recorder.verdicts[0].shadowed] == ["/?include"]


async def test_shadow_sees_a_whole_answer() -> None:
    async with proxy(whole(message("TAG-1234")), floor=SHADOW) as client:
        got = await client.post({"input": "hi"})
        assert {v.stage: len(v.shadowed) for v in client.recorder.verdicts} == {"input": 0, "output": 1}
    assert got.json["output"][0]["content"][0]["text"] == "TAG-1234"


async def test_a_guard_that_fails_in_mid_stream_is_seen_in_the_verdict() -> None:
    body = sse(text_events("calm. " * 100 + "boom", 5))
    async with proxy(streaming(body, 200)) as client:
        await client.post({"input": "hi"}, {"x-opper-guard-output": "raises=redact"})
        assert client.recorder.verdicts[-1].outcome is Outcome.FAILED
        assert client.recorder.exchanges[-1].outcome == "failed"


class Overwhelmed(Detector):
    name = "overwhelmed"
    inline_below = 10_000

    async def scan(self, texts: Any) -> Any:
        raise RuntimeError


async def test_an_error_after_the_upstream_answered_is_not_to_be_retried() -> None:
    made = {"late": Guard("late", (Overwhelmed(),))}
    async with proxy(whole(message("hi")), made=made) as client:
        got = await client.post({"input": "hi"}, {"x-opper-guard-output": "late"})
        assert len(client.requests) == 1
    assert (got.status, got.headers["x-should-retry"]) == (500, "false")


class Rewrites:
    @hookimpl
    def guardproxy_before_forward(self, exchange: Any) -> None:
        exchange.request = b'{"input":"TAG-1234"}'


async def test_a_plugin_cannot_forward_what_no_guard_has_seen() -> None:
    async with proxy(whole(), plugins=[Rewrites()]) as client:
        await client.post({"input": "hi"}, IN | REDACT)
        assert json.loads(client.requests[0].content) == {"input": "hi"}


async def test_a_value_split_over_two_content_parts_does_not_pass() -> None:
    parts = [{"type": "input_text", "text": text} for text in ("my tag: TAG-", "1234, thanks")]
    async with proxy(whole(message("x"))) as client:
        await client.post({"input": [{"role": "user", "content": parts}]}, IN | REDACT)
        sent = json.loads(client.requests[0].content)["input"][0]["content"]
    assert [part["text"] for part in sent] == ["my tag: [TAG]", "[TAG], thanks"]
