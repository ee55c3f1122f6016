"""The gateway's `POST /v1/responses`: every field and rule that its document names."""

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from guardproxy.settings import ClientKey, StoreSettings, UpstreamSettings
from guardproxy.store import Store
from tests.harness import message, proxy, response, sse, text_events, whole

DOOR = "/v1/responses"
ASK = {"model": "m", "input": "hi"}
SENT = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]
KEPT_OUT = {"model": "m", "store": False}  # upstream the default would be true
TAG = "TAG-1234"
REDACT = {"x-opper-guard-input": "tags", "x-opper-guard-output": "tags", "x-opper-guard-action": "redact"}
GUARDS = pytest.mark.parametrize("headers", [{}, REDACT], ids=["without guards", "with guards"])
ANSWER = whole(message("hello"))
INCLUDE = [
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
]


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    store = StoreSettings(url=f"sqlite+aiosqlite:///{tmp_path}/kept.db")
    return {"profile": "gateway", "store": store}


TEXT = {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}}
# The request's fields as the document lists them, with a value that it allows, and what is sent on.
FIELDS: dict[str, tuple[Any, Any]] = {
    "instructions": ("Be brief.", "Be brief."),
    "tools": (
        [{"type": "function", "name": "f", "description": "d", "parameters": {"a": 1.50}}],
        [{"type": "function", "name": "f", "description": "d", "parameters": {"a": 1.50}}],
    ),
    "tool_choice": ({"type": "function", "name": "f"}, {"type": "function", "name": "f"}),
    "parallel_tool_calls": (True, True),
    "reasoning": ({"effort": "high", "summary": "concise"}, {"effort": "high", "summary": "concise"}),
    "text": (
        {"verbosity": "low", "format": {"type": "text"}},
        {"verbosity": "low", "format": {"type": "text"}},
    ),
    "stream": (False, False),
    "include": (INCLUDE, INCLUDE),
    "store": (False, False),
    "prompt_cache_key": ("key", "key"),
    "another": ({"a": 1}, {"a": 1}),
}


@GUARDS
@pytest.mark.parametrize("name", FIELDS)
async def test_fields_that_it_takes_go_on(name: str, headers: dict[str, str], given: Any) -> None:
    came, sent = FIELDS[name]
    async with proxy(ANSWER, **given) as client:
        got = await client.post({**ASK, name: came}, headers)
        assert got.status == 200, got.body
        assert json.loads(client.requests[0].content) == {**KEPT_OUT, "input": SENT, name: sent}


@GUARDS
@pytest.mark.parametrize(
    "name", ["safety_identifier", "prompt_cache_retention", "temperature", "max_output_tokens"]
)
async def test_fields_that_it_does_not_support_are_taken_away(
    name: str, headers: dict[str, str], given: Any
) -> None:
    async with proxy(ANSWER, **given) as client:
        assert (await client.post({**ASK, name: 1}, headers)).status == 200
        assert json.loads(client.requests[0].content) == {**KEPT_OUT, "input": SENT}


@GUARDS
async def test_fields_of_interleaved_reasoning_are_taken_out_of_the_input(
    headers: dict[str, str], given: Any
) -> None:
    said = {
        "role": "assistant",
        "content": [{"type": "text", "text": "hi", "reasoning_details": []}],
        "reasoning_content": "x",
        "reasoning_details": [{"text": "x"}],
        "tool_calls": [{"id": "c"}],
        "function_call": {"name": "f"},
    }
    body = {"model": "m", "input": [said, {"role": "user", "content": "hi"}], "reasoning": {"effort": "low"}}
    async with proxy(ANSWER, **given) as client:
        await client.post(body, headers)
        assert json.loads(client.requests[0].content) == {
            **KEPT_OUT,
            "input": [
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]},
                {"type": "message", "role": "user", "content": "hi"},
            ],
            "reasoning": {"effort": "low"},
        }


