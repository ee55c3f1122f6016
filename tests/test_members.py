"""Each dialect's responses through the proxy: whole and streamed, with guards and without."""

import gzip
import json
import re
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
import pytest_asyncio

from guardproxy import Action, Guard, Policy, Rule, settings
from guardproxy.document import LARGE
from guardproxy.prices import Price
from guardproxy.profiles import DOORS, GATEWAY, JULEP, OPENROUTER
from guardproxy.profiles import OPPER as OF_OPPER
from tests.harness import (
    Answered,
    Client,
    Upstreaming,
    in_one_task,
    message,
    proxy,
    response,
    sse,
    streaming,
    text_events,
)
from tests.samples import Tags
from tests.test_completion import ASK, REQUIRED, THIN

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Doors that are named after their profiles.
MORE = {f"/{profile.name}": profile for profile in (OF_OPPER, OPENROUTER, GATEWAY, JULEP)}
OPPER = "/opper"
IN, OUT = {"x-opper-guard-input": "tags=redact"}, {"x-opper-guard-output": "tags=redact"}
QUIET = {"x-opper-guard-report": "none"}
TAGS = Guard("tags", (Tags(),))


class Scripted:
    """An upstream that answers what it is told."""

    answer: Upstreaming

    def __call__(self, request: httpx.Request) -> httpx.Response:
        return self.answer(request)

    def says(self, made: Any) -> None:
        self.answer = lambda _: httpx.Response(200, json=made)

    def streams(self, events: list[dict[str, Any]], size: int = 0) -> None:
        self.answer = streaming(sse(events), size)


@pytest.fixture(scope="module")
def upstream() -> Scripted:
    return Scripted()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(upstream: Scripted) -> AsyncIterator[Client]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(settings, "DOORS", {**DOORS, **MORE})
        prices = {"gpt-4.1": Price(Decimal(2), Decimal(8), Decimal("0.5"))}
        async with in_one_task(proxy(upstream, made={"tags": TAGS}, prices=prices)) as client:
            yield client


def thin_events(text: str = "say TAG-5678", size: int = 3) -> list[dict[str, Any]]:
    """A stream whose responses have nothing but an id."""
    _, *between, _ = text_events(text, size)
    of = {"response": {"id": "resp_9"}}
    events = [{"type": "response.created", **of}, {"type": "response.in_progress", **of}, *between]
    events.append({"type": "response.completed", **of})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def responses(got: Answered) -> list[dict[str, Any]]:
    return [event["response"] for event in got.events if "response" in event]


@pytest.mark.parametrize("headers", [{}, IN, OUT, {**IN, **OUT}])
@pytest.mark.parametrize("name", REQUIRED)
async def test_whole_answers_are_completed(
    client: Client, upstream: Scripted, name: str, headers: Any
) -> None:
    upstream.says(THIN)
    body = {**ASK, "instructions": "use TAG-1234"}
    got = await client.post(body, {**headers, "accept-encoding": "gzip", "range": "bytes=0-9"}, f"/{name}")
    sent = client.requests[-1]
    assert sent.headers["accept-encoding"] == "identity"
    assert "range" not in sent.headers
    assert set(REQUIRED[name].split()) <= got.json.keys()
    assert int(got.headers["content-length"]) == len(got.body)
    text = "say [TAG]" if "x-opper-guard-output" in headers else "say TAG-5678"
    assert ("TAG-5678" in got.body.decode()) == ("x-opper-guard-output" not in headers)
    if "output_text" in got.json:
        assert got.json["output_text"] == text
    assert (got.json["output"] == text) == (name == "julep")
    if name == "openrouter":
        redacted = "x-opper-guard-input" in headers
        assert got.json["instructions"] == ("use [TAG]" if redacted else "use TAG-1234")


