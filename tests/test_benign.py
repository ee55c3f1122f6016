"""Benign traffic is untouched: with every shipped guard and action, what holds nothing passes byte for byte.

The table can be extended: a text goes into tests/benign/texts.json, a request's body, to the byte, into a
file of its own beside it. A text that a guard takes for something is left out; a comment below says which.
"""

import base64
import hashlib
import json
import random
import uuid
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from guardproxy.plugins import collect_guards, load_plugins
from guardproxy.settings import Settings
from tests.harness import Chunks, Client, in_one_task, message, proxy, response, text_events

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOLDER = Path(__file__).parent / "benign"
GUARDS = ("pii", "secrets", "toxicity", "pii,secrets,toxicity,prompt_injection")
ACTIONS = ("flag", "redact", "block")
SIZES = (1, 7, 1000)  # characters of a delta
LONGEST = 250  # characters of a text that is also streamed character by character


def made_texts() -> dict[str, str]:
    """Texts that look random, the same in every run."""
    chance = random.Random(7)
    blobs = {f"base64 of {n} bytes": base64.b64encode(chance.randbytes(n)).decode() for n in (24, 333, 2048)}
    lines = "\n".join(base64.encodebytes(chance.randbytes(600)).decode().splitlines())
    return {
        **blobs,
        "base64 in lines": lines,
        "base64, URL-safe": base64.urlsafe_b64encode(chance.randbytes(512)).decode(),
        "data URL": "data:image/webp;base64," + base64.b64encode(chance.randbytes(900)).decode(),
        "UUIDs": "\n".join(str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(40)),
        "SHAs": "\n".join(hashlib.sha256(chance.randbytes(8)).hexdigest() for _ in range(20)),
        "commits": "\n".join(f"{hashlib.sha1(chance.randbytes(8)).hexdigest()} fix" for _ in range(20)),
        "integrities": "\n".join(
            f'"integrity": "sha512-{base64.b64encode(chance.randbytes(64)).decode()}"' for _ in range(12)
        ),
        "floats": ",".join(f"{chance.gauss(0, 1):.6f}" for _ in range(60)),
    }


TEXTS: dict[str, str] = {**json.loads((FOLDER / "texts.json").read_text("utf-8")), **made_texts()}


def nested(depth: int) -> bytes:
    """A request with a deep value that the API does not know."""
    return b'{"model":"m","input":"hi","deep":' + b'[{"a": ' * depth + b"1" + b"}]" * depth + b"}"


def made_bodies() -> dict[str, bytes]:
    """Requests that a file would not show well."""
    long = {"path": "src/app.py", "content": TEXTS["python"] * 40, "lines": list(range(400))}
    call = {"type": "function_call", "call_id": "call_1", "name": "write", "arguments": json.dumps(long)}
    every = [{"role": "user", "content": text} for text in TEXTS.values() if len(text) <= LONGEST]
    return {
        "nested": nested(100),
        "long arguments": json.dumps({"model": "m", "input": [call]}).encode(),
        "long arguments, spaced": json.dumps({"model": "m", "input": [call]}, indent=3).encode(),
        "a long history": json.dumps({"input": every, "model": "m"}, ensure_ascii=False).encode(),
        "a big integer": b'{"input":"hi","model":"m","x":' + b"7" * 5000 + b"}",
        "no model": b'{"input":[]}',
        "an empty object": b"{}",
    }


BODIES = {
    **{file.stem: file.read_bytes() for file in sorted(FOLDER.glob("*.json")) if file.name != "texts.json"},
    **made_bodies(),
}