@GUARDS
async def test_messages_become_instructions_and_input_items(headers: dict[str, str], given: Any) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "I look", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "found"},
    ]
    async with proxy(ANSWER, **given) as client:
        await client.post({"model": "m", "messages": messages}, headers)
        said = [{"type": "output_text", "text": "I look"}]
        assert json.loads(client.requests[0].content) == {
            **KEPT_OUT,
            "instructions": "Be brief.",
            "input": [
                {"type": "message", "role": "user", "content": "hi"},
                {"type": "message", "role": "assistant", "content": said},
                {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "call_1", "output": "found"},
            ],
        }


async def test_a_finding_in_a_message_is_told_by_where_it_came(given: Any) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"of {TAG}"}]
    async with proxy(ANSWER, **given) as client:
        got = await client.post({"model": "m", "messages": messages}, REDACT)
        (finding,) = got.json["guards"][0]["findings"]
        assert (finding["path"], finding["start"], finding["end"]) == ("/messages/1/content", 3, 11)
        assert json.loads(client.requests[0].content)["input"][0]["content"] == "of [TAG]"
        block = {"x-opper-guard-input": "tags", "x-opper-guard-action": "block"}
        got = await client.post({"model": "m", "messages": messages}, block)
        assert (got.status, got.json["error"]["param"]) == (400, "/messages/1/content")
        assert len(client.requests) == 1


REFUSED: dict[str, tuple[Any, str]] = {
    "instructions that are no string": ({"instructions": ["short"]}, "instructions"),
    "no model": ({"model": None}, "model"),
    "neither input nor messages": ({"input": None}, "input"),
    "both": ({"messages": [{"role": "user", "content": "a"}]}, "messages"),
    "input of another type": ({"input": {"a": 1}}, "input"),
    "messages of another type": ({"input": None, "messages": "a"}, "messages"),
    "a file by its id": ({"input": [{"type": "input_file", "file_id": "f"}]}, "input[0].file_id"),
    "store": ({"store": True}, "store"),
    "truncation": ({"truncation": "auto"}, "truncation"),
    "previous_response_id": ({"previous_response_id": "resp_1"}, "previous_response_id"),
    "with a conversation": (
        {"previous_response_id": "resp_1", "conversation": "conv_1"},
        "previous_response_id",
    ),
    "a conversation that is no string": ({"conversation": {"id": "conv_1"}}, "conversation"),
    "a conversation without a name": ({"conversation": ""}, "conversation"),
    "include": ({"include": ["reasoning.encrypted_content", "other"]}, "include[1]"),
    **{
        f"the tool {kind}": ({"tools": [{"type": kind}]}, "tools[0].type")
        for kind in (
            *("file_search", "code_interpreter", "computer_use", "computer_use_preview", "image_generation"),
            *("mcp", "custom"),
        )
    },
}


@GUARDS
@pytest.mark.parametrize(("wrong", "param"), REFUSED.values(), ids=REFUSED)
async def test_what_breaks_a_rule_of_the_gateway_is_refused(
    wrong: Any, param: str, headers: dict[str, str], given: Any
) -> None:
    async with proxy(ANSWER, **given) as client:
        got = await client.post({**ASK, **wrong}, headers)
        error = got.json["error"]
        assert (got.status, error["type"], error["code"], error["param"]) == (
            400,
            "invalid_request_error",
            "invalid_request_error",
            param,
        )
        assert error["message"]
        assert not client.requests


@GUARDS
async def test_a_tool_with_a_preview_name_goes_on_with_its_own(headers: dict[str, str], given: Any) -> None:
    async with proxy(ANSWER, **given) as client:
        for kind in ("web_search", "web_search_preview"):
            assert (await client.post({**ASK, "tools": [{"type": kind}]}, headers)).status == 200
        sent = [json.loads(request.content)["tools"] for request in client.requests]
        assert sent == [[{"type": "web_search"}]] * 2