@pytest.mark.parametrize("headers", [{}, OUT])
@pytest.mark.parametrize("name", REQUIRED)
async def test_responses_of_streams_are_completed(
    client: Client, upstream: Scripted, name: str, headers: Any
) -> None:
    upstream.streams(thin_events())
    got = await client.post({**ASK, "stream": True}, headers, f"/{name}")
    first, second, last = responses(got)
    assert set(REQUIRED[name].split()) <= last.keys()
    assert set(REQUIRED[name].split()) - {"output_text"} <= first.keys()
    assert (first["output"], second["output"]) == ([], [])
    for member in ("id", "created_at", "model", "object", "tool_choice"):
        assert first.get(member) == second.get(member) == last.get(member)
    if "completed_at" in first:
        assert (first["completed_at"], second["completed_at"]) == (None, None)
        assert last["completed_at"] >= last["created_at"]
    if "output_text" in last:
        assert last["output_text"] == got.text
    (said,) = (item for item in last["output"] if item["type"] == "message")
    assert said["content"][0]["text"] == got.text == ("say [TAG]" if headers else "say TAG-5678")
    numbers = [event["sequence_number"] for event in got.events[:-1]]
    assert numbers == list(range(len(numbers)))


async def test_what_needs_no_change_leaves_as_it_came(client: Client, upstream: Scripted) -> None:
    full = {**response(message("hello")), "completed_at": 1, "created_at": 1, "error": None}
    full |= {"incomplete_details": None, "tool_choice": "auto"}
    events = text_events("hello", 2)
    events[0]["response"] = {**full, "output": [], "status": "in_progress"}
    events[-1]["response"] = full
    upstream.streams(events, 7)
    got = await client.post({**ASK, "stream": True}, QUIET, OPPER)
    assert got.body == sse(events)
    upstream.says(full)
    got = await client.post(ASK, QUIET, OPPER)
    assert got.body == httpx.Response(200, json=full).content


JSON = {"content-type": "application/json"}
AS_THEY_CAME = {
    "an error": (429, JSON, b'{"error": {"message": "slow down"}}'),
    "a page": (200, {"content-type": "text/html"}, b"<p>hi</p>"),
    "no JSON": (200, JSON, b"{nope"),
    "not UTF-8": (200, JSON, b'{"a":"\xff"}'),
    "a key twice": (200, JSON, b'{"a":1,"a":2}'),
    "a list": (200, JSON, b"[1]"),
    "another charset": (200, {"content-type": "application/json; charset=utf-16"}, b"{ }"),
    "another encoding": (200, {**JSON, "content-encoding": "x-odd"}, b"??"),
    "nothing": (204, {}, b""),
}


@pytest.mark.parametrize("case", AS_THEY_CAME)
async def test_answers_that_are_no_responses_pass_as_they_came(
    client: Client, upstream: Scripted, case: str
) -> None:
    status, headers, content = AS_THEY_CAME[case]
    upstream.answer = lambda _: httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))
    got = await client.post(ASK, path=OPPER)
    assert (got.status, got.body) == (status, content)
    assert headers.items() <= got.headers.items()


async def test_a_byte_order_mark_and_a_content_encoding_are_no_hindrance(
    client: Client, upstream: Scripted
) -> None:
    body = gzip.compress("\ufeff{ }".encode())
    upstream.answer = lambda _: httpx.Response(
        200, headers={**JSON, "content-encoding": "gzip"}, content=body
    )
    got = await client.post(ASK, path=OPPER)
    assert got.body.startswith("\ufeff{".encode())
    assert "content-encoding" not in got.headers
    assert json.loads(got.body.decode("utf-8-sig"))["model"] == "m-1"


@pytest.mark.parametrize("route", [("GET", "/resp_1"), ("POST", "/resp_1/cancel"), ("POST", "/compact")])
async def test_only_responses_that_are_made_now_are_completed(
    client: Client, upstream: Scripted, route: tuple[str, str]
) -> None:
    method, tail = route
    upstream.says(made := {"id": "resp_1", "usage": {"input_tokens": 1, "output_tokens": 1}})
    got = await client.post(b"" if "resp" in tail else ASK, path=OPPER + tail, method=method)
    assert got.body == httpx.Response(200, json=made).content