class Scripted:
    """An upstream whose next answer a test sets."""

    def __init__(self) -> None:
        self.content_type = "application/json"
        self.pieces: list[bytes] = []

    def says(self, body: bytes, size: int = 0, content_type: str = "application/json") -> None:
        self.content_type = content_type
        self.pieces = [body[i : i + size] for i in range(0, len(body), size)] if size else [body]

    def __call__(self, _: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": self.content_type}, stream=Chunks(self.pieces))


@pytest.fixture(scope="module")
def upstream() -> Scripted:
    return Scripted()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(upstream: Scripted) -> AsyncIterator[Client]:
    guards = collect_guards(load_plugins(), Settings())
    async with in_one_task(proxy(upstream, made=guards)) as client:
        yield client


def headers(guards: str, action: str) -> dict[str, str]:
    return {
        "x-opper-guard-input": guards,
        "x-opper-guard-output": guards.removesuffix(",prompt_injection"),  # it serves the input alone
        "x-opper-guard-action": action,
        "content-type": "application/json",
    }


def answered(text: str, *, spaced: bool) -> bytes:
    """A response as some upstream would write it, with the text in a message and in a tool's arguments."""
    arguments = json.dumps({"text": text, "n": 1.0}, ensure_ascii=spaced)
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": arguments}
    value = response(message(text), call, temperature=1.0, vendor={"b": None, "a": [True]})
    if spaced:
        return b"\n " + json.dumps(value, indent=2).encode() + b"\n"
    return b'{"top_p":1e5,"x":1e400,' + wire(value)[1:]


def wire(value: Any) -> bytes:
    """`value` as compact JSON, in UTF-8 where it can be."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def streamed(events: Iterable[Any], *, spaced: bool) -> bytes:
    out = b"".join(
        b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode() if spaced else wire(e))
        for e in events
    )
    return out + b"data: [DONE]\n\n"


async def test_the_table_is_a_large_one() -> None:
    assert len(TEXTS) >= 70
    assert len(BODIES) >= 14


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("guards", GUARDS)
async def test_requests_reach_the_upstream_as_they_came(
    client: Client, upstream: Scripted, guards: str, action: str
) -> None:
    upstream.says(b'{"id":"resp_1","output":[]}')
    for name, body in BODIES.items():
        client.requests.clear()
        got = await client.post(body, headers(guards, action))
        assert (got.status, got.body) == (200, upstream.pieces[0]), (name, got.body)
        assert client.requests[0].content == body, name
        assert got.headers["x-guardproxy-verdict"] == "input=clean, output=clean", name


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("guards", GUARDS)
async def test_texts_pass_both_ways(client: Client, upstream: Scripted, guards: str, action: str) -> None:
    for name, text in TEXTS.items():
        for spaced in (False, True):
            body = json.dumps({"input": text, "model": "m"}, ensure_ascii=spaced).encode()
            upstream.says(answered(text, spaced=spaced), 100)
            client.requests.clear()
            got = await client.post(body, headers(guards, action))
            assert (got.status, got.body) == (200, b"".join(upstream.pieces)), (name, got.body)
            assert client.requests[0].content == body, name
            assert got.headers["x-guardproxy-verdict"] == "input=clean, output=clean", name


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("guards", GUARDS)
async def test_streams_pass(client: Client, upstream: Scripted, guards: str, action: str) -> None:
    body = b'{"model":"m","input":"hi","stream":true}'
    for name, text in TEXTS.items():
        for size in SIZES if len(text) <= LONGEST else SIZES[1:]:
            pieces = 0 if size == 1 else 31 if len(text) <= LONGEST else 500  # bytes that arrive at a time
            upstream.says(streamed(text_events(text, size), spaced=size == 7), pieces, "text/event-stream")
            got = await client.post(body, headers(guards, action))
            assert (got.status, got.body) == (200, b"".join(upstream.pieces)), (name, size)


@pytest.mark.parametrize("action", ACTIONS)
async def test_streamed_arguments_pass(client: Client, upstream: Scripted, action: str) -> None:
    arguments = json.dumps({"path": "a/b.py", "content": TEXTS["python"], "n": 1.0}, indent=1)
    item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": arguments}
    place = {"item_id": "fc_1", "output_index": 0}
    kind = "response.function_call_arguments"
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response(status="in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": ""}},
        *(
            {"type": f"{kind}.delta", **place, "delta": arguments[i : i + 5], "obfuscation": "aB3x"}
            for i in range(0, len(arguments), 5)
        ),
        {"type": f"{kind}.done", **place, "arguments": arguments},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response(item)},
    ]
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    for guards in GUARDS:
        upstream.says(streamed(numbered, spaced=True), 50, "text/event-stream")
        got = await client.post(b'{"model":"m","input":"hi","stream":true}', headers(guards, action))
        assert (got.status, got.body) == (200, b"".join(upstream.pieces)), guards
