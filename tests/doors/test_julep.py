"""Julep's OpenResponses: every endpoint, field and rule that its document names."""

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from guardproxy.settings import ClientKey, StoreSettings, UpstreamSettings
from guardproxy.testing.events import final_response, parse_sse
from guardproxy.types import Policy, Rule, Stage
from tests.harness import message, proxy, response, sse, text_events, whole
from tests.samples import guards

DOOR = "/v1/responses"
TAG = "TAG-1234"
REDACT = {"x-opper-guard-input": "tags", "x-opper-guard-output": "tags", "x-opper-guard-action": "redact"}
GUARDS = pytest.mark.parametrize("headers", [{}, REDACT], ids=["without guards", "with guards"])
TIMES: dict[str, Any] = {"connect_timeout": 1.0, "upstream_timeout": 2.0, "stream_idle_timeout": 3.0}
UPSTREAMS = tuple(
    UpstreamSettings(name=name, url=f"https://{name}.test/v1", default=name == "openai", **TIMES)
    for name in ("openai", "claude", "groq")
)
ASK = {"model": "openai@gpt-4o", "input": [{"role": "user", "content": "Write a poem about AI"}]}
KEEP = {**ASK, "temperature": 0.7, "store": True}


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    store = StoreSettings(url=f"sqlite+aiosqlite:///{tmp_path}/kept.db")
    return {"profile": "julep", "store": store, "upstreams": UPSTREAMS}


def poet(request: httpx.Request) -> httpx.Response:
    asked = json.loads(request.content)
    number = len(asked["input"]) if isinstance(asked["input"], list) else 1
    text = f"{number} lines of {TAG}"
    if asked.get("stream"):
        events = sse(text_events(text))
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=events)
    usage = {"input_tokens": 7, "output_tokens": 143, "total_tokens": 150}
    made = response(message(text), model=asked["model"], usage=usage, created_at=1683923731)
    return httpx.Response(200, json={**made, "id": f"resp_{number}"})


@GUARDS
async def test_the_answer_has_the_form_of_the_document(headers: dict[str, str], given: Any) -> None:
    text = "1 lines of [TAG]" if headers else f"1 lines of {TAG}"
    async with proxy(poet, **given) as client:
        got = await client.post(KEEP, headers)
        said = {name: got.json[name] for name in got.json if name != "guards"}
        assert {name: said[name] for name in ("id", "object", "created_at", "model", "status", "usage")} == {
            "id": "resp_1",
            "object": "response",
            "created_at": 1683923731,
            "model": "openai@gpt-4o",
            "status": "completed",
            "usage": {"input_tokens": 7, "output_tokens": 143, "total_tokens": 150},
        }
        assert said["output"] == said["output_text"] == text
        sent = json.loads(client.requests[0].content)
        assert sent == {**KEEP, "model": "gpt-4o", "store": False}  # it is stored here


async def test_where_a_tool_is_called_the_output_stays_a_list(given: Any) -> None:
    call = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}
    async with proxy(whole(message("I look"), call), **given) as client:
        got = await client.post(ASK)
        assert [item["type"] for item in got.json["output"]] == ["message", "function_call"]
        assert got.json["output_text"] == "I look"


@pytest.mark.parametrize("provider", ["openai", "claude", "groq"])
async def test_the_provider_before_the_model_is_the_upstream(provider: str, given: Any) -> None:
    async with proxy(poet, **given) as client:
        got = await client.post({**ASK, "model": f"{provider}@a/b-1"})
        assert client.requests[0].url.host == f"{provider}.test"
        assert json.loads(client.requests[0].content)["model"] == "a/b-1"
        assert got.json["model"] == f"{provider}@a/b-1"


@pytest.mark.parametrize("upstreams", [UPSTREAMS, ()])
async def test_a_provider_that_is_no_upstream(upstreams: Any, given: Any) -> None:
    async with proxy(poet, **{**given, "upstreams": upstreams}) as client:
        got = await client.post({**ASK, "model": "mistral@large"})
        assert got.status == 404
        assert (got.json["code"], got.json["param"]) == ("model_not_found", "model")
        assert not client.requests
        assert (await client.post({**ASK, "model": "large"})).status == 200  # the default's
        nameless = await client.post({**ASK, "model": "openai@"})
        assert (nameless.status, nameless.json["param"]) == (400, "model")


FUNCTION = {
    "name": "get_weather",
    "description": "Get the current weather in a location",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
    },
}