async def test_the_main_door_completes_nothing(client: Client, upstream: Scripted) -> None:
    upstream.says(THIN)
    got = await client.post(ASK, {"accept-encoding": "gzip"})
    assert client.requests[-1].headers["accept-encoding"] == "gzip"
    assert got.body == httpx.Response(200, json=THIN).content


async def test_what_is_only_flagged_is_repeated_and_what_is_redacted_is_not(
    client: Client, upstream: Scripted
) -> None:
    upstream.says(THIN)
    choice = {"type": "function", "name": "TAG-1234"}
    for action in ("flag", "redact"):
        asked = {"x-opper-guard-input": f"tags={action}"}
        got = await client.post({**ASK, "tool_choice": choice}, asked, OPPER)
        assert got.json["tool_choice"]["name"] == ("TAG-1234" if action == "flag" else "[TAG]")
        assert (b"TAG-1234" in got.body) == (action == "flag")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_large_request_is_repeated_as_well(client: Client, upstream: Scripted, stream: bool) -> None:
    body = {**ASK, "instructions": "x" * LARGE, "stream": stream}
    upstream.streams(thin_events()) if stream else upstream.says(THIN)
    got = await client.post(body, path="/openrouter")
    last = responses(got)[-1] if stream else got.json
    assert last["instructions"] == body["instructions"]


async def test_a_compressed_request_is_repeated_as_well(client: Client, upstream: Scripted) -> None:
    upstream.says(THIN)
    body = gzip.compress(json.dumps({**ASK, "tool_choice": "none"}).encode())
    got = await client.post(body, {"content-encoding": "gzip"}, OPPER)
    assert client.requests[-1].content == body
    assert got.json["tool_choice"] == "none"
    got = await client.post(b"no gzip", {"content-encoding": "gzip"}, OPPER)
    assert (got.status, got.json["tool_choice"]) == (200, "auto")


async def test_an_end_that_the_upstream_left_out_is_complete(client: Client, upstream: Scripted) -> None:
    upstream.streams(thin_events()[1:-1])
    got = await client.post({**ASK, "stream": True}, path=OPPER)
    last = responses(got)[-1]
    assert set(REQUIRED["opper"].split()) <= last.keys()
    assert (last["status"], last["completed_at"] is not None) == ("completed", True)
    assert kinds(last["output"]) == ["opper:meta", "message"]


@pytest.mark.parametrize("begun", [0, 2])
async def test_an_end_that_a_guard_made_is_complete(client: Client, upstream: Scripted, begun: int) -> None:
    upstream.streams(thin_events()[begun:], 40)
    got = await client.post({**ASK, "stream": True}, {"x-opper-guard-output": "tags=block"}, OPPER)
    ends = [event if event == "[DONE]" else event["type"] for event in got.events]
    assert ends[-3:] == ["error", "response.failed", "[DONE]"]
    last = responses(got)[-1]
    assert set(REQUIRED["opper"].split()) <= last.keys()
    assert (last["status"], last["completed_at"], last["model"]) == ("failed", None, "m-1")
    assert last["error"]["code"] == "guardrail_violation"
    assert b"TAG-5678" not in got.body


async def test_a_terminal_event_without_its_response_is_complete(client: Client, upstream: Scripted) -> None:
    *events, last = thin_events()
    del last["response"]
    upstream.streams([*events, last])
    got = await client.post({**ASK, "stream": True}, path=OPPER)
    made = responses(got)[-1]
    assert set(REQUIRED["opper"].split()) <= made.keys()
    assert made["completed_at"] is not None