async def test_functions_in_the_form_of_chat_completions_go_on_flat(given: Any) -> None:
    function = {"name": "f", "description": "d", "parameters": {}}
    async with proxy(ANSWER, **given) as client:
        await client.post({**ASK, "tools": [{"type": "function", "function": function}]})
        assert json.loads(client.requests[0].content)["tools"] == [{"type": "function", **function}]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def key(name: str, *models: str) -> ClientKey:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return ClientKey(name, digest, allowed_models=models or None)


async def test_a_model_that_the_key_may_not_use(given: Any) -> None:
    async with proxy(ANSWER, keys=(key("team-a", "m"),), **given) as client:
        got = await client.post({**ASK, "model": "gpt-5.2"}, bearer("team-a"))
        assert (got.status, got.json) == (
            403,
            {
                "error": {
                    "message": "This API key does not have access to model 'gpt-5.2'",
                    "type": "invalid_request_error",
                    "code": "model_not_allowed",
                    "param": "model",
                }
            },
        )
        assert not client.requests
        assert (await client.post(ASK, bearer("team-a"))).status == 200
        got = await client.post({**ASK, "model": "gpt 5"}, bearer("team-a"))  # no name: it is not repeated
        assert "gpt" not in got.json["error"]["message"]
        got = await client.post(b"", bearer("team-a"), path="/v1/models/gpt-5.2", method="GET")
        assert got.json["error"]["message"] == "This API key does not have access to model 'gpt-5.2'"


async def test_without_a_known_key(given: Any) -> None:
    async with proxy(ANSWER, keys=(key("team-a"),), **given) as client:
        got = await client.post(ASK, bearer("other"))
        assert (got.status, got.json["error"]["type"]) == (401, "authentication_error")


async def test_an_upstream_without_a_key_is_no_account(given: Any) -> None:
    times: dict[str, Any] = {"connect_timeout": 1.0, "upstream_timeout": 2.0, "stream_idle_timeout": 3.0}
    empty = UpstreamSettings(name="empty", url="https://empty.test/v1", api_key="", default=True, **times)
    async with proxy(ANSWER, upstreams=(empty,), **given) as client:
        got = await client.post(ASK)
        assert (got.status, got.json["error"]["code"], client.requests) == (503, "no_accounts", [])


@GUARDS
async def test_an_upstream_that_fails_is_a_502(headers: dict[str, str], given: Any) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500, json={"error": {"message": "oh", "type": "x", "code": "y"}})

    def streamed(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500, headers={"content-type": "text/event-stream"}, content=b"data: no\n\n")

    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody there")

    for upstream in (broken, streamed, gone):
        async with proxy(upstream, **given) as client:
            got = await client.post(ASK, headers)
            assert (got.status, got.json["error"]["code"]) == (502, "upstream_error")
            assert set(got.json["error"]) >= {"message", "type", "code", "param"}


async def test_what_is_not_implemented_is_a_501(given: Any) -> None:
    async with proxy(ANSWER, **given) as client:
        got = await client.post({**ASK, "background": True}, REDACT)
        assert (got.status, got.json["error"]["code"]) == (501, "not_implemented")


async def test_the_upstreams_other_errors_come_in_the_envelope(given: Any) -> None:
    def refused(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"message": f"no {TAG}"})

    async with proxy(refused, **given) as client:
        got = await client.post(ASK, REDACT)
        assert (got.status, got.json) == (
            404,
            {
                "error": {
                    "message": "no [TAG]",
                    "type": "invalid_request_error",
                    "code": None,
                    "param": None,
                }
            },
        )