@GUARDS
async def test_nested_functions_go_on_flat(headers: dict[str, str], given: Any) -> None:
    tools = [{"type": "function", "function": FUNCTION}, {"type": "brave_web_search"}]
    async with proxy(poet, **given) as client:
        await client.post({**ASK, "tools": tools, "tool_choice": "auto"}, headers)
        sent = json.loads(client.requests[0].content)
        assert sent["tools"] == [{"type": "function", **FUNCTION}, {"type": "brave_web_search"}]
        assert sent["tool_choice"] == "auto"
        choice = {"type": "function", "function": {"name": "get_weather"}}
        await client.post({**ASK, "tools": tools, "tool_choice": choice}, headers)
        sent = json.loads(client.requests[1].content)
        assert sent["tool_choice"] == {"type": "function", "name": "get_weather"}


async def test_a_finding_in_a_nested_function_is_told_by_where_it_came(given: Any) -> None:
    function = {**FUNCTION, "description": f"of {TAG}"}
    async with proxy(poet, **given) as client:
        got = await client.post({**ASK, "tools": [{"type": "function", "function": function}]}, REDACT)
        (finding,) = got.json["guards"][0]["findings"]
        assert finding["path"] == "/tools/0/function/description"


async def get(client: Any, path: str, headers: Any = (), method: str = "GET", query: str = "") -> Any:
    return await client.post(b"", headers, path=f"{DOOR}{path}", method=method, query=query)


@GUARDS
async def test_a_stored_response_can_be_read_listed_and_deleted(headers: dict[str, str], given: Any) -> None:
    tag = "[TAG]" if headers else TAG
    asked = [{"role": "user", "content": "one"}, {"role": "user", "content": f"two {TAG}"}]
    async with proxy(poet, **given) as client:
        made = await client.post({**KEEP, "input": asked}, headers)
        assert made.json["id"] == "resp_2"
        read = await get(client, "/resp_2")
        assert (read.status, read.json) == (200, made.json)
        listed = await get(client, "/resp_2/input_items")
        assert listed.json["object"] == "list"
        said = [item["content"] for item in listed.json["data"]]
        assert said == [[{"type": "input_text", "text": text}] for text in (f"two {tag}", "one")]
        assert {item["type"] for item in listed.json["data"]} == {"message"}
        assert [item["role"] for item in listed.json["data"]] == ["user", "user"]
        assert listed.json["has_more"] is False
        gone = await get(client, "/resp_2", method="DELETE")
        assert gone.json == {"id": "resp_2", "object": "response", "deleted": True}
        for path in ("/resp_2", "/resp_2/input_items"):
            missing = await get(client, path)
            assert (missing.status, missing.json["type"]) == (404, "invalid_request_error")
        assert (await get(client, "/resp_2", method="DELETE")).status == 404
        assert len(client.requests) == 1  # all else was answered here


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_stored_here_says_so(stream: bool, given: Any) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        made = response(message("hi"), store=json.loads(request.content)["store"])
        if not stream:
            return httpx.Response(200, json=made)
        events = sse([{"type": "response.completed", "sequence_number": 0, "response": made}])
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=events)

    async with proxy(answer, **given) as client:
        for store in (True, False):
            got = await client.post({**KEEP, "store": store, "input": "x", "stream": stream})
            made: Any = final_response(parse_sse(got.body)) if stream else got.json
            assert made["store"] is store
        assert all(json.loads(request.content)["store"] is False for request in client.requests)


async def test_input_items_come_in_pages(given: Any) -> None:
    asked = [{"role": "user", "content": str(number)} for number in range(25)]
    async with proxy(poet, **given) as client:
        await client.post({**KEEP, "input": asked})

        async def page(query: str) -> tuple[list[str], bool, str]:
            got = (await get(client, "/resp_25/input_items", query=query)).json
            return [item["content"][0]["text"] for item in got["data"]], got["has_more"], got["last_id"]

        newest, more, last = await page("")
        assert (newest, more) == ([str(n) for n in range(24, 4, -1)], True)
        assert (await page(f"after={last}"))[:2] == ([str(n) for n in range(4, -1, -1)], False)
        first, more, last = await page("order=asc&limit=2")
        assert (first, more) == (["0", "1"], True)
        assert (await page(f"order=asc&limit=1&after={last}"))[0] == ["2"]
        for query in ("limit=0", "limit=101", "limit=x", "order=up"):
            got = await get(client, "/resp_25/input_items", query=query)
            assert (got.status, got.json["param"]) == (400, query.partition("=")[0])
        assert (await get(client, "/resp_25/input_items", query="after=nobody")).status == 400