@pytest.mark.parametrize("stream", [False, True])
async def test_guards_in_shadow_change_nothing_of_what_is_completed(
    client: Client, upstream: Scripted, stream: bool
) -> None:
    upstream.streams(thin_events()) if stream else upstream.says(THIN)
    body = {**ASK, "instructions": "use TAG-1234", "stream": stream}
    expected = await client.post(body, path=OPPER)
    floor = Policy(*[{"tags": Rule(Action.BLOCK, shadow=True)}] * 2)
    async with proxy(upstream, made={"tags": TAGS}, floor=floor) as shadowed:
        got = await shadowed.post(body, path="/v3/compat/openresponses")
        (exchange,) = shadowed.recorder.exchanges
    assert exchange.verdicts["output"].shadowed
    assert _timeless(got) == _timeless(expected)
    assert "x-guardproxy-verdict" not in got.headers


def _timeless(got: Answered) -> bytes:
    return re.sub(rb'(?<=_(?:at|ms)":)\d+', b"0", got.body)


async def test_the_model_is_as_the_client_spelled_it_where_several_upstreams_are(upstream: Scripted) -> None:
    upstream.says({**THIN, "model": "gpt-4o-2024-08-06"})
    of = settings.UpstreamSettings(
        name="openai",
        url="http://upstream.test/v1",
        connect_timeout=1.0,
        upstream_timeout=1.0,
        stream_idle_timeout=1.0,
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(settings, "DOORS", {**DOORS, **MORE})
        async with proxy(upstream, made={}, upstreams=(of,)) as several:
            got = await several.post({**ASK, "model": "openai@gpt-4o"}, path="/julep")
            assert json.loads(several.requests[0].content)["model"] == "gpt-4o"
    assert got.json["model"] == "openai@gpt-4o"


@pytest.mark.parametrize("path", ["/v1/responses", OPPER])
async def test_an_output_that_the_last_event_leaves_out_is_that_of_the_items_that_came(
    client: Client, upstream: Scripted, path: str
) -> None:
    upstream.streams(thin_events())
    got = await client.post({**ASK, "stream": True}, {**OUT, "x-opper-guard-report": "none"}, path)
    (said,) = responses(got)[-1]["output"]
    assert said["content"][0]["text"] == "say [TAG]"


# --- the item opper:meta

USAGE = {"input_tokens": 10, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 4}}
SAID = {"id": "resp_9", "model": "gpt-4.1-2025-04-14", "usage": USAGE}
TOLD = {
    "type": "opper:meta",
    "id": "meta_9",
    "status": "completed",
    "content": [],
    "cost_usd": 0.000054,
    "models_used": ["gpt-4.1-2025-04-14"],
    "model_warnings": [],
    "cache_read_tokens": 4,
}


def kinds(output: Any) -> list[str]:
    return [item["type"] for item in output]


@pytest.mark.parametrize("headers", [{}, {"x-opper-guard-report": "items"}, OUT])
async def test_meta_comes_behind_the_guards_items(client: Client, upstream: Scripted, headers: Any) -> None:
    upstream.says({**SAID, "output": [message("hi"), {**message("ho"), "id": "msg_2"}]})
    got = await client.post({**ASK, "model": "gpt-4.1"}, headers, OPPER)
    guards = ["opper:guard"] if headers is OUT else []
    assert kinds(got.json["output"]) == [*guards, "opper:meta", "message", "message"]
    told = got.json["output"][len(guards)]
    assert told.pop("execution_ms") >= 0
    assert told == TOLD
    assert got.headers["x-opper-cost"] == "0.000054"


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("headers", [{}, OUT])
async def test_a_stream_keeps_an_index_free_for_meta(
    client: Client, upstream: Scripted, headers: Any, numbered: bool
) -> None:
    *events, last = text_events("say hello", 4, numbered)
    upstream.streams([*events, {**last, "response": {**last["response"], **SAID}}])
    got = await client.post({**ASK, "model": "gpt-4.1", "stream": True}, headers, OPPER)
    *before, added, done, terminal, end = got.events
    index = 1 if headers else 0
    assert (added["type"], done["type"]) == ("response.output_item.added", "response.output_item.done")
    assert (added["output_index"], done["output_index"]) == (index, index)
    assert added["item"] == done["item"] == terminal["response"]["output"][index]
    assert {**TOLD, "execution_ms": done["item"]["execution_ms"]} == done["item"]
    assert kinds(terminal["response"]["output"])[index:] == ["opper:meta", "message"]
    assert {event["output_index"] for event in before if "item_id" in event} == {index + 1}
    numbers = [event["sequence_number"] for event in (*before, added, done, terminal)]
    assert numbers == list(range(len(numbers)))
    assert (terminal["type"], end) == ("response.completed", "[DONE]")
    assert "x-opper-cost" not in got.headers