@GUARDS
async def test_a_stream_that_breaks_says_so_in_its_events(headers: dict[str, str], given: Any) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        events = sse(text_events("hello"))
        cut = events[: events.rindex(b"event: response.completed")]
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=cut)

    async with proxy(broken, **given) as client:
        got = await client.post({**ASK, "stream": True}, headers)
        kinds = [event["type"] for event in got.events if event != "[DONE]"]
        assert kinds[-2:] == ["error", "response.failed"]
        failed = got.events[-2]["response"]
        assert (failed["status"], failed["error"]["code"]) == ("failed", "upstream_error")


def files(folder: Path) -> bytes:
    """All that is in the files of a folder."""
    return b"".join(file.read_bytes() for file in folder.iterdir())


def echo(request: httpx.Request) -> httpx.Response:
    """A model that counts how much it was told."""
    asked = json.loads(request.content)
    text = f"{len(asked['input'])} items and {TAG}"
    if asked.get("stream"):
        events = sse(text_events(text))
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=events)
    return httpx.Response(200, json=response(message(text)))


def said(request: httpx.Request) -> list[Any]:
    """What a request said, without what is about items."""
    out = []
    for item in json.loads(request.content)["input"]:
        content = item.get("content", item.get("output"))
        out.append((item.get("role"), content if isinstance(content, str) else content[0]["text"]))
    return out


@GUARDS
async def test_an_event_without_a_type_is_no_response(headers: dict[str, str], given: Any) -> None:
    content = b'data: {"error": {"message": "no"}}\n\n'
    upstream = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=content)
    async with proxy(lambda _: upstream, **given) as client:
        got = await client.post({**ASK, "stream": True}, headers)
        assert got.events[0] == {"error": {"message": "no"}, "sequence_number": 0}


@GUARDS
@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_goes_on(stream: bool, headers: dict[str, str], given: Any) -> None:
    tag = "[TAG]" if headers else TAG
    async with proxy(echo, **given) as client:
        for text in ("one", f"two {TAG}", "three"):
            body = {"model": "m", "input": text, "conversation": "conv_1", "stream": stream}
            got = await client.post(body, headers)
            assert got.status == 200
        assert "conversation" not in json.loads(client.requests[0].content)
        assert said(client.requests[2]) == [
            ("user", "one"),
            ("assistant", f"1 items and {tag}"),
            ("user", f"two {tag}"),
            ("assistant", f"3 items and {tag}"),
            ("user", "three"),
        ]


@pytest.mark.parametrize("headers", [{}, REDACT], ids=["without guards", "with guards"])
async def test_the_instructions_of_a_conversation_hold_until_there_are_others(
    headers: dict[str, str], given: Any
) -> None:
    tag = "[TAG]" if headers else TAG
    user = {"role": "user", "content": "hi"}
    asked: list[dict[str, Any]] = [
        {"messages": [user]},
        {"messages": [{"role": "system", "content": f"as {TAG}"}, user]},
        {"messages": [user]},
        {"input": "hi", "instructions": None},
        {"input": "hi", "instructions": "short"},
        {"messages": [user]},
        {"input": "hi", "instructions": ""},
        {"messages": [user]},
    ]
    async with proxy(echo, **given) as client:
        for body in asked:
            got = await client.post({"model": "m", "conversation": "c", **body}, headers)
            assert got.status == 200
        found = [json.loads(request.content).get("instructions") for request in client.requests]
        assert found == [None, f"as {tag}", f"as {tag}", f"as {tag}", "short", "short", "", ""]
        assert [len(said(request)) for request in client.requests] == list(range(1, 17, 2))


async def test_instructions_outlive_the_turn_that_brought_them(
    given: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_800_000_000.0]
    monkeypatch.setattr(Store.__init__, "__defaults__", (lambda: now[0],))
    given["store"] = msgspec.structs.replace(given["store"], retention=2.0)
    async with proxy(echo, **given) as client:
        for at in range(6):
            body = {"model": "m", "conversation": "c", "input": "hi"}
            await client.post({**body, "instructions": "short"} if not at else body)
            now[0] += 0.8
        assert {json.loads(request.content)["instructions"] for request in client.requests} == {"short"}
        assert len(said(client.requests[-1])) == 5  # the first turns are gone