async def test_what_is_not_to_be_stored_is_not(given: Any) -> None:
    async with proxy(poet, **given) as client:
        for store in ({}, {"store": False}, {"store": None}):
            await client.post({**ASK, **store})
            assert (await get(client, "/resp_1")).status == 404
        sent = {json.loads(request.content)["store"] for request in client.requests}
        assert sent == {False}  # by default the provider would keep it


@pytest.mark.parametrize("store", ["true", 1, {}])
async def test_store_is_true_or_false(store: Any, given: Any) -> None:
    async with proxy(poet, **given) as client:
        got = await client.post({**ASK, "store": store})
        assert (got.status, got.json["param"], client.requests) == (400, "store", [])


async def test_what_makes_no_response_says_nothing_of_the_store(given: Any) -> None:
    async with proxy(whole(), **given) as client:
        for tail in ("/input_tokens", "/compact"):
            await client.post(ASK, path=f"{DOOR}{tail}")
            assert "store" not in json.loads(client.requests[-1].content)


async def test_a_sealed_reasoning_is_kept_for_the_next_turn(given: Any) -> None:
    sealed = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2VhbGVk"}
    async with proxy(whole(sealed, message("hello")), **given) as client:
        got = await client.post(KEEP)
        assert got.json["output_text"] == "hello"
        await client.post({**KEEP, "previous_response_id": got.json["id"]})
        assert sealed in json.loads(client.requests[1].content)["input"]


async def test_a_streamed_response_is_stored_too(given: Any) -> None:
    async with proxy(poet, **given) as client:
        got = await client.post({**KEEP, "stream": True}, REDACT)
        assert got.text == "1 lines of [TAG]"
        made = got.events[-2]["response"]
        assert isinstance(made["output"], list)  # in a stream it stays one
        assert made["model"] == "openai@gpt-4o"
        read = await get(client, f"/{made['id']}")
        assert (read.status, read.json["id"]) == (200, made["id"])
        assert TAG not in read.body.decode().replace("[TAG]", "")


async def test_what_is_read_meets_the_guards_of_who_reads_it(given: Any) -> None:
    async with proxy(poet, **given) as client:
        await client.post(KEEP)
        read = await get(
            client, "/resp_1", {"x-opper-guard-output": "tags", "x-opper-guard-action": "redact"}
        )
        assert read.json["output_text"] == "1 lines of [TAG]"
        block = {"x-opper-guard-output": "tags", "x-opper-guard-action": "block"}
        read = await get(client, "/resp_1", block)
        assert (read.status, read.json["code"]) == (400, "guardrail_violation")
        assert TAG not in read.body.decode()


async def test_the_items_of_a_report_are_those_of_who_reads(given: Any) -> None:
    async with proxy(poet, **given) as client:
        told = {**REDACT, "x-opper-guard-report": "items"}
        made = await client.post(KEEP, told)
        assert [item["type"] for item in made.json["output"]] == ["opper:guard"] * 2 + ["message"]
        read = await get(client, "/resp_1", told)
        assert [item["type"] for item in read.json["output"]] == ["opper:guard"] * 2 + ["message"]
        assert read.json["output"][1]["flagged"] is False


async def test_the_shadows_of_who_reads_look_at_what_came(given: Any) -> None:
    floor = Policy(input={"tags": Rule(shadow=True)})
    async with proxy(poet, floor=floor, **given) as client:
        await client.post(KEEP)
        for method, path in (("GET", "/resp_1/input_items"), ("GET", "/resp_1"), ("DELETE", "/resp_1")):
            read = await get(client, path, {"x-opper-name": "reader"}, method, f"x={TAG}")
            assert read.status == 200
            exchange = client.recorder.exchanges[-1]
            (finding,) = exchange.verdicts[Stage.INPUT].shadowed
            assert (finding.path, exchange.name) == ("/?x", "reader")


async def test_who_reads_has_a_name_without_guards_as_well(given: Any) -> None:
    async with proxy(poet, **given) as client:
        await client.post(KEEP)
        await get(client, "/resp_1", {"x-opper-name": "reader"})
        assert client.recorder.exchanges[-1].name == "reader"


async def test_what_is_gone_on_from_is_no_larger_than_a_body_may_be(given: Any) -> None:
    async with proxy(poet, **given, max_body=1000) as client:
        await client.post({**KEEP, "input": [{"role": "user", "content": "x" * 850}]})
        got = await client.post({**KEEP, "previous_response_id": "resp_1"})
        assert (got.status, got.json["code"]) == (413, "body_too_large")
        assert len(client.requests) == 1