@pytest.mark.parametrize("ending", ["incomplete", "failed", "cancelled"])
async def test_every_end_of_a_stream_has_meta(client: Client, upstream: Scripted, ending: str) -> None:
    *events, last = text_events("hi")
    made = {**last["response"], **SAID, "status": ending}
    upstream.streams([*events, {**last, "type": f"response.{ending}", "response": made}])
    got = await client.post({**ASK, "stream": True}, path=OPPER)
    assert kinds(got.events[-2]["response"]["output"]) == ["opper:meta", "message"]
    assert got.events[-2]["response"]["completed_at"] is None


async def test_a_stream_that_a_guard_ended_has_meta_in_its_last_response(
    client: Client, upstream: Scripted
) -> None:
    upstream.streams(thin_events(), 40)
    got = await client.post({**ASK, "stream": True}, {"x-opper-guard-output": "tags=block"}, OPPER)
    assert kinds(responses(got)[-1]["output"]) == ["opper:guard", "opper:meta"]


@pytest.mark.parametrize("form", ["fields", "none"])
async def test_without_items_there_is_no_meta(client: Client, upstream: Scripted, form: str) -> None:
    upstream.says({**SAID, "output": [message("hi TAG-1234")]})
    got = await client.post({**ASK, "model": "gpt-4.1"}, {**OUT, "x-opper-guard-report": form}, OPPER)
    assert kinds(got.json["output"]) == ["message"]
    assert ("guards" in got.json) == (form == "fields")
    assert got.headers["x-opper-cost"] == "0.000054"
    assert "tool_choice" in got.json


@pytest.mark.parametrize("path", ["/v1/responses", "/openrouter"])
async def test_items_behind_another_door_are_the_guards_alone(
    client: Client, upstream: Scripted, path: str
) -> None:
    upstream.says({**SAID, "output": [message("hi TAG-1234")]})
    got = await client.post({**ASK, "model": "gpt-4.1"}, {**OUT, "x-opper-guard-report": "items"}, path)
    assert kinds(got.json["output"]) == ["opper:guard", "message"]
    assert "x-opper-cost" not in got.headers


async def test_meta_that_comes_back_is_not_sent_on(client: Client, upstream: Scripted) -> None:
    upstream.says({**SAID, "output": [message("hi")]})
    for headers in ({}, OUT, IN):
        first = await client.post({**ASK, "model": "gpt-4.1"}, headers, OPPER)
        again = [*first.json["output"], {"role": "user", "content": "and?"}]
        await client.post({**ASK, "input": again}, headers, OPPER)
        sent = json.loads(client.requests[-1].content)["input"]
        assert "opper:meta" in kinds(first.json["output"])
        assert sent == [item for item in again if not item.get("type", "").startswith("opper:")]


async def test_a_model_that_was_redacted_is_not_told_in_meta(client: Client, upstream: Scripted) -> None:
    upstream.says({**SAID, "model": "TAG-1234", "output": [message("hi")]})
    got = await client.post({**ASK, "model": "TAG-5678"}, {**IN, **OUT}, OPPER)
    assert b"1234" not in got.body
    assert b"5678" not in got.body
    assert kinds(got.json["output"])[2] == "opper:meta"
    assert "models_used" not in got.json["output"][2]
