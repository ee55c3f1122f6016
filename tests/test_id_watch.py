"""Of an answer that passes as it came, the id of its response."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from guardproxy.id_watch import IdWatch
from guardproxy.memory import PolicyMemory
from guardproxy.settings import UpstreamSettings
from guardproxy.types import Policy, Rule
from tests.harness import message, proxy, response, sse, text_events

TIMES: dict[str, Any] = {"connect_timeout": 1.0, "upstream_timeout": 2.0, "stream_idle_timeout": 3.0}
UPSTREAMS = (
    UpstreamSettings(name="openai", url="https://openai.test/v1", default=True, **TIMES),
    UpstreamSettings(name="local", url="https://local.test/v1", models=("llama*",), **TIMES),
)
EVENTS = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}
LARGE = "y" * 300_000


def heard(headers: dict[str, str], chunks: list[bytes], limit: int = 10_000) -> list[tuple[int, object]]:
    """The ids, each with the number of chunks that were there by then."""
    found: list[tuple[int, object]] = []
    count = 0
    watch = IdWatch(
        [(name.encode(), value.encode()) for name, value in headers.items()],
        limit,
        lambda response_id: found.append((count, response_id)),
    )
    for chunk in chunks:
        count += 1
        watch.feed(chunk)
    watch.end()
    return found


def pieces(body: bytes, size: int = 7) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


def test_a_stream_tells_its_id_with_its_first_event() -> None:
    first = b'data: {"type":"response.created","response":{"id":"resp_1"}}\n\n'
    rest = b'data: {"type":"response.completed","response":{"id":"resp_2"}}\n\n'
    assert heard(EVENTS, [b": hello\n\n", first, rest]) == [(2, "resp_1")]
    assert heard(EVENTS, [b'data: {"type":"x"}\n\ndata: [DONE]\n\ndata: "id"\n\n']) == []


def test_a_whole_answer_tells_its_id_before_its_last_bytes_are_gone() -> None:
    body = b'{"output":[{"id":"msg_1"}],"id":"resp_1"}'
    count = len(pieces(body))
    assert heard({**JSON, "content-length": str(len(body))}, pieces(body)) == [(count, "resp_1")]
    assert heard(JSON, pieces(body)) == [(count, "resp_1")]


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"id":"resp_1"}',
        b'{"x":"\\ud800","id":"resp_1"}',
        b'{"id":"resp_1","usage":{"n":1e400}}',
        b'{"id":"resp_1","a":1,"a":2}',
    ],
)
def test_what_a_client_may_read_is_read(body: bytes) -> None:
    assert heard(JSON, [body]) == [(1, "resp_1")]


def test_the_last_event_counts_without_its_empty_line() -> None:
    assert heard(EVENTS, [b'data: {"response":{"id":"resp_1"}}']) == [(1, "resp_1")]


@pytest.mark.parametrize("kind", [EVENTS, JSON])
def test_an_encoded_answer_is_decoded(kind: dict[str, str]) -> None:
    plain = (
        b'{"type":"response.created","response":{"id":"resp_1"}}' if kind is EVENTS else b'{"id":"resp_1"}'
    )
    body = gzip.compress(b"data: " + plain + b"\n\n" if kind is EVENTS else plain)
    ((_, found),) = heard({**kind, "content-encoding": "gzip"}, pieces(body))
    assert found == "resp_1"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({**JSON, "content-encoding": "br"}, b'{"id":"resp_1"}'),
        ({**JSON, "content-encoding": "gzip"}, b'{"id":"resp_1"}'),
        (JSON, b'{"id":"resp_1"'),
        (JSON, b'["resp_1"]'),
        (JSON, b'{"id":"resp_1","x":"' + b"x" * 10_000 + b'"}'),
        (JSON, b"[" * 9_000),
        (JSON, b""),
        (EVENTS, b'data: {"response":"resp_1"}\n\n'),
    ],
)
def test_what_cannot_be_read_has_none(headers: dict[str, str], body: bytes) -> None:
    assert heard(headers, [body]) == []


def answer(request: httpx.Request, text: str, stream: bool, encoded: bool) -> httpx.Response:
    if request.method != "POST":
        return httpx.Response(200, json=response(message("x")))
    body = sse(text_events(text, size=100_000)) if stream else json.dumps(response(message(text))).encode()
    headers = EVENTS if stream else JSON
    if encoded:
        body, headers = gzip.compress(body), {**headers, "content-encoding": "gzip"}
    return httpx.Response(200, headers=headers, stream=httpx.ByteStream(body))


@pytest.mark.parametrize("text", ["hi", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_asked_for_again_is_asked_of_who_made_it(
    text: str, stream: bool, encoded: bool
) -> None:
    async with proxy(lambda r: answer(r, text, stream, encoded), upstreams=UPSTREAMS) as client:
        asked = {"model": "llama3", "input": "hi", "stream": stream}
        await client.post(asked, {"accept-encoding": "gzip"})
        await client.post(b"", method="DELETE", path="/v1/responses/resp_1")
        assert [request.url.host for request in client.requests] == ["local.test", "local.test"]
        assert client.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-opper-guard-output": "tags"},
        {"x-opper-guard-input": "tags", "x-opper-guard-action": "redact"},
    ],
    ids=["no guard", "flag", "redact at the input"],
)
@pytest.mark.parametrize("shadow", [False, True])
@pytest.mark.parametrize("body", [b'{"id":"resp_1","a":1,"a":2}', b'{"id":"resp_1","x":"\xff"}'])
async def test_an_answer_that_no_guard_can_read_is_known(
    headers: dict[str, str], shadow: bool, body: bytes
) -> None:
    floor = Policy(output={"tags": Rule(shadow=True)} if shadow else {})
    async with proxy(
        lambda _: httpx.Response(200, headers=JSON, content=body), upstreams=UPSTREAMS, floor=floor
    ) as client:
        assert (await client.post({"model": "llama3", "input": "hi"}, headers)).status == 200
        got = await client.post(b"", method="DELETE", path="/v1/responses/resp_1")
        assert [request.url.host for request in client.requests] == ["local.test", "local.test"]
        assert ("x-guardproxy-verdict" in got.headers) is bool(headers)


async def test_guards_in_shadow_look_later_than_the_id_is_known() -> None:
    floor = Policy(output={"tags": Rule(shadow=True)})
    known: list[bool] = []

    class Told(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            body = json.dumps(response(message(LARGE))).encode()
            yield body[:1000]
            yield body[1000:]
            known.append(memory.upstream("resp_1") == "local")  # the client has all of it

    def made(request: httpx.Request) -> httpx.Response:
        size = len(json.dumps(response(message(LARGE))).encode())
        return httpx.Response(200, headers={**JSON, "content-length": str(size)}, stream=Told())

    memory = PolicyMemory()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("guardproxy.pipeline.PolicyMemory", lambda: memory)
        async with proxy(made, upstreams=UPSTREAMS, floor=floor) as client:
            await client.post({"model": "llama3", "input": "hi"})
    assert known == [True]


async def test_a_stream_that_goes_on_is_known() -> None:
    created, go_on = asyncio.Event(), asyncio.Event()

    class Slow(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            events = text_events("hi")
            yield sse(events[:1])
            created.set()
            await go_on.wait()
            yield sse(events[1:])

    def slow(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/cancel"):
            return httpx.Response(200, json=response(message("x")))
        return httpx.Response(200, headers=EVENTS, stream=Slow())

    async with proxy(slow, upstreams=UPSTREAMS) as client:
        asked = {"model": "llama3", "input": "hi", "stream": True}
        making = asyncio.create_task(client.post(asked))
        await created.wait()
        await client.post(b"", path="/v1/responses/resp_1/cancel")
        go_on.set()
        await making
        assert [request.url.host for request in client.requests] == ["local.test", "local.test"]