async def test_a_response_outlives_the_guards_that_it_was_made_under(given: Any) -> None:
    async with proxy(poet, **given) as client:
        made = await client.post(KEEP, {**REDACT, "x-opper-guard-output": "tags, pairs"})
    left = {name: guard for name, guard in guards().items() if name != "pairs"}
    async with proxy(poet, made=left, **given) as client:
        read = await get(client, "/resp_1")
        assert (read.status, read.json["output"]) == (200, made.json["output"])
        assert read.headers["x-guardproxy-verdict"] == "input=clean, output=clean"
        assert (await get(client, "/resp_1", method="DELETE")).status == 200


async def test_the_guards_of_a_response_run_for_whoever_reads_it_in_whatever_process(given: Any) -> None:
    out = {"x-opper-guard-output": "tags=redact"}
    async with proxy(poet, **given) as client:
        await client.post({**KEEP, "input": f"of {TAG}"}, out)
    async with proxy(poet, **given) as client:  # one that does not remember
        items = await get(client, "/resp_1/input_items")
        assert items.headers["x-guardproxy-verdict"] == "input=off, output=redacted"
        assert items.json["data"][0]["content"][0]["text"] == "of [TAG]"
        read = await get(client, "/resp_1")
        assert read.headers["x-guardproxy-verdict"] == "input=off, output=clean"


@pytest.mark.parametrize("wrong", [{"role": "user", "content": "LOST"}, 5, True])
async def test_what_goes_on_has_an_input_that_can_be_put_behind(wrong: Any, given: Any) -> None:
    async with proxy(poet, **given) as client:
        await client.post({**KEEP, "input": "one"})
        got = await client.post({**KEEP, "input": wrong, "previous_response_id": "resp_1"})
        assert (got.status, got.json["param"]) == (400, "input")
        assert len(client.requests) == 1


async def test_the_guards_of_a_response_follow_its_items(given: Any) -> None:
    out = {"x-opper-guard-output": "tags=redact"}
    async with proxy(poet, **given) as client:
        await client.post({**KEEP, "input": f"in {TAG}"}, out)
        await client.post({**KEEP, "input": "on", "previous_response_id": "resp_1"})
        items = await get(client, "/resp_3/input_items")
        said = [item["content"][0]["text"] for item in items.json["data"]]
        assert said == ["on", "1 lines of [TAG]", "in [TAG]"]


@pytest.mark.parametrize("tail", ["/compact", "/input_tokens"])
async def test_what_is_not_a_response_is_not_stored_upstream_either(tail: str, given: Any) -> None:
    async with proxy(poet, **given) as client:
        await client.post(KEEP, path=f"{DOOR}{tail}")
        assert json.loads(client.requests[0].content)["store"] is False


async def test_a_body_that_a_route_does_not_have_is_not_put_behind_others(given: Any) -> None:
    async with proxy(poet, **given) as client:
        await client.post({**KEEP, "input": "one"})
        body = {"input": "two", "previous_response_id": "resp_1"}
        await client.post(body, {"x-opper-guard-input": "tags"}, path=f"{DOOR}/resp_1/cancel")
        assert json.loads(client.requests[1].content) == body