async def test_instructions_may_be_any_text(given: Any) -> None:
    async with proxy(echo, **given) as client:
        body = b'{"model":"m","conversation":"c","input":"hi","instructions":"\\ud800 \\u0000 \xc3\xbc %s"}'
        assert (await client.post(body)).status == 200
        assert (await client.post({"model": "m", "conversation": "c", "input": "hi"})).status == 200
        first, second = (json.loads(request.content)["instructions"] for request in client.requests)
        assert first == second == "\ud800 \0 ü %s"


async def test_what_is_said_no_more_takes_no_room(given: Any) -> None:
    async with proxy(echo, max_body=4_000, **given) as client:
        for at in range(8):
            body = {"model": "m", "conversation": "c", "input": "hi", "instructions": f"{at} " * 200}
            assert (await client.post(body)).status == 200


async def test_the_instructions_of_before_are_inspected_again(given: Any) -> None:
    async with proxy(echo, **given) as client:
        body = {"model": "m", "conversation": "c", "input": "hi"}
        await client.post({**body, "instructions": f"as {TAG}"})
        got = await client.post(body, {"x-opper-guard-input": "tags", "x-opper-guard-action": "block"})
        assert got.status == 400
        (entry,) = got.json["error"]["guards"]
        assert "/conversation/instructions" in [finding["path"] for finding in entry["findings"]]


async def test_a_conversation_is_kept_in_its_guarded_form(given: Any, tmp_path: Path) -> None:
    async with proxy(echo, **given) as client:
        body = {"model": "m", "input": f"of {TAG}", "conversation": f"about-{TAG}"}
        await client.post(body, REDACT)
    async with proxy(echo, **given) as client:  # another process, without guards
        await client.post({**body, "input": "and"})
        assert said(client.requests[0]) == [
            ("user", "of [TAG]"),
            ("assistant", "1 items and [TAG]"),
            ("user", "and"),
        ]
    kept = files(tmp_path)
    for asked in (f"of {TAG}", f"about-{TAG}"):
        assert asked.encode() not in kept


async def test_what_was_said_before_is_inspected_again(given: Any) -> None:
    body = {"model": "m", "input": f"of {TAG}", "conversation": "conv_1"}
    async with proxy(echo, **given) as client:
        await client.post(body)
        got = await client.post({**body, "input": f"and {TAG}"}, REDACT)
        assert said(client.requests[1]) == [
            ("user", "of [TAG]"),
            ("assistant", "1 items and [TAG]"),
            ("user", "and [TAG]"),
        ]
        paths = [finding["path"] for finding in got.json["guards"][0]["findings"]]
        assert paths == ["/conversation/0/content/0/text", "/conversation/1/content/0/text", "/input"]


async def test_a_conversation_that_is_too_long_says_so(given: Any) -> None:
    body = {"model": "m", "input": "x" * 700, "conversation": "conv_1"}
    async with proxy(echo, max_body=1000, **given) as client:
        assert (await client.post(body)).status == 200
        got = await client.post(body)
        assert (got.status, got.json["error"]["code"]) == (413, "body_too_large")
        assert got.json["error"]["param"] == "conversation"
        assert (await client.post({**body, "conversation": "conv_2"})).status == 200


async def test_what_was_blocked_or_failed_is_no_turn(given: Any) -> None:
    block = {"x-opper-guard-output": "tags", "x-opper-guard-action": "block"}
    body = {"model": "m", "input": "one", "conversation": "conv_1"}
    async with proxy(echo, **given) as client:
        assert (await client.post(body, block)).status == 400
        assert (await client.post({**body, "stream": True}, block)).status in (200, 400)
        await client.post({**body, "input": "two"})
        assert said(client.requests[-1]) == [("user", "two")]