async def test_a_response_goes_on_from_another(given: Any) -> None:
    async with proxy(poet, **given) as client:
        await client.post({**KEEP, "input": "one"}, REDACT)
        assert json.loads(client.requests[0].content)["input"] == "one"
        got = await client.post({**KEEP, "input": "two", "previous_response_id": "resp_1"})
        sent = json.loads(client.requests[1].content)
        assert "previous_response_id" not in sent
        said = [
            i["content"] if isinstance(i["content"], str) else i["content"][0]["text"] for i in sent["input"]
        ]
        assert said == ["one", "1 lines of [TAG]", "two"]
        assert got.json["id"] == "resp_3"
        assert got.json["previous_response_id"] == "resp_1"
        assert (await get(client, "/resp_3")).json["previous_response_id"] == "resp_1"
        unkept = await client.post({**ASK, "previous_response_id": "resp_1", "stream": True})
        assert {e["response"]["previous_response_id"] for e in unkept.events if "response" in e} == {"resp_1"}
        await client.post({**KEEP, "input": "three", "previous_response_id": "resp_3"})
        third = json.loads(client.requests[3].content)["input"]
        assert third[:3] == sent["input"]
        assert len(third) == 5
        assert "id" not in third[0]  # that it is listed with is ours, and the upstream would not know it
        lost = await client.post({**KEEP, "previous_response_id": "resp_9"})
        assert (lost.status, lost.json["code"]) == (400, "previous_response_not_found")


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_what_is_stored_is_its_clients_own(given: Any) -> None:
    keys = tuple(ClientKey(n, hashlib.sha256(n.encode()).hexdigest()) for n in ("team-a", "team-b"))
    async with proxy(poet, keys=keys, **given) as client:
        await client.post(KEEP, {**REDACT, **bearer("team-a")})
        other = bearer("team-b")
        missing = await get(client, "/resp_nobody", other)
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/input_items")):
            got = await get(client, f"/resp_1{path}", other, method)
            assert (got.status, got.json) == (404, missing.json)
            assert got.headers.keys() == missing.headers.keys()
        going_on = await client.post({**KEEP, "previous_response_id": "resp_1"}, other)
        assert going_on.status == 400
        mine = await get(client, "/resp_1", bearer("team-a"))
        assert (mine.status, mine.headers["x-guardproxy-verdict"]) == (200, "input=clean, output=clean")


async def test_what_was_blocked_is_not_stored(given: Any) -> None:
    block = {"x-opper-guard-output": "tags", "x-opper-guard-action": "block"}
    async with proxy(poet, **given) as client:
        assert (await client.post(KEEP, block)).status == 400
        assert (await get(client, "/resp_1")).status == 404


FLAT = ["type", "message", "param", "code"]


async def test_errors_are_flat(given: Any) -> None:
    def refusing(request: httpx.Request) -> httpx.Response:
        return httpx.Response(429, json={"error": {"message": "slow down", "type": "requests", "code": "x"}})

    async with proxy(refusing, **given) as client:
        wrong = await client.post(b"{", REDACT)
        assert (wrong.status, wrong.json["type"]) == (400, "invalid_request_error")
        upstream = await client.post(ASK)
        assert (upstream.status, upstream.json["type"]) == (429, "rate_limit_exceeded")
        block = {"x-opper-guard-input": "tags", "x-opper-guard-action": "block"}
        blocked = await client.post({**ASK, "input": TAG}, block)
        assert blocked.json["code"] == "guardrail_violation"
        assert blocked.json["guards"][0]["flagged"]
        path = await client.post(b"", path="/v1/responses/a/b", method="GET")
        method = await client.post(b"", path=DOOR, method="PATCH")
        for got in (wrong, upstream, blocked, path, method):
            assert set(FLAT) <= set(got.json), got.body
            assert isinstance(got.json["message"], str)


async def test_who_sends_no_key_is_told(given: Any) -> None:
    async with proxy(poet, **given) as client:
        got = await client.post(ASK, {"authorization": ""})
        assert (got.status, got.json["type"]) == (401, "authentication_error")
        assert set(got.json) == set(FLAT)


async def test_a_fault_of_the_servers(given: Any) -> None:
    async with proxy(poet, **given) as client:
        got = await client.post({**ASK, "input": "boom"}, {"x-opper-guard-input": "raises"})
        assert (got.status, got.json["type"], got.json["code"]) == (500, "server_error", "guardrail_failed")


async def test_the_default_limits(given: Any) -> None:
    async with proxy(poet, **given) as client:
        for number in range(101):
            got = await client.post(ASK, bearer(f"sk-{number}"))
        assert got.status == 429
        assert (got.json["type"], got.json["code"]) == ("rate_limit_exceeded", "rate_limit")
        assert got.json["message"].startswith("Rate limit exceeded")
        assert "Please try again in" in got.json["message"]
        assert int(got.headers["retry-after"]) > 0
        assert got.headers["ratelimit"]
        assert len(client.requests) == 100


async def test_the_default_limit_of_a_key_is_one_of_a_day(given: Any) -> None:
    async with proxy(poet, **given) as client:
        got = await client.post(ASK)
        assert "q=100;w=60" in got.headers["ratelimit-policy"]
        assert "q=1000;w=86400" in got.headers["ratelimit-policy"]


async def test_the_documents_chat_example_is_told_where_to_go(given: Any) -> None:
    async with proxy(poet, **given) as client:
        got = await client.post(ASK, path="/v1/chat/completions")
        assert got.status == 404
        assert f"POST {DOOR}" in got.body.decode()