@pytest.mark.parametrize("headers", [{}, {"x-opper-guard-output": "tags"}])
@pytest.mark.parametrize(
    "answer",
    [b"no JSON", b"", b"\xff\xfe", b"[1]", b'{"status": "completed", "a": 1, "a": 2}'],
    ids=["text", "empty", "no UTF-8", "a list", "a key twice"],
)
async def test_an_answer_that_is_no_response_is_no_turn_and_arrives(
    answer: bytes, headers: dict[str, str], given: Any
) -> None:
    body = {"model": "m", "input": "one", "conversation": "conv_1"}
    upstream = httpx.Response(200, headers={"content-type": "application/json"}, content=answer)
    async with proxy(lambda _: upstream, **given) as client:
        got = await client.post(body, headers)
        assert (got.status, got.body) == (200, answer)
        await client.post(body, headers)
        assert said(client.requests[-1]) == [("user", "one")]


async def test_an_answer_with_a_byte_order_mark_is_a_turn(given: Any) -> None:
    content = b"\xef\xbb\xbf" + json.dumps(response(message("hello"))).encode()
    upstream = httpx.Response(200, headers={"content-type": "application/json"}, content=content)
    body = {"model": "m", "input": "one", "conversation": "conv_1"}
    async with proxy(lambda _: upstream, **given) as client:
        assert (await client.post(body)).status == 200
        await client.post(body)
        assert said(client.requests[-1]) == [("user", "one"), ("assistant", "hello"), ("user", "one")]


async def test_a_conversation_is_its_clients_own(given: Any) -> None:
    body = {"model": "m", "input": "one", "conversation": "conv_1"}
    async with proxy(echo, keys=(key("team-a"), key("team-b")), **given) as client:
        await client.post(body, bearer("team-a"))
        await client.post(body, bearer("team-b"))
        assert said(client.requests[-1]) == [("user", "one")]
        await client.post(body, bearer("team-a"))
        assert len(said(client.requests[-1])) == 3
    async with proxy(echo, **given) as client:  # by the provider's own keys
        await client.post({**body, "conversation": "conv_2"}, bearer("sk-1"))
        await client.post({**body, "conversation": "conv_2"}, bearer("sk-2"))
        assert said(client.requests[-1]) == [("user", "one")]


@GUARDS
async def test_events_that_the_document_names_pass_guarded(headers: dict[str, str], given: Any) -> None:
    of = {"item_id": "i", "output_index": 0}
    made: list[Any] = [
        {"type": "response.created", "response": response(status="in_progress")},
        {"type": "response.in_progress", "response": response(status="in_progress")},
        {"type": "response.output_text.delta", "content_index": 0, "delta": f"a {TAG} ", **of},
        {"type": "response.refusal.delta", "content_index": 1, "delta": f"b {TAG} ", **of},
        {"type": "response.function_call.delta", "call_id": "c", "name": "f", "arguments": f"d {TAG} ", **of},
        {"type": "response.incomplete", "response": response(status="incomplete")},
    ]

    def upstream(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=sse(made))

    async with proxy(upstream, **given) as client:
        got = await client.post({**ASK, "stream": True}, headers)
        events = [event for event in got.events if event != "[DONE]"]
        assert [event["type"] for event in events] == [event["type"] for event in made]
        tag = "[TAG]" if headers else TAG
        assert [events[2]["delta"], events[3]["delta"]] == [f"a {tag} ", f"b {tag} "]
        assert events[4]["arguments"] == f"d {tag} "
        assert (events[4]["call_id"], events[4]["name"]) == ("c", "f")


async def test_usage_is_there_where_the_upstream_has_none(given: Any) -> None:
    def thin(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"id": "resp_1", "output": []})

    async with proxy(thin, **given) as client:
        got = await client.post(ASK)
        assert got.json == {
            "id": "resp_1",
            "output": [],
            "object": "response",
            "status": "completed",
            "usage": None,
        }
